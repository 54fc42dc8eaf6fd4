"""Whose primary address stands for which address, on every directory: in memory, LDIF file, LDAP on a real slapd."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.drive import drive
from posthouse.relay.routing.inquiry import Inquiry
from posthouse.relay.routing.reversal import reversed_address, reversed_sender
from posthouse.relay.routing.rules import Rules
from posthouse.testing.directory import MemoryDirectory
from support.directories import Opened, Way, make
from support.relay_files import OPTIONS, relay_rules
from support.slapd import Slapd

DATA = Path(__file__).parent.parent / "data" / "directory"
_USER = "objectClass: inetOrgPerson\nobjectClass: inetMailUser\nobjectClass: inetLocalMailRecipient\nsn: x\ncn: x\n"
MORE = f"""
dn: uid=cxx,ou=People,o=example.com,o=usergroup
{_USER}uid: cxx
mail: c++@example.com
mail: cpp@example.com
mailAlternateAddress: gnu+@example.com
mailEquivalentAddress: cxx@example.com

dn: uid=quoted,ou=People,o=example.com,o=usergroup
{_USER}uid: quoted
mail: "first last"@example.com
mailAlternateAddress: fl@example.com

dn: uid=bad,ou=People,o=example.com,o=usergroup
{_USER}uid: bad
mail: no address
mailAlternateAddress: bad@example.com

dn: uid=long,ou=People,o=example.com,o=usergroup
{_USER}uid: long
mail: {"x" * 243}@example.com
mailAlternateAddress: long@example.com

dn: uid=dots,ou=People,o=example.com,o=usergroup
{_USER}uid: dots
mail: a..b@example.com
mailAlternateAddress: dots@example.com

dn: uid=route,ou=People,o=example.com,o=usergroup
{_USER}uid: route
mail: @relay.test:route@example.com
mailAlternateAddress: routed@example.com

dn: uid=same,ou=People,o=hosted.example.org,o=usergroup
{_USER}uid: same
mail: primary@hosted.example.org
mailEquivalentAddress: same@hosted.example.org

dn: uid=wide,ou=People,o=example.com,o=usergroup
{_USER}uid: wide
mail:: asO2cmdAZXhhbXBsZS5jb20=
mailAlternateAddress: wide@example.com
"""
TEXT = "\n".join([(DATA / "people.ldif").read_text(), (DATA / "odd.ldif").read_text(), MORE])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("reversal"), TEXT) as slapd:
        yield slapd


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return relay_rules(tmp_path_factory.mktemp("rules"), options=OPTIONS + "REVERSE_URL=ldap:///$V?$N?sub?$R\n")


@pytest_asyncio.fixture(params=list(Way))
async def directory(request: pytest.FixtureRequest, server: Slapd, tmp_path: Path) -> Opened:
    made = make(request.param, TEXT, server.uri, tmp_path)
    await made.start()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("written", "primary"),
    [
        ("jd@example.com", "john.doe@example.com"),
        ("JD@Example.COM", "john.doe@example.com"),
        ('"jd"@example.com', "john.doe@example.com"),
        ("jd+Lists@example.com", "john.doe+Lists@example.com"),
        ("jd+a+b@example.com", "john.doe+a+b@example.com"),
        ('"jd+My List"@example.com', '"john.doe+My List"@example.com'),
        ("jd+@example.com", "john.doe@example.com"),
        ("gnu+@example.com", "c++@example.com"),
        ("fl@example.com", '"first last"@example.com'),
        ("fl+x@example.com", '"first last+x"@example.com'),
        ("sue@hosted.example.net", "sue@hosted.example.org"),
        ("Info+x@hosted.example.net", "info+x@hosted.example.org"),
    ],
)
async def test_the_primary_address(directory: Directory, rules: Rules, written: str, primary: str) -> None:
    assert await drive(reversed_sender(rules, written), directory) == primary


@pytest.mark.parametrize(
    "written",
    [
        "John.Doe@Example.com",  # but for the case
        "john.doe+Lists@example.com",
        "cpp@example.com",  # a primary address, though not the first
        "cxx@example.com",  # an equivalent one
        "same@hosted.example.org",
        "same@hosted.example.net",
        "same+x@hosted.example.net",
        "both@odd.example",  # two entries
        "nobody@odd.example",  # the catch-all entry has it
        "nobody@example.com",
        "nobody+jd@example.com",
        "bad@example.com",  # its primary address is none
        "long@example.com",
        "dots@example.com",
        "routed@example.com",
        "wide@example.com",  # its primary address is outside ASCII
        "jd@elsewhere.test",
        "jd@[192.0.2.1]",
        "jd",
        "@relay.test:jd@example.com",
        "*@example.com",
        "jd)(uid=*@example.com",
        "",
        "SRS0=AAAAAAAA=AA=evil.test=jd@example.com",
        "x@shared.example",  # two domains claim it: the directory does not say
    ],
)
async def test_what_stays(directory: Directory, rules: Rules, written: str) -> None:
    assert await drive(reversed_sender(rules, written), directory) == written


async def test_outside_ascii_only_where_the_message_may(directory: Directory, rules: Rules) -> None:
    made = await drive(reversed_address(rules, Inquiry(), "wide@example.com", utf8=True), directory)
    assert made == "jörg@example.com"


async def test_a_silent_directory_changes_nothing(rules: Rules) -> None:
    directory = MemoryDirectory(TEXT)
    directory.failing = "down"
    assert await drive(reversed_sender(rules, "jd@example.com"), directory) == "jd@example.com"


async def test_nothing_is_asked_unless_wanted(tmp_path: Path) -> None:
    directory = MemoryDirectory(TEXT, at_hand=False)
    for number, more in enumerate(["", "REVERSE_URL=\n", "REVERSE_URL=0\n", "REVERSE_URL=ldap:///$V?$N?sub?$R\nREVERSE_ENVELOPE=0\n"]):
        asked = reversed_sender(relay_rules(tmp_path / str(number), options=OPTIONS + more), "jd@example.com")
        assert await drive(asked, directory) == "jd@example.com"
    assert directory.asked == []
