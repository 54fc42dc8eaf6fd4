"""Connections that break behind the final dot: the relay sends again, the store knows XQID, nobody gets a message twice."""

import contextlib
import smtplib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance, free_port
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import append, edit, journey, restart_after_kill, wait_empty

USERS = [f"user{number}" for number in range(6)]
CUTS = 5
BODY = b"Subject: once\r\nMessage-ID: <once@journey.test>\r\n\r\nbody\r\n"


class Cutter:
    """A proxy that throws away the replies to the first bodies and closes."""

    def __init__(self, address: str, port: int, behind: int, cuts: int) -> None:
        self.left = cuts
        self._behind = (address, behind)
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._behind)
            body_sent = threading.Event()
            threading.Thread(target=self._forward, args=(client, server, body_sent), daemon=True).start()
            threading.Thread(target=self._back, args=(client, server, body_sent), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, body_sent: threading.Event) -> None:
        tail = b""
        try:
            while octets := client.recv(65536):
                tail = (tail + octets)[-5:]
                if tail == b"\r\n.\r\n" or b" LAST\r\n" in octets:
                    body_sent.set()
                server.sendall(octets)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _back(self, client: socket.socket, server: socket.socket, body_sent: threading.Event) -> None:
        try:
            while octets := server.recv(65536):
                if body_sent.is_set() and self._cut():
                    break
                client.sendall(octets)
        except OSError:
            pass
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the other thread, which closing does not
            each.close()

    def _cut(self) -> bool:
        with self._lock:
            self.left -= 1
            return self.left >= 0

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("recipients", [1, 6])
def test_a_relay_that_lost_its_answers_sends_again_and_nobody_gets_it_twice(tmp_path: Path, recipients: int) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=6, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        behind = free_port()
        edit(store, "dispatcher.cnf", f"PORT={store.port}", f"PORT={behind}")
        edit(store, "mappings", f"|{store.port}|", f"|{behind}|")
        cutter = Cutter(store.address, store.port, behind, CUTS)
        try:
            store.start()
            tiers.relay.start()
            with connect(tiers.relay) as client:
                for number in range(8):
                    ledger.send(client, USERS[:recipients], size=1000 if number % 2 else 300_000)
            wait_delivered(ledger, tiers.stores)
            wait_empty(tiers.relay)
        finally:
            cutter.close()
        assert cutter.left < 0
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


@contextmanager
def client_of(store: RunningInstance, port: int = 0) -> Iterator[smtplib.LMTP]:
    with smtplib.LMTP(store.address, port or store.port, timeout=20) as client:
        client.ehlo("relay1")
        yield client


def send(client: smtplib.LMTP, xqid: str, *owners: str) -> None:
    assert client.docmd(f"MAIL FROM:<s@example.org> SIZE={len(BODY)}")[0] == 250
    for number, owner in enumerate(owners):
        assert client.docmd(f"RCPT TO:<{owner}> XQID={xqid}.{number}")[0] == 250
    assert client.docmd("DATA")[0] == 354
    client.send(BODY + b".\r\n")


def test_what_was_stored_is_known_after_a_kill_and_after_a_restart(tmp_path: Path) -> None:
    with journey(tmp_path, users=2, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        store.start()
        with client_of(store) as client:
            assert client.has_extn("xqid")
            send(client, "ABCD", "user0", "user1")
            client.close()  # no answer is read
        wait_for(lambda: len(mailboxes([store])) == 2)
        restart_after_kill(store)
        for _ in range(2):
            with client_of(store) as client:
                send(client, "ABCD", "user0", "user1")
                assert [client.getreply() for _ in range(2)] == [
                    (250, b"2.5.0 <user0> OK"), (250, b"2.5.0 <user1> OK")
                ]  # fmt: skip
            assert store.stop() == 0
            store.start()
        assert len(mailboxes([store])) == 2

        append(store, "store.conf", "store.dupcheck = 0\n")
        assert store.command("reload").returncode == 0
        wait_for(lambda: not _lists_xqid(store))
        with client_of(store) as client:
            assert client.docmd("MAIL FROM:<s@example.org>")[0] == 250
            assert client.docmd("RCPT TO:<user0> XQID=ABCD.0")[0] == 555


def _lists_xqid(store: RunningInstance) -> bool:
    with client_of(store) as client:
        return client.has_extn("xqid")
