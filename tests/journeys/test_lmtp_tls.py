"""LMTP between the tiers under TLS: both sides show certificates, and mail waits where one of them is not believed."""

import contextlib
import smtplib
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trustme

from posthouse.testing.tiers import RunningInstance, TwoTiers, posthouse
from support.clients import Certificates
from support.family_rig import wait_for
from support.journey_tiers import append, edit, journey, retry_all, wait_empty
from support.transaction_log import log_records

BODY = b"Subject: under TLS\r\n\r\nHello\r\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    found = Certificates(tmp_path_factory.mktemp("certificates"), trustme.CA())
    found.authority.cert_pem.write_to_path(str(found.ca))
    found.issue(found.folder / "store1.pem", "store1.example.com")
    found.issue(found.folder / "relay.pem", "relay1.example.com")
    return found


def secure_store(tiers: TwoTiers, made: Certificates) -> None:
    append(
        tiers.stores[0], "dispatcher.cnf",
        f"TLS_CERTIFICATE={made.folder / 'store1.pem'}\nTLS_CA_FILE={made.ca}\nTLS_REQUIRE_CLIENT=1\n",
    )  # fmt: skip
    edit(tiers.stores[0], "imta.cnf", "tcp_lmtpss lmtp", "tcp_lmtpss lmtp musttlsserver")


def secure_relay(tiers: TwoTiers, options: str, keyword: str = "musttls") -> None:
    edit(tiers.relay, "imta.cnf", "tcp_lmtpcs defragment lmtp", f"tcp_lmtpcs defragment lmtp {keyword}")
    (tiers.relay.folder / "config" / "tcp_lmtpcs_option").write_text(options)


def send(tiers: TwoTiers, body: bytes = BODY) -> None:
    with smtplib.SMTP(tiers.relay.address, tiers.relay.port, timeout=30) as client:
        client.sendmail("a@outside.test", ["user0@example.com"], body)


def mailbox(tiers: TwoTiers) -> list[bytes]:
    new = tiers.stores[0].folder / "data" / "store" / "primary" / "user0" / "new"
    return [path.read_bytes() for path in new.iterdir()] if new.is_dir() else []


def records(tiers: TwoTiers, action: str) -> Iterator[dict[str, str]]:
    yield from (record for record in log_records(tiers.relay.folder) if record["ac"] == action)


def troubles(instance: RunningInstance) -> list[dict[str, str]]:
    found: list[dict[str, str]] = instance.json("status")["troubles"]
    return found


def heard_without_a_certificate(address: str, port: int, made: Certificates) -> bytes:
    """What the store says under TLS to a client that shows no certificate."""
    nobody = made.trust()
    nobody.check_hostname = False
    with socket.create_connection((address, port), 10) as sock:
        lines = sock.makefile("rb")
        lines.readline()
        sock.sendall(b"STARTTLS\r\n")
        assert lines.readline().startswith(b"220 ")
        with contextlib.suppress(OSError), nobody.wrap_socket(sock) as secured:
            secured.sendall(b"LHLO x\r\n")
            return secured.recv(100)
    return b""


def test_mail_goes_under_tls_with_certificates_of_both(tmp_path: Path, made: Certificates) -> None:
    with journey(tmp_path, stores=1, start=False) as tiers:
        secure_store(tiers, made)
        secure_relay(tiers, f"TLS_CA_FILE={made.ca}\nTLS_CERTIFICATE={made.folder / 'relay.pem'}\n")
        tiers.start()
        big = b"Subject: big\r\n\r\n" + b"a line of the message\r\n" * 40_000
        for body in (BODY, big, BODY):
            send(tiers, body)
        wait_empty(tiers.relay)
        assert sorted(len(each) > 800_000 for each in mailbox(tiers)) == [False, False, True]
        assert {record["mo"] for record in records(tiers, "D")} == {"LS"}
        store = tiers.stores[0]
        with smtplib.LMTP(store.address, store.port, timeout=30) as client:
            client.ehlo("stranger.test")
            assert client.mail("a@outside.test")[0] == 530
        assert heard_without_a_certificate(store.address, store.port, made) == b""


def test_mail_waits_for_a_certificate_and_goes_after_a_reload(tmp_path: Path, made: Certificates) -> None:
    with journey(tmp_path, stores=1, start=False) as tiers:
        secure_store(tiers, made)
        secure_relay(tiers, f"TLS_CA_FILE={made.ca}\n")
        tiers.start()
        send(tiers)
        wait_for(lambda: list(records(tiers, "Q")))
        assert mailbox(tiers) == []
        append(tiers.relay, "tcp_lmtpcs_option", f"TLS_CERTIFICATE={made.folder / 'relay.pem'}\n")
        posthouse("reload", "--instance", str(tiers.relay.folder))
        retry_all(tiers.relay)
        wait_empty(tiers.relay)
        assert len(mailbox(tiers)) == 1


