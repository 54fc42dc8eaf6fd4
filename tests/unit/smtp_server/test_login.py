"""AUTH on a relay's server: who gets in, what a login changes, and what guessing costs."""

import base64
import hashlib
import ssl
import time
from pathlib import Path

import pytest
import trustme

from posthouse.config.instance import Instance
from posthouse.relay.directory.question import Unknown
from posthouse.relay.smtp_server.relay import Relay
from posthouse.trace.record import Action
from support.smtp_world import Client, SmtpWorld, relay_files

BODY = b"Subject: hello\r\n\r\nOne line\r\n"
SECRET = "correct horse"
DISTANT = "\ntcp_auth smtp mustsaslserver\ntcp_auth-daemon\n"


def ssha(password: str, salt: bytes = b"salt") -> str:
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()


def plain(user: str, password: str, acts_for: str = "") -> str:
    return "AUTH PLAIN " + base64.b64encode(f"{acts_for}\0{user}\0{password}".encode()).decode()


def quick(relay: Relay) -> None:
    relay.login_delay = 0.0


def files(folder: Path, keywords: str = "maysaslserver saslswitchchannel tcp_auth", *, clear: bool = True) -> Instance:
    return relay_files(
        folder, keywords=keywords, imta=DISTANT, options="AUTH_IN_CLEAR=1\n" if clear else "",
        passwords={"jdoe": ssha(SECRET), "asmith": "{CLEARTEXT}another"},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["john.doe@example.com", "jd@example.com", "JDOE@example.com", "jdoe", "John.Doe"])
def test_a_user_logs_in_by_any_name(tmp_path: Path, name: str) -> None:
    with SmtpWorld(files(tmp_path), prepare=quick) as world:
        client = world.connect()
        assert "AUTH PLAIN LOGIN" in client.ask("EHLO client.outside.test")
        assert client.ask(plain(name, SECRET)) == "235 2.7.0 PLAIN authentication successful."
        assert client.message(BODY, "someone@far.test", sender="john.doe@example.com").startswith("250 ")
        (enqueued,) = world.records(Action.ENQUEUED)
        assert (enqueued.mo, enqueued.us, enqueued.sc, enqueued.dc) == ("EA", "john.doe@example.com", "tcp_auth", "tcp_local")
        assert [record.us for record in world.records(Action.LOGGED_IN)] == ["john.doe@example.com"]
        (message,) = world.queued()
        assert (message.envelope.user, message.envelope.source_channel) == ("john.doe@example.com", "tcp_auth")
        assert b" with ESMTPA id <" in message.body[:300]


def test_login_mechanism(tmp_path: Path) -> None:
    with SmtpWorld(files(tmp_path), prepare=quick) as world:
        client = world.hello()
        assert client.ask("AUTH LOGIN").startswith("334 ")
        assert client.ask(base64.b64encode(b"ann.smith@example.com")).startswith("334 ")
        assert client.ask(base64.b64encode(b"another")).startswith("235 2.7.0 LOGIN ")


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("jdoe", "guessed"), ("nobody", SECRET), ("jdoe@nowhere.test", SECRET), ("", SECRET), ("*", SECRET),
        ("jdoe)(uid=*", SECRET), ("j*", SECRET), ("jd\\2a", SECRET), ("asmith", SECRET), ("jdoe@", SECRET),
        ("@example.com", SECRET),        ("mary", "guessed"),
        ("a" * 400, "guessed"), ("jdoe", ssha(SECRET)), ("staff@example.com", "guessed"), ("jdoe\n", SECRET),
    ],
)  # fmt: skip
def test_others_do_not(tmp_path: Path, user: str, password: str) -> None:
    with SmtpWorld(files(tmp_path), prepare=quick) as world:
        client = world.hello()
        answer = client.ask(plain(user, password))
        assert answer == ("535 5.7.8 Authentication credentials invalid" if user else answer)
        assert answer[:3] in {"535", "501"}
        assert client.ask("MAIL FROM:<john.doe@example.com>").startswith("250 ")
        assert client.ask("RCPT TO:<someone@far.test>").startswith("550 5.7.1 ")
        assert not world.records(Action.LOGGED_IN)
        assert password not in (tmp_path / "relay" / "log" / "transactions.jsonl").read_text()


def test_nobody_acts_for_somebody_else(tmp_path: Path) -> None:
    with SmtpWorld(files(tmp_path), prepare=quick) as world:
        client = world.hello()
        assert client.ask(plain("jdoe", SECRET, acts_for="asmith")).startswith("535 ")
        assert client.ask(plain("jdoe", SECRET, acts_for="jdoe")).startswith("235 ")


def test_disabled_users_do_not_log_in(tmp_path: Path) -> None:
    made = files(tmp_path)
    ldif = tmp_path / "people.ldif"
    for status in ("inactive", "deleted", "disabled"):
        ldif.write_text(ldif.read_text().replace("userPassword: {SSHA}", f"mailUserStatus: {status}\nuserPassword: {{SSHA}}"))
        with SmtpWorld(made, prepare=quick) as world:
            assert world.hello().ask(plain("jdoe", SECRET)).startswith("535 ")
        ldif.write_text(ldif.read_text().replace(f"mailUserStatus: {status}\nuserPassword", "userPassword"))


