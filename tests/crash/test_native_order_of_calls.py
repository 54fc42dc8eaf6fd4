"""The order of system calls of the native service, by strace on a running worker: note, entry, fsync, note, unlock, 250."""

import os
import shutil
from pathlib import Path

import pytest

from crash.test_order_of_calls import Call, is_sync, read_trace, traced
from journeys.test_native import is_native
from support.journey_tiers import pids
from support.native_store import TEXT, client_of, native_store

pytestmark = [
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="strace may not look at every process"),
]


def place(calls: list[Call], after: int, what: str, *, name: str = "", path: str = "", text: str = "") -> int:
    """Where such a call ended, the first behind a place in the trace."""
    for call in calls:
        fits = call.name.startswith(name) and call.path.endswith(path) and text in call.text
        if call.begin > after and fits and call.result >= 0:
            return call.end
    pytest.fail(f"no {what} behind line {after}")


def test_an_answer_comes_after_everything_it_promises(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with native_store(tmp_path) as store, client_of(store) as client:
        (worker,) = [pid for pid in pids(store, "lmtp") if is_native(pid)]
        with traced(trace, worker):
            for number in range(3):
                assert client.deliver(["+/list"], TEXT % b"token-%d" % number) == ["250 2.5.0 <+/list> OK"]
    calls = read_trace(trace.read_text(errors="replace"))
    end = -1
    for number in range(3):
        intent = place(calls, end, "note of the lock", name="pwrite", path=".notes")
        lock = place(calls, intent, "lock file", name="link", text='list.lock"')
        note = place(calls, lock, "note", name="pwrite", path=".notes")
        durable = place(calls, note, "sync of the note", name="fdatasync", path=".notes")
        entry = place(calls, durable, "entry", name="pwrite", path="/files/list", text=f"token-{number}")
        synced = place(calls, entry, "fsync", name="fsync", path="/files/list")
        if not number:
            synced = place(calls, synced, "fsync of the folder of a new file", name="fsync", path="/files")
        over = place(calls, synced, "note that it is over", name="pwrite", path=".notes")
        cleared = place(calls, over, "sync of that", name="fdatasync", path=".notes")
        unlocked = place(calls, cleared, "unlocking", name="unlink", text='"list.lock"')
        end = place(calls, unlocked, "answer", name="", text="250 2.5.0 <+/list> OK")
    assert not [call for call in calls if is_sync(call) and call.result]
