"""The directory stopped, black-holed and restarted: 4xx in bounded time, never 5xx, nobody else waits, recovery by itself."""

import signal
import smtplib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from posthouse.testing.tiers import TwoTiers
from support import slapd
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, reconcile, wait_delivered
from support.journey_tiers import DOMAIN, journey, wait_empty

pytestmark = pytest.mark.skipif(not slapd.is_installed(), reason="slapd is not installed")
BOUND = 25.0
"""seconds within which RCPT is answered when the directory says nothing"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[slapd.Slapd]:
    made = slapd.Slapd(tmp_path / "slapd", slapd.many_people(200, stores=(f"store1.{DOMAIN}",)))
    made.start()
    yield made
    made.stop()


class Probe:
    """A second client that only says NOOP, ten times a second: how long the worker's loop lets it wait."""

    def __init__(self, tiers: TwoTiers) -> None:
        self.worst = 0.0
        self.asked = 0
        self._over = threading.Event()
        self._client = connect(tiers.relay)
        self._client.ehlo()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(0.1):
            begin = time.monotonic()
            assert self._client.noop()[0] == 250
            self.worst = max(self.worst, time.monotonic() - begin)
            self.asked += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(30)
        self._client.close()


def answer(client: smtplib.SMTP, user: str) -> tuple[int, float]:
    """The code RCPT is answered with, and after how many seconds."""
    client.rset()
    assert client.mail(f"user0@{DOMAIN}")[0] == 250
    begin = time.monotonic()
    code, _ = client.rcpt(f"{user}@{DOMAIN}")
    return code, time.monotonic() - begin


def troubles(tiers: TwoTiers) -> list[tuple[str, str]]:
    """What `posthouse status` says is wrong; it ends with 0 all the same."""
    return [(each["what"], each["text"]) for each in tiers.relay.json("status")["troubles"]]


def answers_again(tiers: TwoTiers, first: int) -> None:
    """Users nobody has asked for are found again, with nothing done to the relay."""
    numbers = iter(range(first, first + 1000))
    with connect(tiers.relay) as client:
        client.ehlo()
        wait_for(lambda: answer(client, f"user{next(numbers) % 200}")[0] == 250, 60)


@pytest.mark.parametrize("kind", ["stopped", "black hole"])
def test_rcpt_is_temporary_while_nothing_is_known_and_good_again_after(tmp_path: Path, server: slapd.Slapd, kind: str) -> None:
    ledger = Ledger()
    directory = ["--ldap", server.uri, "--base", "o=usergroup"]
    with journey(tmp_path, stores=1, directory=directory) as tiers:
        with connect(tiers.relay) as client:
            ledger.send(client, ["user1", "user2"])
            assert answer(client, "nobody")[0] == 550
            if kind == "stopped":
                server.stop()
            else:
                server.signal(signal.SIGSTOP)
            try:
                with Probe(tiers) as probe:
                    codes = [answer(client, f"user{number}") for number in range(100, 103)]
                    others = [answer(client, user) for user in ("nobody-knows", "user1")]
                    wait_for(lambda: probe.asked > 5)
                assert all(400 <= code < 500 for code, _ in codes), codes
                assert 400 <= others[0][0] < 500, others
                assert others[1][0] == 250 or 400 <= others[1][0] < 500, "a cached one may still be accepted"
                assert all(seconds < BOUND for _, seconds in codes + others)
                assert probe.worst < 1.0, f"the loop stood still for {probe.worst:.2f} s"
                wait_for(lambda: troubles(tiers))
                ((what, text),) = troubles(tiers)
                assert (what, text.startswith("no directory server answers (ldap://")) == ("directory", True), text
                assert text.endswith("): recipients that are not in the cache get 450")
                waits = [round(seconds, 2) for _, seconds in codes]
                print(f"{kind}: answered after {waits} s, loop latency {probe.worst * 1000:.0f} ms")
            finally:
                if kind == "stopped":
                    server.start()
                else:
                    server.signal(signal.SIGCONT)
        wait_for(lambda: not troubles(tiers), 60)  # nobody sends mail meanwhile
        answers_again(tiers, 110)
        with connect(tiers.relay) as client:
            assert ledger.send(client, ["user150"]).code == 250
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        reconcile(ledger, tiers.stores).check()


def test_a_relay_that_starts_without_its_directory_answers_4xx_and_then_finds_it(tmp_path: Path, server: slapd.Slapd) -> None:
    server.stop()
    with journey(tmp_path, stores=1, directory=["--ldap", server.uri, "--base", "o=usergroup"]) as tiers:
        with connect(tiers.relay) as client:
            client.ehlo()
            code, seconds = answer(client, "user1")
            assert 400 <= code < 500
            assert seconds < BOUND
        server.start()
        answers_again(tiers, 1)
