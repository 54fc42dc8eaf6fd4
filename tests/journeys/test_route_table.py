"""`posthouse route` on every row of the table in directory.md 13, over the LDIF file and over a slapd with the same entries."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from posthouse.testing.tiers import posthouse
from support.slapd import Slapd

PEOPLE = Path(__file__).parent.parent / "data" / "directory" / "people.ldif"
JDOE = "@store1.example.com.lmtp:jdoe@lmtpcs-daemon"
ANN = "@store2.example.com.lmtp:asmith@lmtpcs-daemon"
SUE = "@store2.example.com.lmtp:SMiller%hosted.example.org@lmtpcs-daemon"
AWAY = "asmith+example.com@bitbucket"
JULY, AUGUST = ("--at", "2026-07-10T12:00Z"), ("--at", "20260810000000Z")
ROWS: list[tuple[tuple[str, ...], list[str]]] = [
    (("john.doe@example.com",), [JDOE]),
    (("JD@EXAMPLE.com",), [JDOE]),
    (("jd+Work@example.com",), ["@store1.example.com.lmtp:jdoe+Work@lmtpcs-daemon"]),
    (("ann.smith@example.com", *JULY), [ANN, AWAY]),
    (("ann.smith@example.com", *AUGUST), [ANN]),
    (("bob@example.com", *AUGUST), ["@store1.example.com.lmtp:bfwd@lmtpcs-daemon", "bob@remote.test", ANN]),
    (("bob@example.com", *JULY), ["@store1.example.com.lmtp:bfwd@lmtpcs-daemon", "bob@remote.test", ANN, AWAY]),
    (("sue@hosted.example.net",), [SUE]),
    (("nobody@hosted.example.org",), ["@store1.example.com.lmtp:info%hosted.example.org@lmtpcs-daemon"]),
    (("nobody@example.com",), ["@legacy.example.com:nobody@example.com"]),
    (("staff@example.com", "--from", "x@example.com"), [JDOE, SUE, "ext@remote.test"]),
]
REFUSED = [
    (("gone@hosted.example.org",), "550 5.1.6 recipient no longer on server: gone@hosted.example.org"),
    (
        ("staff@example.com", "--from", "x@evil.test", "--source", "192.0.2.7"),
        "550 5.7.1 staff is for example.com senders only: staff@example.com",
    ),
]


@pytest.fixture(scope="module", params=["ldif", "slapd"])
def relay(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp(request.param)
    made = ["init", "relay", str(folder / "relay1"), "--smtp", "127.0.0.1:2525", "--host", "relay1.example.com"]
    made += ["--default-domain", "example.com"]
    if request.param == "ldif":
        posthouse(*made, "--ldif", str(PEOPLE), check=True)
        yield folder / "relay1"
        return
    with Slapd(folder / "slapd", PEOPLE.read_text()) as server:
        posthouse(*made, "--ldap", server.uri, "--base", "o=usergroup", check=True)
        yield folder / "relay1"


def ask(relay: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = posthouse("route", *words, "--json", "--instance", str(relay), check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


@pytest.mark.parametrize(("words", "addresses"), ROWS)
def test_delivered(relay: Path, words: tuple[str, ...], addresses: list[str]) -> None:
    code, answer = ask(relay, *words)
    found = [target["address"] for target in answer["recipients"]]
    assert (code, sorted(found)) == (0, sorted(addresses))  # a server gives values in its own order
    senders = {target.get("sender", "") for target in answer["recipients"]}
    assert senders == ({"owner-staff@example.com"} if words[0].startswith("staff") else {""})


@pytest.mark.parametrize(("words", "reply"), REFUSED)
def test_refused(relay: Path, words: tuple[str, ...], reply: str) -> None:
    code, answer = ask(relay, *words)
    told = answer["reply"]
    assert (code, f"{told['code']} {told['enhanced']} {told['text']}") == (67, reply)


def test_explained_with_every_step(relay: Path) -> None:
    words = ("staff@example.com", "--from", "x@example.com", "--explain", "--instance", str(relay))
    lines = posthouse("route", *words, check=True).stdout.splitlines()
    wanted = [
        "4    staff@example.com  [l]  x@example.com matches mgrpAllowedDomain",
        "4    staff@example.com  [l]  envelope From of the copies is owner-staff@example.com (mgrpErrorsTo)",
        "4    ext@remote.test  mgrpRFC822MailMember",
        "    envelope From owner-staff@example.com",
    ]
    assert [line for line in wanted if line not in lines] == []
    assert any(line.startswith("4      @store1.example.com.LMTP:jdoe@lmtpcs-daemon  clause #*mailbox=") for line in lines)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (
            ("gone@hosted.example.org",),
            "because: mailUserStatus deleted of uid=gone,ou=People,o=hosted.example.org,o=usergroup",
        ),
        (
            ("staff@example.com", "--from", "x@evil.test"),
            "because: cn=staff,ou=Groups,o=example.com,o=usergroup: x@evil.test is not in mgrpAllowedDomain",
        ),
        (
            ("ann.smith@example.com", *AUGUST),
            "mailDeliveryOption autoreply: not at this time (vacationStartDate 20260701000000Z, vacationEndDate 20260715000000Z)",
        ),
        (
            ("info@hosted.example.org",),
            "no mailDeliveryOption that counts: the clause for users or groups without one",
        ),
    ],
)
def test_explained_why(relay: Path, words: tuple[str, ...], wanted: str) -> None:
    """What is refused, left out or taken for want of anything else has its reason."""
    done = posthouse("route", *words, "--explain", "--instance", str(relay), check=False)
    assert any(line.endswith(f"  {wanted}") for line in done.stdout.splitlines()), done.stdout


def test_a_time_that_is_none(relay: Path) -> None:
    assert posthouse("route", "john.doe@example.com", "--at", "soon", "--instance", str(relay), check=False).returncode == 64


def test_the_sender_is_asked_about_as_mail_from_would_be(relay: Path) -> None:
    path = relay / "config" / "mappings"
    before = path.read_text()
    try:
        table = "  *|SMTP*|MAIL|tcp_local|spam@*|*  $N421$ 4.7.1$ not$ you\n  *|bad@*|*  $Nno\n"
        path.write_text(f"{before}\nFROM_ACCESS\n\n{table}\n")
        code, answer = ask(relay, "sue@hosted.example.org", "--from", "spam@x.test", "--source", "192.0.2.7")
        assert (code, answer["reply"]["code"], answer["reply"]["text"]) == (75, 421, "not you: spam@x.test")
        code, answer = ask(relay, "sue@hosted.example.org", "--from", "bad@x.test")
        assert (code, answer["reply"]["enhanced"]) == (67, "5.7.1")
        assert [(step["address"], step["file"]) for step in answer["steps"]] == [("bad@x.test", "config/mappings")]
        assert ask(relay, "sue@hosted.example.org", "--from", "good@x.test")[0] == 0
    finally:
        path.write_text(before)
