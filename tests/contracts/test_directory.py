"""What every directory promises, on all of them: in memory, LDIF file, LDAP on a real slapd."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.layout import read_layout
from posthouse.relay.directory.ldap_directory import LdapDirectory
from posthouse.relay.directory.ldap_options import read_ldap_options
from posthouse.relay.directory.question import (
    Absent,
    Ambiguous,
    Domain,
    Entry,
    Found,
    Kind,
    NeedDn,
    NeedDomain,
    NeedEntry,
    NeedMembers,
    NeedUrl,
    Unknown,
)
from posthouse.testing.directory import options
from support.directories import Opened, Way, make
from support.slapd import Slapd, many_people

DATA = Path(__file__).parent.parent / "data" / "directory"
PEOPLE = (DATA / "people.ldif").read_text() + "\n" + (DATA / "odd.ldif").read_text()
TREE = (DATA / "schema1.ldif").read_text()


@pytest.fixture(scope="session")
def people_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("people"), PEOPLE) as server:
        yield server


@pytest.fixture(scope="session")
def tree_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("tree"), TREE) as server:
        yield server


async def domain(directory: Directory, name: str) -> Domain:
    answer = await directory.answer(NeedDomain(name))
    assert isinstance(answer, Found), answer
    assert isinstance(answer.value, Domain)
    return answer.value


async def ask(directory: Directory, address: str) -> Found[Entry] | Absent | Ambiguous | Unknown:
    local, _, given = address.rpartition("@")
    answer = await directory.answer(NeedEntry(local, await domain(directory, given), given))
    if isinstance(answer, Found):
        assert isinstance(answer.value, Entry)
        return Found(answer.value)
    return answer


async def entry(directory: Directory, address: str) -> Entry:
    answer = await ask(directory, address)
    assert isinstance(answer, Found), answer
    return answer.value


@pytest.mark.parametrize("way", list(Way))
class TestSchema2:
    @pytest_asyncio.fixture
    async def directory(self, way: Way, people_server: Slapd, tmp_path: Path) -> Opened:
        directory = make(way, PEOPLE, people_server.uri, tmp_path)
        await directory.start()
        yield directory
        await directory.close()

    async def test_a_domain_of_ours_is_found_in_any_case(self, directory: Directory) -> None:
        found = await domain(directory, "EXAMPLE.com.")
        assert (found.name, found.canonical, found.base_dn) == ("example.com", "example.com", "o=example.com,o=usergroup")
        assert found.first("mailroutingsmarthost") == "legacy.example.com"
        assert found.first("maildomaincatchalladdress") == ""

    async def test_an_alias_domain_leads_to_the_canonical_one(self, directory: Directory) -> None:
        found = await domain(directory, "Hosted.Example.NET")
        assert (found.name, found.canonical, found.base_dn) == (
            "hosted.example.net",
            "hosted.example.org",
            "o=hosted.example.org,o=usergroup",
        )
        assert found.first("maildomaincatchalladdress") == "info@hosted.example.org"

    async def test_an_index_entry_names_users_and_canonical_domain_itself(self, directory: Directory) -> None:
        found = await domain(directory, "index.example")
        assert (found.canonical, found.base_dn) == ("odd.example", "o=odd.example,o=usergroup")
        assert (await entry(directory, "b@index.example")).uid == "b"

    @pytest.mark.parametrize(
        "name", ["remote.test", "sub.example.com", "com", "", "[127.0.0.1]", "*", "example.com)(o=*", "\\2a", "x" * 300]
    )
    async def test_other_domains_are_absent(self, directory: Directory, name: str) -> None:
        assert await directory.answer(NeedDomain(name)) == Absent()

    async def test_two_entries_claiming_a_domain_are_a_fault_of_the_directory(self, directory: Directory) -> None:
        answer = await directory.answer(NeedDomain("shared.example"))
        assert isinstance(answer, Unknown)
        assert "o=one,o=usergroup" in answer.reason

    @pytest.mark.parametrize(
        ("address", "uid"),
        [
            ("john.doe@example.com", "jdoe"),
            ("JD@EXAMPLE.com", "jdoe"),
            ("ann.smith@example.com", "asmith"),
            ("sue@hosted.example.org", "SMiller"),
            ("sue@hosted.example.net", "SMiller"),
            ("SUE@Hosted.Example.NET", "SMiller"),
            ("equal@odd.example", "b"),
            ('"a b"@odd.example', "a"),
            ('"john.doe"@example.com', "jdoe"),
            ("j\xf6rg@odd.example", "a"),
            ("J\xd6RG@odd.example", "a"),
        ],
    )
    async def test_users_are_found(self, directory: Directory, address: str, uid: str) -> None:
        found = await entry(directory, address)
        assert (found.uid, found.kind) == (uid, Kind.USER)

    async def test_an_entry_comes_with_its_attributes(self, directory: Directory) -> None:
        found = await entry(directory, "jd@example.com")
        assert found.dn == "uid=jdoe,ou=People,o=example.com,o=usergroup"
        assert found.first("mailhost") == "store1.example.com"
        assert found.first("mailquota") == "50M"
        assert found.all("mailalternateaddress") == ("jd@example.com",)
        assert found.first("mailsieverulesource").startswith('require ["fileinto"];if header')
        forward = await entry(directory, "bob@example.com")
        assert set(forward.all("mailforwardingaddress")) == {"bob@remote.test", "ann.smith@example.com"}

    async def test_a_language_tag_is_kept(self, directory: Directory) -> None:
        assert (await entry(directory, "a@odd.example")).first("mailautoreplytext;lang-de") == "Ich bin fort."

    async def test_a_group_is_one(self, directory: Directory) -> None:
        found = await entry(directory, "staff@example.com")
        assert (found.kind, found.uid) == (Kind.GROUP, "")
        assert found.first("mgrperrorsto") == "mailto:owner-staff@example.com"

    async def test_the_user_wins_over_the_group(self, directory: Directory) -> None:
        assert (await entry(directory, "userandgroup@odd.example")).kind is Kind.USER

    async def test_the_uid_separator_is_cut(self, directory: Directory) -> None:
        assert (await entry(directory, "a@odd.example")).uid == "a"

    @pytest.mark.parametrize(
        "address",
        [
            "nobody@example.com",
            "sue@example.com",  # lives in another domain
            "jd+Work@example.com",  # subaddresses are the asker's to cut
            "contact@odd.example",  # no object class of ours
            "nouid@odd.example",
            "*@example.com",
            "john*@example.com",
            "jd)(mail=*@example.com",
            "\\2a@example.com",
            "a\x00@odd.example",
            "a@sub.odd.example@odd.example",
        ],
    )
    async def test_others_are_absent(self, directory: Directory, address: str) -> None:
        assert await ask(directory, address) == Absent()

    async def test_an_address_full_of_filter_signs_is_itself(self, directory: Directory) -> None:
        assert (await entry(directory, '"a(1)*\\\\"@odd.example')).uid == "a"

    async def test_an_entry_that_does_not_count_makes_nothing_ambiguous(self, directory: Directory) -> None:
        assert (await entry(directory, "b@odd.example")).uid == "b"

    async def test_two_entries_are_ambiguous(self, directory: Directory) -> None:
        dns = ("uid=a,ou=People,o=odd.example,o=usergroup", "uid=b,ou=People,o=odd.example,o=usergroup")
        assert await ask(directory, "both@odd.example") == Ambiguous(dns)

    async def test_the_catch_all_is_asked_for_by_an_empty_local_part(self, directory: Directory) -> None:
        assert (await entry(directory, "@odd.example")).uid == "all"
        assert (await entry(directory, "@index.example")).uid == "all"
        assert await ask(directory, "@example.com") == Absent()

    async def test_users_in_a_place_that_is_missing_are_unknown(self, directory: Directory) -> None:
        assert isinstance(await ask(directory, "anyone@elsewhere.example"), Unknown)

    async def test_vanity_domains_are_off(self, directory: Directory) -> None:
        assert await directory.answer(NeedDomain("vain.example")) == Absent()

    async def test_a_url_gives_the_first_value(self, directory: Directory) -> None:
        url = "ldap:///o=usergroup?mailHost?sub?(uid=smiller)"
        assert await directory.answer(NeedUrl(url)) == Found("store2.example.com")
        assert await directory.answer(NeedUrl("ldap:///o=usergroup?mailHost?sub?(uid=nobody)")) == Absent()
        assert await directory.answer(NeedUrl("ldap:///o=usergroup?mailHost?base?(objectClass=*)")) == Absent()
        assert isinstance(await directory.answer(NeedUrl("ldap:///o=usergroup?mailHost?sub?(uid=")), Unknown)
        assert isinstance(await directory.answer(NeedUrl("http://example.com/")), Unknown)

    async def test_what_was_found_is_at_hand_the_next_time(self, directory: Directory) -> None:
        found = await ask(directory, "john.doe@example.com")
        question = NeedEntry("John.Doe", await domain(directory, "example.com"), "Example.COM")
        assert directory.cached(question) == found
        assert directory.cached(NeedDomain("EXAMPLE.COM")) == Found(question.domain)

    async def test_it_says_how_it_is(self, directory: Directory) -> None:
        await domain(directory, "example.com")
        assert directory.health().startswith("ok: ")

    async def test_closed_it_knows_nothing(self, directory: Directory) -> None:
        await directory.close()
        assert isinstance(await directory.answer(NeedDomain("never.asked")), Unknown)


@pytest.mark.parametrize("way", list(Way))
class TestOptions:
    @pytest_asyncio.fixture
    async def directory(self, way: Way, people_server: Slapd, tmp_path: Path) -> Opened:
        more = {
            "DOMAIN_UPLEVEL": "3",
            "DOMAIN_MATCH_URL": "ldap:///$B?msgVanityDomain?sub?(msgVanityDomain=$D)",
            "LDAP_MAILHOST": "mailRoutingSmartHost",
            "LDAP_SPARE_1": "sn",
            "LDAP_MAIL_ALIASES": "mail",
            "LDAP_USER_OBJECT_CLASSES": "inetOrgPerson+inetLocalMailRecipient",
        }
        directory = make(way, PEOPLE, people_server.uri, tmp_path, **more)
        await directory.start()
        yield directory
        await directory.close()

    async def test_uplevel_finds_the_domain_above(self, directory: Directory) -> None:
        assert (await domain(directory, "a.b.Example.com")).name == "example.com"

    async def test_uplevel_finds_users_of_the_domain_above(self, directory: Directory) -> None:
        assert (await entry(directory, "john.doe@mx.example.com")).uid == "jdoe"

    async def test_a_vanity_domain_has_its_user(self, directory: Directory) -> None:
        found = await domain(directory, "Vain.example")
        assert (found.canonical, found.base_dn) == ("vain.example", "")
        assert (await entry(directory, "me@vain.example")).uid == "vain"
        assert await ask(directory, "you@vain.example") == Absent()
        assert await ask(directory, "@vain.example") == Absent()

    async def test_renamed_attributes_keep_their_names_in_answers(self, directory: Directory) -> None:
        found = await entry(directory, "john.doe@example.com")
        assert found.first("spare1") == "Doe"
        assert found.first("mailhost") == ""

    async def test_only_the_attributes_named_are_searched(self, directory: Directory) -> None:
        assert await ask(directory, "jd@example.com") == Absent()

    async def test_other_object_classes_count(self, directory: Directory) -> None:
        assert (await entry(directory, "contact@odd.example")).uid == "contact"


@pytest.mark.parametrize("way", list(Way))
class TestSchema1:
    @pytest_asyncio.fixture
    async def directory(self, way: Way, tree_server: Slapd, tmp_path: Path) -> Opened:
        directory = make(way, TREE, tree_server.uri, tmp_path, LDAP_SCHEMALEVEL="1")
        await directory.start()
        yield directory
        await directory.close()

    async def test_a_domain_is_named_by_its_place_in_the_tree(self, directory: Directory) -> None:
        found = await domain(directory, "Example.com")
        assert (found.name, found.canonical, found.base_dn) == ("example.com", "example.com", "o=example.com,o=usergroup")
        assert found.first("mailroutingsmarthost") == "legacy.example.com"

    async def test_an_alias_is_followed(self, directory: Directory) -> None:
        found = await domain(directory, "hosted.example.net")
        assert (found.name, found.canonical) == ("hosted.example.net", "hosted.example.org")
        assert found.dn == "dc=hosted,dc=example,dc=org,o=internet"
        assert (await entry(directory, "sue@hosted.example.net")).uid == "SMiller"

    async def test_the_canonical_name_may_be_written_in_the_entry(self, directory: Directory) -> None:
        assert (await domain(directory, "index.example.net")).canonical == "hosted.example.org"

    async def test_an_alias_of_an_alias_is_a_fault_of_the_directory(self, directory: Directory) -> None:
        answer = await directory.answer(NeedDomain("twice.example.net"))
        assert isinstance(answer, Unknown)
        assert "alias of an alias" in answer.reason

    @pytest.mark.parametrize(
        "name", ["dangling.example.net", "unfinished.example.net", "remote.test", "example.net", "a.example.com"]
    )
    async def test_no_domain(self, directory: Directory, name: str) -> None:
        assert await directory.answer(NeedDomain(name)) == Absent()

    async def test_a_label_is_never_more_than_a_label(self, directory: Directory) -> None:
        assert await directory.answer(NeedDomain("x,dc=example.com")) == Absent()
        assert await directory.answer(NeedDomain("example+dc=x.com")) == Absent()

    async def test_users(self, directory: Directory) -> None:
        assert (await entry(directory, "JD@example.com")).first("mailhost") == "store1.example.com"


@pytest.mark.parametrize("way", list(Way))
async def test_a_missing_domain_tree_is_unknown_not_absent(way: Way, people_server: Slapd, tmp_path: Path) -> None:
    for more in ({"LDAP_SCHEMALEVEL": "1"}, {"LDAP_DOMAIN_ROOT": "o=lost"}):
        directory = make(way, PEOPLE, people_server.uri, tmp_path, **more)
        await directory.start()
        assert isinstance(await directory.answer(NeedDomain("example.com")), Unknown)
        await directory.close()


@pytest.mark.parametrize("way", list(Way))
class TestMembers:
    """What groups ask for: entries by name, addresses by URL."""

    @pytest_asyncio.fixture
    async def directory(self, way: Way, people_server: Slapd, tmp_path: Path) -> Opened:
        directory = make(way, PEOPLE, people_server.uri, tmp_path)
        await directory.start()
        yield directory
        await directory.close()

    @pytest.mark.parametrize(
        ("dn", "kind"),
        [
            ("UID=jdoe, ou=People,o=example.com,o=usergroup", Kind.USER),
            ("cn=staff,ou=Groups,o=example.com,o=usergroup", Kind.GROUP),
            ("o=example.com,o=usergroup", Kind.OTHER),
        ],
    )
    async def test_an_entry_by_its_name(self, directory: Directory, dn: str, kind: Kind) -> None:
        answer = await directory.answer(NeedDn(dn))
        assert isinstance(answer, Found), answer
        assert isinstance(answer.value, Entry)
        assert answer.value.kind is kind

    @pytest.mark.parametrize("dn", ["uid=nobody,o=example.com,o=usergroup", "o=elsewhere"])
    async def test_a_name_without_an_entry_is_absent(self, directory: Directory, dn: str) -> None:
        assert await directory.answer(NeedDn(dn)) == Absent()

    async def test_the_addresses_a_url_finds(self, directory: Directory) -> None:
        url = "ldap:///o=example.com,o=usergroup??sub?(mailHost=store1.example.com)"
        answer = await directory.answer(NeedMembers(url))
        assert isinstance(answer, Found), answer
        assert set(answer.value) == {"john.doe@example.com", "bob@example.com"}  # type: ignore[arg-type]
        everything = await directory.answer(NeedMembers("ldap:///??sub?(uid=jdoe)", every=True))
        assert isinstance(everything, Found)
        assert set(everything.value) == {"john.doe@example.com", "jd@example.com"}  # type: ignore[arg-type]
        assert await directory.answer(NeedMembers("ldap:///??sub?(uid=no%20body)")) == Found(())

    @pytest.mark.parametrize(
        "url",
        ["ldap:///o=nowhere,o=usergroup??sub?(uid=*)", "http://x/", "ldap:///??sub?(uid=", f"ldap:///??sub?(uid={'x' * 1030})"],
    )
    async def test_a_url_that_cannot_be_answered_is_unknown(self, directory: Directory, url: str) -> None:
        assert isinstance(await directory.answer(NeedMembers(url)), Unknown)


async def test_more_members_than_a_page_and_a_limit_of_the_server(tmp_path: Path) -> None:
    text = many_people(1203)
    question = NeedMembers("ldap:///??sub?(mail=*)")
    given = options(LDAP_HOST="", LDAP_USER_ROOT="o=usergroup")
    for size_limit, complete in (("unlimited", True), ("size.soft=300 size.prtotal=unlimited", True), ("300", False)):
        with Slapd(tmp_path / str(len(size_limit)), text, size_limit=size_limit) as server:
            directory = LdapDirectory(read_layout(given), read_ldap_options(options(LDAP_HOST=server.uri), Path))
            await directory.start()
            answer = await directory.answer(question)
            first = await directory.answer(NeedMembers(question.url, limit=10))
            await directory.close()
            if complete:
                assert isinstance(answer, Found)
                assert len(set(answer.value)) == 1203  # type: ignore[arg-type]
                assert isinstance(first, Found)
            else:
                assert isinstance(answer, Unknown)
                assert "ize limit" in answer.reason
            assert directory.cached(question) is None