@pytest.mark.parametrize("down", ["look-up", "password"])
def test_a_directory_that_does_not_answer_is_454(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, down: str) -> None:
    with SmtpWorld(files(tmp_path), prepare=quick) as world:
        directory = world.relay.directory

        async def silent(*_: object) -> Unknown:
            return Unknown("no server")

        if down == "look-up":
            monkeypatch.setattr(directory, "cached", lambda _: None)
            monkeypatch.setattr(directory, "answer", silent)
        else:
            monkeypatch.setattr(directory, "check_password", silent)
        client = world.hello()
        assert client.ask(plain("jdoe", SECRET)).startswith("454 4.7.0 ")
        monkeypatch.undo()
        assert client.ask(plain("jdoe", SECRET)).startswith("235 ")


def test_guessing_ends_the_connection_and_bars_the_address(tmp_path: Path) -> None:
    with SmtpWorld(files(tmp_path), prepare=quick) as world:
        for _ in range(10):
            client = world.hello()
            assert client.ask(plain("jdoe", "guess")).startswith("535 ")
            assert client.ask(plain("jdoe", "guess")).startswith("535 ")
            client.send((plain("jdoe", "guess") + "\r\n").encode())
            assert [reply[:3] for reply in client.replies(2)] == ["535", "421"]
            assert client.at_end()
        assert world.hello().ask(plain("jdoe", SECRET)).startswith("454 4.7.0 Too many ")
        assert len(world.records(Action.LOGIN_REFUSED)) == 31


def test_a_refusal_takes_its_time_and_another_client_does_not_wait(tmp_path: Path) -> None:
    def half_a_second(relay: Relay) -> None:
        relay.login_delay = 0.5

    with SmtpWorld(files(tmp_path), prepare=half_a_second) as world:
        client, other = world.hello(), world.hello()
        began = time.monotonic()
        client.send((plain("nobody", "guess") + "\r\n").encode())
        assert other.ask(plain("jdoe", SECRET)).startswith("235 ")
        assert time.monotonic() - began < 0.4
        assert client.reply().startswith("535 ")
        assert time.monotonic() - began >= 0.5


def test_mustsaslserver_takes_no_mail_without_a_login(tmp_path: Path) -> None:
    with SmtpWorld(files(tmp_path, "mustsaslserver"), prepare=quick) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<john.doe@example.com>") == "530 5.7.0 Authentication required"
        assert client.ask(plain("jdoe", SECRET)).startswith("235 ")
        assert client.message(BODY, "john.doe@example.com").startswith("250 ")


def test_without_tls_no_password_is_taken(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(trust)
    with SmtpWorld(files(tmp_path, "maytlsserver mustsaslserver", clear=False), certificate=server, prepare=quick) as world:
        client = world.connect()
        assert "AUTH" not in client.ask("EHLO client.outside.test")
        assert client.ask(plain("jdoe", SECRET)).startswith("538 5.7.11 ")
        assert client.ask("MAIL FROM:<john.doe@example.com>").startswith("530 5.7.0 ")
        client.start_tls(trust)
        assert "AUTH PLAIN LOGIN" in client.ask("EHLO client.outside.test")
        assert client.ask(plain("jdoe", SECRET)).startswith("235 ")
        assert client.message(BODY, "john.doe@example.com").startswith("250 ")
        assert [record.mo for record in world.records(Action.ENQUEUED)] == ["ESA"]
        (message,) = world.queued()
        assert b" with ESMTPSA id <" in message.body[:300]


def test_a_login_does_not_survive_starttls(tmp_path: Path) -> None:
    authority = trustme.CA()
    server, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(trust)
    with SmtpWorld(files(tmp_path, "maytlsserver mustsaslserver"), certificate=server, prepare=quick) as world:
        client = world.hello()
        assert client.ask(plain("jdoe", SECRET)).startswith("235 ")
        client.start_tls(trust)
        client.ask("EHLO client.outside.test")
        assert client.ask("MAIL FROM:<john.doe@example.com>") == "530 5.7.0 Authentication required"


def test_access_tables_know_who_logged_in(tmp_path: Path) -> None:
    mappings = (
        "FROM_ACCESS\n\n  TCP|*|SMTP/*|MAIL|*|ann*|john.doe@example.com  $NNot$ your$ address\n"
        "  *  $:A$Y\n  *  $NLog$ in$ first\n"
    )
    made = files(tmp_path, "maysaslserver")
    path = made.config / "mappings"
    path.write_text(path.read_text() + "\n" + mappings)
    with SmtpWorld(made, prepare=quick) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<john.doe@example.com>").startswith("550 5.7.1 Log in first")
        assert client.ask(plain("jdoe", SECRET)).startswith("235 ")
        assert client.ask("MAIL FROM:<ann.smith@example.com>").startswith("550 5.7.1 Not your address")
        assert client.ask("MAIL FROM:<john.doe@example.com> AUTH=<>").startswith("250 ")


def test_a_client_that_hangs_up_within_a_login_changes_nothing(tmp_path: Path) -> None:
    def slow(relay: Relay) -> None:
        relay.login_delay = 0.1

    with SmtpWorld(files(tmp_path), prepare=slow) as world:
        client: Client = world.hello()
        client.send((plain("jdoe", "guess") + "\r\n").encode())
        client.close()
        world.until(lambda: world.closed == 1)
        world.until(lambda: bool(world.records_now(Action.LOGIN_REFUSED)))
        assert world.hello().ask(plain("jdoe", SECRET)).startswith("235 ")
