"""A failing disk under running workers, by strace's fault injection: no hooks in the product (DURABILITY 3.X, 4.4, 7)."""

import shutil
import smtplib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import Answer, Ledger, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import is_ready, journey, pids, wait_empty

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@contextmanager
def failing(pid: int, calls: str, when: str, trace: Path, error: str = "EIO") -> Iterator[None]:
    """Inside the block some of the process's calls fail."""
    command = ["strace", "-f", "-y", "-o", str(trace), "-p", str(pid)]
    command += ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={when}"]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert strace.stderr is not None
        assert b"attached" in strace.stderr.readline()
        yield
    finally:
        strace.terminate()
        strace.communicate()


def segments(instance: RunningInstance) -> set[str]:
    return {path.name for path in (instance.folder / "data" / "journal").glob("*.seg")}


@pytest.mark.parametrize(("error", "code"), [("EIO", 451), ("ENOSPC", 452)])
def test_the_relay_s_third_sync_fails(tmp_path: Path, error: str, code: int) -> None:
    """The third of each thread, as strace counts: the loop's while the disk is quick, else the committer's (decision 141)."""
    ledger, trace = Ledger(), tmp_path / "trace"
    with journey(tmp_path, users=4, start=False) as tiers:
        tiers.relay.start()
        (worker,) = pids(tiers.relay, "smtp")
        with connect(tiers.relay) as client, failing(worker, "fdatasync", "3", trace, error):
            before = segments(tiers.relay)
            answers = [250]
            while answers[-1] == 250 and len(answers) < 6:
                answers.append(ledger.send(client, ["user0", "user1"], size=4000).code)
            assert answers[-1] == code, answers
            assert len(answers) > 3, "two syncs were to be good"
            wait_for(lambda: ledger.send(client, ["user2"], size=4000).code == 250)
            answers = [ledger.send(client, ["user3"], size=4000).code for _ in range(6)]
            assert sorted(answers)[:5] == [250] * 5, "at most the other thread's third sync"
            assert answers.count(250) + answers.count(code) == 6
        assert "(INJECTED)" in trace.read_text()
        bad = [line for line in trace.read_text().splitlines() if "(INJECTED)" in line]
        assert all(".seg" in line for line in bad)
        assert pids(tiers.relay, "smtp") == [worker]
        assert segments(tiers.relay) != before, "a segment that failed is not written to again"
        for store in tiers.stores:
            store.start()
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        refused = {sent.token for sent in ledger.sent if sent.answer is Answer.REFUSED}
        verdict = reconcile(ledger, tiers.stores).check()
        assert verdict.duplicates == 0
        back = sum(1 for found in mailboxes(tiers.stores) if found.token in refused)
        print(f"{len(refused)} refused; {back} of their copies were delivered all the same")


def test_the_store_s_syncs_fail_and_the_relay_keeps_the_mail(tmp_path: Path) -> None:
    ledger, direct, trace = Ledger(), Ledger(), tmp_path / "trace"
    with journey(tmp_path, users=4, stores=1) as tiers:
        (store,) = tiers.stores
        (worker,) = pids(store, "lmtp")
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
            wait_delivered(ledger, tiers.stores)
            with failing(worker, "fdatasync", "1..4", trace):
                with smtplib.LMTP(store.address, store.port, timeout=60) as lmtp:
                    codes = [direct.send(lmtp, ["user1"]).code for _ in range(2)]
                assert 400 <= codes[0] < 500, codes
                for number in range(10):
                    assert ledger.send(client, [f"user{number % 4}"], size=4000).code == 250
                wait_delivered(ledger, tiers.stores)
        assert trace.read_text().count("(INJECTED)") >= 1
        assert is_ready(store)
        wait_empty(tiers.relay)
        for instance in reversed(tiers.instances):
            assert instance.stop() == 0
        of_both = mailboxes(tiers.stores)
        assert {found.token for found in of_both} >= {sent.token for sent in direct.sent if sent.answer is Answer.ACCEPTED}
        ours = {sent.token for sent in ledger.sent}
        for found in of_both:
            if found.token not in ours:  # it came past the relay: no Received line
                found.path.unlink()
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


def test_a_failed_barrier_of_the_store_is_4xx_until_it_works_again(tmp_path: Path) -> None:
    ledger, trace = Ledger(), tmp_path / "trace"
    with journey(tmp_path, users=4, stores=1) as tiers:
        (store,) = tiers.stores
        (worker,) = pids(store, "lmtp")
        with connect(tiers.relay) as client:
            with failing(worker, "syncfs", "1", trace):
                for _ in range(5):
                    ledger.send(client, ["user0", "user1"], size=4000)
                wait_for(lambda: "(INJECTED)" in trace.read_text(), 20)
                ledger.send(client, ["user0"])
            wait_delivered(ledger, tiers.stores, 90)
        assert is_ready(store)
        wait_empty(tiers.relay)
        reconcile(ledger, tiers.stores).check()
