"""Who may do what, on real processes and a real slapd: logins, injection through addresses, smuggling, connections throttled."""

import base64
import contextlib
import smtplib
import socket
from collections.abc import Iterator

import pytest

from posthouse.testing.tiers import TwoTiers, posthouse
from support.clients import PASSWORD, USER, Certificates, certificates, people_with_passwords, relay_for_users
from support.family_rig import wait_for
from support.interop_tiers import arrived, messages
from support.journey_tiers import append, edit, wait_empty
from support.slapd import Slapd

BARE = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\n\n.\n\n", b"\r\n\0.\r\n", b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
]  # fmt: skip
THROTTLE = "$[IMTA_LIB:conn_throttle.so,throttle,127.0.0.9,3]$N421$ Connection$ not$ accepted$ at$ this$ time"
INJECTED = [
    "*", "*@example.com", "j*@example.com", '"*)(uid=*"@example.com', '"jdoe)(|(uid=*"@example.com', "\\2a@example.com",
    '"\\*"@example.com', "jdoe)@example.com", '"jdoe)(mail=*))%00"@example.com', "jdoe@example.com)(objectClass=*",
    '"(&(objectClass=*))"@example.com', "a@*", "a@(o=*)", '"jdoe,ou=People"@example.com', '"#jdoe"@example.com',
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("slapd"), people_with_passwords()) as server:
        yield server


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, made: Certificates, slapd: Slapd) -> Iterator[tuple[TwoTiers, int]]:
    tiers, port = relay_for_users(tmp_path_factory.mktemp("access"), made, ["--ldap", slapd.uri, "--base", "o=usergroup"])
    append(tiers.relay, "option.dat", "LDAP_TIMEOUT=3\n")
    edit(
        tiers.relay, "mappings", "  TCP|*|*|*|*      $Y",
        f"  TCP|*|*|127.0.0.9|*  {THROTTLE}\n  TCP|*|*|*|*      $Y",
    )  # fmt: skip
    with tiers:
        yield tiers, port


def opened(tiers: TwoTiers) -> smtplib.SMTP:
    client = smtplib.SMTP("127.0.0.1", tiers.relay.port, local_hostname="outside.test", timeout=30)
    client.ehlo()
    return client


def login(port: int, made: Certificates, user: str, password: str) -> int:
    with smtplib.SMTP("localhost", port, timeout=30) as client:
        client.starttls(context=made.trust())
        client.ehlo()
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return client.docmd("AUTH", f"PLAIN {token}")[0]


@pytest.mark.parametrize("user", [USER, "jd@example.com", "jdoe", "jdoe@example.com"])
def test_a_bind_decides(running: tuple[TwoTiers, int], made: Certificates, user: str) -> None:
    assert login(running[1], made, user, PASSWORD) == 235


@pytest.mark.parametrize(
    ("user", "password"), [(USER, "wrong"), ("jdoe)(uid=*", PASSWORD), ("*", PASSWORD), ("ann.smith@example.com", PASSWORD)]
)
def test_a_bind_refuses(running: tuple[TwoTiers, int], made: Certificates, user: str, password: str) -> None:
    assert login(running[1], made, user, password) == 535


def test_a_directory_that_is_down_is_454_and_never_535(running: tuple[TwoTiers, int], made: Certificates, slapd: Slapd) -> None:
    assert login(running[1], made, USER, PASSWORD) == 235
    slapd.stop()
    try:
        assert login(running[1], made, USER, PASSWORD) == 454
    finally:
        slapd.start()
    wait_for(lambda: login(running[1], made, USER, PASSWORD) == 235)


def test_no_address_injects_into_a_filter(running: tuple[TwoTiers, int]) -> None:
    tiers, _ = running
    with opened(tiers) as client:
        client.mail("a@outside.test")
        for address in INJECTED:
            code, said = client.docmd("RCPT", f"TO:<{address}>")
            assert code != 250, (address, said)
            assert code // 100 == 5, (address, said)
        assert client.rcpt(USER)[0] == 250
    with opened(tiers) as client:
        for address in INJECTED:
            code, said = client.docmd("MAIL", f"FROM:<{address}>")
            assert code in {250, 501}, (address, said)
            client.rset()


@pytest.mark.parametrize("ending", BARE, ids=lambda octets: octets.hex())
@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
def test_nothing_is_smuggled(running: tuple[TwoTiers, int], ending: bytes, verb: str) -> None:
    tiers, _ = running
    mark = f"smuggled-{verb}-{ending.hex()}"
    inside = f"MAIL FROM:<boss@example.com>\r\nRCPT TO:<{USER}>\r\nDATA\r\nSubject: {mark}\r\n\r\nx\r\n.\r\n"
    body = b"Subject: outer\r\n\r\ntext" + ending + inside.encode()
    with opened(tiers) as client:
        client.mail("a@outside.test")
        client.rcpt(USER)
        sock = client.sock
        assert sock is not None
        if verb == "DATA":
            assert client.docmd("DATA")[0] == 354
            sock.sendall(body + b"\r\n.\r\n")
        else:
            sock.sendall(b"BDAT %d LAST\r\n" % len(body) + body)
        code, _ = client.getreply()
        assert code // 100 == 5
        with contextlib.suppress(OSError, smtplib.SMTPException):
            client.quit()
    wait_empty(tiers.relay)
    assert messages(tiers.stores[0], "jdoe", mark) == []


def test_pipelined_abuse_gets_every_reply_and_no_more(running: tuple[TwoTiers, int]) -> None:
    tiers, _ = running
    with socket.create_connection(("127.0.0.1", tiers.relay.port), 30) as sock:
        lines = sock.makefile("rb")
        lines.readline()
        wrong = b"RCPT TO:<nobody@example.com>\r\n" * 500
        sock.sendall(b"HELO x\r\nMAIL FROM:<a@outside.test>\r\n" + wrong + b"DATA\r\nRSET\r\nQUIT\r\n")
        said = lines.read().splitlines()
    assert [line[:3] for line in (said[0], said[1], said[-1])] == [b"250", b"250", b"221"]
    assert {line[:3] for line in said[2:-3]} == {b"550"}
    assert len(said) == 2 + 500 + 3


def test_connections_of_an_address_are_throttled(running: tuple[TwoTiers, int]) -> None:
    tiers, _ = running
    greetings = []
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", tiers.relay.port), 30, source_address=("127.0.0.9", 0)) as sock:
            greetings.append(sock.makefile("rb").readline()[:3])
    assert sorted(greetings) == [b"220"] * 3 + [b"421"] * 3
    with opened(tiers) as client:
        assert client.noop()[0] == 250


def test_mapping_shows_what_a_table_answers(running: tuple[TwoTiers, int]) -> None:
    tiers, _ = running
    done = posthouse("mapping", "INTERNAL_IP", "127.0.0.3", "--instance", str(tiers.relay.folder))
    assert "Y" in done.stdout
    with opened(tiers) as client:
        client.sendmail("a@outside.test", [USER], b"Subject: after-all-that\r\n\r\nx\r\n")
    arrived(tiers.stores[0], "jdoe", "after-all-that")
