"""A list of thousands on two stores: expanded behind the session's back, in whole copies, and over kills nobody is left out."""

import collections
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.dispatcher import lock
from posthouse.testing.tiers import RunningInstance, TwoTiers
from support.family_rig import wait_for
from support.journey_mail import mailboxes, records
from support.journey_tiers import journey, restart_after_kill, wait_empty
from support.lists import directory, group, send, user_dn

MEMBERS = 2100
STORES = 2
EVERYBODY = group("everybody", uniqueMember=[user_dn(number) for number in range(MEMBERS)], mgrpErrorsTo="user0@example.com")


def counts(tiers: TwoTiers) -> dict[str, int]:
    """How often the message stands in each mailbox."""
    return collections.Counter(each.owner for each in mailboxes(tiers.stores))


def progress(relay: RunningInstance) -> list[Path]:
    return [path for path in (relay.folder / "data" / "journal" / "expansion").glob("*") if path.stat().st_size]


def expander_of(relay: RunningInstance) -> int:
    """The channel worker that expands."""
    for pid in lock.holders(relay.folder / "data" / "lock"):
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        if "posthouse.relay.channels" in words and "DEFAULT" in words:
            return pid
    raise AssertionError("no worker of the pool DEFAULT")


def test_whole_copies_and_a_session_that_does_not_wait(tmp_path: Path) -> None:
    with directory("ldif", tmp_path, EVERYBODY, users=MEMBERS) as options, journey(tmp_path, directory=options) as tiers:
        begin = time.monotonic()
        assert send(tiers, ["everybody"], "one").startswith("250")
        assert time.monotonic() - begin < 2.0
        wait_for(lambda: len(mailboxes(tiers.stores)) == MEMBERS, 60)
        wait_empty(tiers.relay)
        assert set(counts(tiers).values()) == {1}
        wait_for(lambda: len(records(tiers.relay, "D")) == MEMBERS + 1)
        delivered = [record for record in records(tiers.relay, "D") if record["sc"] == "tcp_lmtpcs"]
        transactions = {(record["ei"], record["ho"]) for record in delivered}
        assert len(transactions) == STORES * -(-(MEMBERS // STORES) // 1000)
        assert not progress(tiers.relay)


def kill_expander(relay: RunningInstance) -> None:
    os.kill(expander_of(relay), signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_expander, restart_after_kill])
def test_killed_in_the_middle(tmp_path: Path, kill: Callable[[RunningInstance], None]) -> None:
    with directory("ldif", tmp_path, EVERYBODY, users=MEMBERS) as options, journey(tmp_path, directory=options) as tiers:
        assert send(tiers, ["everybody"], "one").startswith("250")
        wait_for(lambda: progress(tiers.relay), 30, every=0.001)  # it is there for some hundredths of a second
        kill(tiers.relay)
        wait_for(lambda: len(counts(tiers)) == MEMBERS, 90)
        wait_empty(tiers.relay)
        twice = sum(counts(tiers).values()) - MEMBERS
        assert 0 <= twice <= STORES * 1000, twice
        wait_for(lambda: not progress(tiers.relay))
