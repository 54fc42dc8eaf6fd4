"""STARTTLS on a relay's server: what it offers, what it forgets, and that nothing typed before it is obeyed after it."""

import ssl
from pathlib import Path

import pytest
import trustme

from posthouse.relay.smtp_server.line import Line
from posthouse.trace.record import Action
from support.smtp_world import Client, SmtpWorld, relay_files

BODY = b"Subject: hello\r\n\r\nOne line\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def listed(client: Client) -> set[str]:
    return {line[4:].split()[0] for line in client.ask("EHLO client.outside.test").split("\n")[1:]}


def only(world: SmtpWorld) -> Line:
    (session,) = world.call(lambda: tuple(world.relay.sessions))
    return session


def test_mail_comes_in_under_tls(tmp_path: Path, server: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    big = b"Subject: big\r\n\r\n" + b"a line of the message\r\n" * 30_000
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        client = world.connect()
        assert "STARTTLS" in listed(client)
        client.start_tls(trust)
        assert client.ask("MAIL FROM:<alice@outside.test>").startswith("503 5.5.1 ")
        assert "STARTTLS" not in listed(client)
        assert client.message(BODY, "john.doe@example.com").startswith("250 ")
        assert client.message(big, "john.doe@example.com").startswith("250 ")
        client.ask("QUIT")
        assert {record.mo for record in world.records(Action.ENQUEUED)} == {"ES"}
        messages = world.queued()
        assert sorted(len(message.body) > 600_000 for message in messages) == [False, True]
        assert all(b" with ESMTPS id <" in message.body[:300] for message in messages)


@pytest.mark.parametrize(("keyword", "certificate"), [("notlsserver", True), ("", True), ("maytlsserver", False)])
def test_without_keyword_or_certificate_it_is_not_there(
    tmp_path: Path, server: ssl.SSLContext, keyword: str, certificate: bool
) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords=keyword), certificate=server if certificate else None) as world:
        client = world.connect()
        assert "STARTTLS" not in listed(client)
        assert client.ask("STARTTLS").startswith("502 5.5.1 ")


@pytest.mark.parametrize("behind", [b"MAIL FROM:<evil@outside.test>\r\n", b"x", b"\r\n", b"\x16\x03\x01"])
def test_what_is_sent_behind_starttls_ends_the_connection(tmp_path: Path, server: ssl.SSLContext, behind: bytes) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        client = world.hello()
        client.send(b"STARTTLS\r\n" + behind)
        assert client.reply().startswith("554 5.5.0 ")
        assert client.at_end()
        assert [record.de for record in world.records(Action.BAD_COMMAND)] == ["STARTTLS"]


def test_what_follows_before_the_handshake_is_never_a_command(
    tmp_path: Path, server: ssl.SSLContext
) -> None:
    """A man in the middle sends plain text a moment later: it is garbage to TLS, and the connection ends."""
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        client = world.hello()
        assert client.ask("STARTTLS").startswith("220 ")
        client.send(b"MAIL FROM:<evil@outside.test>\r\nRCPT TO:<john.doe@example.com>\r\n")
        with pytest.raises((ssl.SSLError, ConnectionError, UnicodeDecodeError, AssertionError)):
            assert client.reply().startswith("250 ")
        world.until(lambda: world.closed == 1)
        assert not world.call(lambda: world.relay.sessions)
        assert world.records(Action.CLOSED)


def test_a_client_that_hangs_up_within_the_handshake_is_gone(tmp_path: Path, server: ssl.SSLContext) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        for _ in range(3):
            client = world.hello()
            assert client.ask("STARTTLS").startswith("220 ")
            client.close()
        world.until(lambda: world.closed == 3)


def test_a_client_that_is_silent_within_the_handshake_is_cut_off(tmp_path: Path, server: ssl.SSLContext) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        client = world.hello()
        assert client.ask("STARTTLS").startswith("220 ")
        world.until(lambda: all(one.server.handshaking for one in world.relay.sessions))
        world.call(only(world).expire)
        assert client.at_end()
        world.until(lambda: world.closed == 1)


def test_musttlsserver_takes_no_mail_in_clear(
    tmp_path: Path, server: ssl.SSLContext, trust: ssl.SSLContext, authority: trustme.CA
) -> None:
    files = relay_files(tmp_path, keywords="musttlsserver")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(files.config / "relay.pem"))
    services = files.config / "dispatcher.cnf"
    services.write_text(services.read_text().replace("!TLS_CERTIFICATE=", "TLS_CERTIFICATE="))
    with SmtpWorld(files, certificate=server) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<alice@outside.test>").startswith("530 5.7.0 ")
        client.start_tls(trust)
        listed(client)
        assert client.message(BODY, "john.doe@example.com").startswith("250 ")


def test_tlsswitchchannel_accounts_mail_to_another_channel(
    tmp_path: Path, server: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    files = relay_files(
        tmp_path, keywords="maytlsserver tlsswitchchannel tcp_tls", imta="\ntcp_tls smtp maytlsserver\ntcp_tls-daemon\n"
    )
    with SmtpWorld(files, certificate=server) as world:
        client = world.hello()
        assert client.message(BODY, "john.doe@example.com").startswith("250 ")
        client.start_tls(trust)
        listed(client)
        assert client.message(BODY, "john.doe@example.com").startswith("250 ")
        assert [record.sc for record in world.records(Action.ENQUEUED)] == ["tcp_local", "tcp_tls"]


def test_access_tables_know_of_tls(tmp_path: Path, server: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    table = "FROM_ACCESS\n\n  TCP|*|SMTP/TLSv1.3-TLS_*/client.outside.test|MAIL|tcp_local|*|  $:T$Y\n  *  $NTLS$ first\n"
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver", mappings=table), certificate=server) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<alice@outside.test>").startswith("550 5.7.1 TLS first")
        client.start_tls(trust)
        listed(client)
        assert client.ask("MAIL FROM:<alice@outside.test>").startswith("250 ")


def test_a_worker_that_ends_tells_a_client_within_the_handshake_by_hanging_up(tmp_path: Path, server: ssl.SSLContext) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        client = world.hello()
        assert client.ask("STARTTLS").startswith("220 ")
        world.until(lambda: all(one.server.handshaking for one in world.relay.sessions))
        world.call(only(world).hang_up)
        assert client.at_end()
        world.until(lambda: world.closed == 1)


def test_a_client_shed_within_the_handshake_hears_it_afterwards(
    tmp_path: Path, server: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        client = world.hello()
        assert client.ask("STARTTLS").startswith("220 ")
        world.until(lambda: all(one.server.handshaking for one in world.relay.sessions))
        world.call(only(world).shed)
        client.wrap(trust)
        assert client.reply().startswith("421 4.3.2 ")


def test_the_certificate_is_taken_anew_for_every_handshake(
    tmp_path: Path, server: ssl.SSLContext, trust: ssl.SSLContext
) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="maytlsserver"), certificate=server) as world:
        client = world.hello()
        other = trustme.CA()
        world.certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        other.issue_cert("localhost").configure_cert(world.certificate)
        assert client.ask("STARTTLS").startswith("220 ")
        with pytest.raises(ssl.SSLCertVerificationError):
            client.wrap(trust)
