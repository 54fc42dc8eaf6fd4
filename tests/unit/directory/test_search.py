"""Which searches a question costs."""

import pytest

from posthouse.relay.directory.layout import Layout, read_layout
from posthouse.relay.directory.ldif import RawEntry
from posthouse.relay.directory.question import Absent, Answer, Domain, Found, NeedDomain, NeedEntry, Question, Unknown
from posthouse.relay.directory.search import BASE_MISSING, Result, Search, plan
from posthouse.testing.directory import options

OURS = Domain("example.com", "example.com", "o=example.com,o=usergroup")
ALIAS = Domain("example.net", "example.com", "o=example.com,o=usergroup")


def run(layout: Layout, question: Question, *results: Result) -> tuple[list[Search], Answer]:
    """The searches made and the answer; after the given results nothing is found."""
    steps = plan(layout, question)
    searches: list[Search] = []
    left = list(results)
    try:
        searches.append(next(steps))
        while True:
            searches.append(steps.send(left.pop(0) if left else ()))
    except StopIteration as stop:
        answer: Answer = stop.value
        return searches, answer


@pytest.fixture
def layout() -> Layout:
    return read_layout(options(LDAP_USER_ROOT="o=usergroup"))


def test_a_recipient_costs_one_search_found_or_not(layout: Layout) -> None:
    searches, answer = run(layout, NeedEntry("jd", OURS, "example.com"))
    assert answer == Absent()
    assert [(search.base, search.filter) for search in searches] == [
        (
            "o=example.com,o=usergroup",
            "(|(mail=jd@example.com)(mailAlternateAddress=jd@example.com)(mailEquivalentAddress=jd@example.com))",
        )
    ]
    assert "mailHost" in searches[0].attributes


def test_an_alias_domain_is_searched_in_the_same_search(layout: Layout) -> None:
    searches, _ = run(layout, NeedEntry("jd", ALIAS, "Example.NET"))
    assert len(searches) == 1
    for spelling in ("jd@example.net", "jd@example.com"):
        assert f"(mail={spelling})" in searches[0].filter
    searches, _ = run(layout, NeedEntry("", ALIAS, "Example.NET"))
    assert [search.filter for search in searches] == ["(|(mailAlternateAddress=@example.net)(mailAlternateAddress=@example.com))"]


def test_a_domain_above_is_searched_only_with_uplevel_bit_1() -> None:
    question = NeedEntry("jd", OURS, "mx.example.com")
    for uplevel, expected in (("1", False), ("3", True)):
        layout = read_layout(options(DOMAIN_UPLEVEL=uplevel))
        searches, _ = run(layout, question)
        assert ("(mail=jd@example.com)" in searches[0].filter) is expected


def test_a_domain_costs_one_search_without_uplevel(layout: Layout) -> None:
    searches, answer = run(layout, NeedDomain("a.b.c"))
    assert answer == Absent()
    assert [(search.base, search.filter) for search in searches] == [
        ("o=usergroup", "(&(objectclass=sunManagedOrganization)(|(sunPreferredDomain=a.b.c)(associatedDomain=a.b.c)))")
    ]
    searches, _ = run(read_layout(options(DOMAIN_UPLEVEL="1")), NeedDomain("a.b.c"))
    assert len(searches) == 3


def test_schema_1_asks_whether_the_tree_is_there_before_it_says_absent() -> None:
    layout = read_layout(options(LDAP_SCHEMALEVEL="1"))
    searches, answer = run(layout, NeedDomain("a.b"), BASE_MISSING, (RawEntry("o=internet", {}),))
    assert [search.base for search in searches] == ["dc=a,dc=b,o=internet", "o=internet"]
    assert answer == Absent()
    for result in (BASE_MISSING, ()):
        _, answer = run(layout, NeedDomain("a.b"), BASE_MISSING, result)
        assert isinstance(answer, Unknown)


def test_vanity_domains_cost_a_second_search_when_they_are_on() -> None:
    layout = read_layout(options(LDAP_USER_ROOT="o=u", ALIAS_URL1="ldap:///$B?*?sub?(&(msgVanityDomain=$D)$R)"))
    searches, _ = run(layout, NeedEntry("a", OURS, "example.com"))
    assert [search.base for search in searches] == ["o=example.com,o=usergroup", "o=u"]
    assert searches[1].filter.startswith("(&(msgVanityDomain=example.com)(|(mail=a@example.com)")


def test_what_the_sender_writes_is_escaped_wherever_it_goes() -> None:
    evil = "x)(uid=*"
    given = options(
        LDAP_USER_ROOT="o=u", ALIAS_URL0="ldap:///ou=$D,$V?*?sub?(%26(x=$A)$R)", LDAP_SCHEMALEVEL="1", DOMAIN_UPLEVEL="0"
    )
    layout = read_layout(given)
    searches, _ = run(layout, NeedEntry(evil, Domain("d", "d", "o=d"), "a,o=b"))
    assert searches[0].base == "ou=a\\2co\\3db,o=d"
    assert "(uid=*" not in searches[0].filter
    assert "\\29\\28uid=\\2a" in searches[0].filter
    searches, _ = run(layout, NeedDomain("x,o=evil.com"))
    assert searches[0].base == "dc=x\\2co\\3devil,dc=com,o=internet"


def test_the_object_class_filter_is_at_hand_for_urls() -> None:
    layout = read_layout(options(ALIAS_URL0="ldap:///$V?*?sub?(%26$K$R)"))
    searches, _ = run(layout, NeedEntry("a", OURS, "example.com"))
    assert "(&(objectClass=inetlocalmailrecipient)(objectClass=inetmailuser))" in searches[0].filter


def test_the_first_uid_counts_and_the_separator_cuts_at_its_last_place(layout: Layout) -> None:
    domain = Domain("d", "d", "o=d", attributes={"domainuidseparator": ("@",)})
    classes = ("inetMailUser", "inetLocalMailRecipient")
    for uid, expected in (("a@b@d", "a@b"), ("plain", "plain")):
        entry = RawEntry("uid=x", {"objectclass": classes, "uid": (uid, "second")})
        _, answer = run(layout, NeedEntry("a", domain, "d"), (entry,))
        assert isinstance(answer, Found)
        assert getattr(answer.value, "uid", None) == expected
