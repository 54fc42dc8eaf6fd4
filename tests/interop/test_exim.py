"""Exim's smtp transport with `protocol = lmtp`, delivering into a store."""

from collections.abc import Iterator

import pytest

from posthouse.testing.tiers import TwoTiers
from support.interop_daemon import needs_root
from support.interop_exim import EXIM, Exim, exim
from support.interop_tiers import arrived, limit, mail, messages

pytestmark = [needs_root, pytest.mark.skipif(not EXIM.exists(), reason="no .deps-exim: tests/setup/debian-packages makes it")]


@pytest.fixture
def relay(tiers: TwoTiers) -> Iterator[Exim]:
    store = tiers.stores[0]
    with exim(store.address, store.port) as running:
        yield running


def test_each_recipient_gets_its_own_result(tiers: TwoTiers, relay: Exim) -> None:
    store = tiers.stores[0]
    limit(store, "exim-full", "10,1")
    relay.send("a@outside.test", ["exim1@example.com", "exim-full@example.com", "=exim@example.com"], mail("exim-mixed"))
    (delivered,) = relay.outcome("exim1@example.com")
    assert delivered.startswith("=> ")
    assert 'C="250 2.5.0 <exim1@example.com> OK"' in delivered
    (deferred,) = relay.outcome("exim-full@example.com")
    assert deferred.startswith("== ")
    assert "422 4.2.2 <exim-full@example.com> Quota Exceeded" in deferred
    (failed,) = relay.outcome("=exim@example.com")
    assert failed.startswith("** ")
    assert "511 5.1.1" in failed
    (octets,) = arrived(store, "exim1", "Subject: exim-mixed")
    assert octets.startswith(b"Return-Path: <a@outside.test>\n")
    assert messages(store, "exim-full", "Subject: exim-mixed") == []

    limit(store, "exim-full", "-1,-1")
    relay.retry()
    arrived(store, "exim-full", "Subject: exim-mixed")
    arrived(store, "exim1", "Subject: exim-mixed")


def test_a_large_message_in_chunks(tiers: TwoTiers, relay: Exim) -> None:
    """Exim sends BDAT to whoever lists CHUNKING."""
    relay.send("a@outside.test", ["exim2@example.com", "exim3@example.com"], mail("exim-large", lines=60_000))
    for owner in ("exim2", "exim3"):
        assert relay.outcome(f"{owner}@example.com")[0].split()[0] in {"=>", "->"}
        (octets,) = arrived(tiers.stores[0], owner, "Subject: exim-large")
        assert octets.count(b"Something to read.\n") == 60_000
