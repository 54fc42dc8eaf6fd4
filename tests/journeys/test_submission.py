"""Users hand in mail: real clients over STARTTLS with a login, from the submission port to the mailbox."""

import base64
import smtplib
import socket
import ssl
from collections.abc import Iterator

import pytest

from posthouse.testing.tiers import TwoTiers, posthouse
from support.clients import PASSWORD, USER, Certificates, certificates, people_with_passwords, relay_for_users, tls_port
from support.family_rig import wait_for
from support.interop_daemon import needs_root, open_folder, run
from support.interop_postfix import postfix
from support.interop_tiers import arrived, mail


@pytest.fixture(scope="module")
def made() -> Iterator[Certificates]:
    with open_folder("certificates") as folder:  # Postfix reads it as a user of its own
        yield certificates(folder)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, made: Certificates) -> Iterator[tuple[TwoTiers, int]]:
    root = tmp_path_factory.mktemp("submission")
    (root / "people.ldif").write_text(people_with_passwords(), encoding="utf-8")
    tiers, port = relay_for_users(root, made, ["--ldif", str(root / "people.ldif")])
    with tiers:
        yield tiers, port


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(running: tuple[TwoTiers, int], made: Certificates, mechanism: str) -> None:
    tiers, port = running
    mark = f"swaks-submission-{mechanism}"
    done = run(
        ["swaks", "--server", "127.0.0.1", "--port", str(port), "--tls", "--tls-verify", "--tls-ca-path", str(made.ca),
         "--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD,
         "--from", USER, "--to", USER, "--ehlo", "laptop.test", "--header", f"Subject: {mark}"]
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert f"<~  235 2.7.0 {mechanism} authentication successful." in done.stdout
    (octets,) = arrived(tiers.stores[0], "jdoe", f"Subject: {mark}")
    assert b" with ESMTPSA id <" in octets
    log = (tiers.relay.folder / "log" / "transactions.jsonl").read_text()
    assert f'"us":"{USER}"' in log
    assert PASSWORD not in log


def test_swaks_with_a_wrong_password_and_without_tls(running: tuple[TwoTiers, int]) -> None:
    _, port = running
    common = ["swaks", "--server", "127.0.0.1", "--port", str(port), "--from", USER, "--to", USER, "--ehlo", "laptop.test"]
    done = run([*common, "--tls", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", "wrong"])
    assert done.returncode == 28, done.stdout
    assert "535 5.7.8" in done.stdout
    done = run([*common, "--auth", "PLAIN", "--auth-user", USER, "--auth-password", PASSWORD])
    assert done.returncode == 28, done.stdout
    done = run(common)
    assert done.returncode == 23, done.stdout
    assert "530 5.7.0" in done.stdout


def test_smtplib_sends_anywhere_after_a_login(running: tuple[TwoTiers, int], made: Certificates) -> None:
    tiers, port = running
    with smtplib.SMTP("localhost", port, local_hostname="laptop.test", timeout=30) as client:
        client.starttls(context=made.trust())
        with pytest.raises(smtplib.SMTPSenderRefused) as refused:
            client.sendmail(USER, [USER], mail("smtplib-early"))
        assert refused.value.smtp_code == 530
        client.login("jdoe", PASSWORD)
        body = f"From: {USER}\r\nBcc: secret@far.test\r\nSubject: smtplib-submission\r\n\r\nHello\r\n".encode()
        assert client.sendmail(USER, [USER, "someone@far.test"], body) == {}
    (octets,) = arrived(tiers.stores[0], "jdoe", "smtplib-submission")
    assert b"\nDate: " in octets
    assert b"\nMessage-ID: <" in octets
    assert b"Bcc" not in octets
    waiting = tiers.relay.json("queue", "list")
    assert [each["recipients"][0]["original"] for each in waiting if each["channel"] == "tcp_local"] == ["someone@far.test"]


def test_tls_from_the_first_octet(running: tuple[TwoTiers, int], made: Certificates) -> None:
    tiers, _ = running
    with smtplib.SMTP_SSL("localhost", tls_port(tiers), context=made.trust(), timeout=30) as client:
        client.login(USER, PASSWORD)
        client.sendmail(USER, [USER], mail("smtps-submission"))
    (octets,) = arrived(tiers.stores[0], "jdoe", "smtps-submission")
    assert b" with ESMTPSA id <" in octets


def test_openssl_sees_the_certificate_and_a_login_on_the_smtp_port(running: tuple[TwoTiers, int], made: Certificates) -> None:
    tiers, _ = running
    secret = base64.b64encode(f"\0jdoe\0{PASSWORD}".encode()).decode()
    said = f"EHLO laptop.test\nAUTH PLAIN {secret}\nMAIL FROM:<{USER}>\nRCPT TO:<someone@far.test>\nRSET\nquit\n"
    done = run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{tiers.relay.port}", "-starttls", "smtp", "-crlf", "-ign_eof",
         "-nocommands", "-CAfile", str(made.ca), "-verify_return_error", "-verify_hostname", "localhost"],
        given=said.encode(),
    )  # fmt: skip
    assert "Verification: OK" in done.stdout
    assert "250-AUTH PLAIN LOGIN" in done.stdout or "250 AUTH PLAIN LOGIN" in done.stdout
    assert "250 2.1.5 someone@far.test OK." in done.stdout


def test_what_is_injected_before_the_handshake_is_not_obeyed(running: tuple[TwoTiers, int]) -> None:
    tiers, port = running
    for number in (port, tiers.relay.port):
        with socket.create_connection(("127.0.0.1", number), 10) as sock:
            lines = sock.makefile("rb")
            lines.readline()
            sock.sendall(b"EHLO x\r\n")
            while lines.readline()[3:4] == b"-":
                pass
            sock.sendall(b"STARTTLS\r\nRSET\r\nMAIL FROM:<evil@far.test>\r\n")
            assert lines.readline().startswith(b"554 5.5.0 ")
            assert lines.read() == b""


def test_our_own_machines_send_anywhere_and_others_do_not(running: tuple[TwoTiers, int]) -> None:
    tiers, _ = running
    for address, code in (("127.0.0.3", 250), ("127.0.0.4", 550)):
        with smtplib.SMTP("127.0.0.1", tiers.relay.port, source_address=(address, 0), timeout=30) as client:
            client.ehlo("printer.test")
            client.mail(USER)
            assert client.rcpt("someone@far.test")[0] == code


def serial(port: int, made: Certificates) -> str:
    with smtplib.SMTP("localhost", port, timeout=30) as client:
        client.starttls(context=made.trust())
        assert isinstance(client.sock, ssl.SSLSocket)
        certificate = client.sock.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def test_a_new_certificate_is_read_at_reload_and_a_bad_one_is_refused(
    running: tuple[TwoTiers, int], made: Certificates
) -> None:
    tiers, port = running
    first = serial(port, made)
    good = made.server.read_bytes()
    made.server.write_text("nonsense\n")
    done = posthouse("reload", "--instance", str(tiers.relay.folder), check=False)
    assert done.returncode == 78
    assert "config/dispatcher.cnf:15: TLS_CERTIFICATE cannot be used: no PEM certificate, or no key" in done.stderr
    assert serial(port, made) == first
    made.server.write_bytes(good)
    made.issue(made.server, "localhost")
    posthouse("reload", "--instance", str(tiers.relay.folder))
    assert serial(port, made) != first
    assert serial(tiers.relay.port, made) == serial(port, made)


@needs_root
def test_postfix_as_a_client_verifies_the_relay(running: tuple[TwoTiers, int], made: Certificates) -> None:
    tiers, _ = running
    more = (
        f"virtual_transport = smtp:[127.0.0.1]:{tiers.relay.port}\nsmtp_tls_security_level = secure\n"
        f"smtp_tls_CAfile = {made.ca}\nsmtp_tls_secure_cert_match = localhost\nsmtp_tls_loglevel = 1\n"
    )
    with postfix("127.0.0.1:9", more) as peer:
        with peer.smtp() as client:
            client.sendmail("a@outside.test", [USER], mail("postfix-tls"))
        assert wait_for(lambda: peer.outcomes(USER)), peer.log()
        (octets,) = arrived(tiers.stores[0], "jdoe", "Subject: postfix-tls")
        assert b" with ESMTPS id <" in octets
        assert "Verified TLS connection established to 127.0.0.1" in peer.log(), peer.log()