def test_a_bad_certificate_at_a_reload_stops_no_mail_and_is_named(tmp_path: Path, made: Certificates) -> None:
    own = tmp_path / "own.pem"
    made.issue(own, "relay1.example.com")
    with journey(tmp_path, stores=1, start=False) as tiers:
        secure_store(tiers, made)
        secure_relay(tiers, f"TLS_CA_FILE={made.ca}\nTLS_CERTIFICATE={own}\n")
        tiers.start()
        send(tiers)
        wait_empty(tiers.relay)
        keys = [made.authority.issue_cert("relay1.example.com") for _ in range(2)]
        new = tmp_path / "new.pem"
        new.write_bytes(keys[0].private_key_pem.bytes() + keys[1].cert_chain_pems[0].bytes())
        new.replace(own)
        told = tiers.relay.command("reload").stderr
        assert f"config/tcp_lmtpcs_option:2: {own}: key values mismatch; " in told
        (trouble,) = wait_for(partial(troubles, tiers.relay))
        assert trouble["what"] == "certificate"
        assert trouble["text"] == f"channel tcp_lmtpcs: {own}: key values mismatch; what was read before is in use"
        send(tiers)
        wait_empty(tiers.relay)
        assert len(mailbox(tiers)) == 2
        made.issue(own, "relay1.example.com")
        tiers.relay.command("reload")
        wait_for(lambda: not troubles(tiers.relay))


def test_status_tells_of_certificates_in_use_that_end_soon(tmp_path: Path, made: Certificates) -> None:
    soon = datetime.now(UTC) + timedelta(days=3)
    short = made.authority.issue_cert("store1.example.com", "relay1.example.com", not_after=soon)
    path = tmp_path / "short.pem"
    path.touch(0o600)
    path.write_bytes(short.private_key_and_cert_chain_pem.bytes())
    with journey(tmp_path, stores=1, start=False) as tiers:
        secure_relay(tiers, f"TLS_CERTIFICATE={path}\n", "maytls")
        append(tiers.stores[0], "dispatcher.cnf", f"TLS_CERTIFICATE={path}\n")
        tiers.start()
        until = soon.strftime("%Y-%m-%dT%H:%M:%SZ")
        send(tiers)
        for instance, words in ((tiers.stores[0], "; renew it, then reload"), (tiers.relay, "")):
            (trouble,) = wait_for(partial(troubles, instance))
            assert trouble["text"].removeprefix("channel tcp_lmtpcs: ") == f"{path}: certificate ends soon, {until}{words}"
            assert f"{path}: certificate ends soon, {until}\n" in instance.command("check").stderr
        made.issue(path, "store1.example.com", "relay1.example.com")
        for instance in tiers.instances:
            instance.command("reload")
        wait_for(lambda: not any(map(troubles, tiers.instances)))


def test_a_store_that_is_not_believed_gets_nothing(tmp_path: Path, made: Certificates) -> None:
    with journey(tmp_path, stores=1, start=False) as tiers:
        secure_store(tiers, made)
        other = trustme.CA()
        other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
        secure_relay(tiers, f"TLS_CA_FILE={tmp_path / 'other.pem'}\nTLS_CERTIFICATE={made.folder / 'relay.pem'}\n")
        tiers.start()
        send(tiers)
        wait_for(lambda: [record for record in records(tiers, "Q") if record["en"] == "4.7.5"])
        assert mailbox(tiers) == []


def test_maytls_goes_in_clear_where_there_is_no_tls(tmp_path: Path) -> None:
    with journey(tmp_path, stores=1, start=False) as tiers:
        secure_relay(tiers, "", keyword="maytls")
        tiers.start()
        send(tiers)
        wait_empty(tiers.relay)
        assert len(mailbox(tiers)) == 1
        assert {record["mo"] for record in records(tiers, "D")} == {"L"}


def test_musttls_waits_for_a_store_that_offers_it(tmp_path: Path, made: Certificates) -> None:
    with journey(tmp_path, stores=1, start=False) as tiers:
        secure_relay(tiers, f"TLS_CA_FILE={made.ca}\n")
        tiers.start()
        send(tiers)
        wait_for(lambda: [record for record in records(tiers, "Q") if record["en"] == "4.7.4"])
        assert mailbox(tiers) == []
