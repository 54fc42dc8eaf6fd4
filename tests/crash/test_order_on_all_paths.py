"""The order of system calls before 250 on each way a message can take in a store (DURABILITY 3.6, 4.1, 4.2; message-store 7).

    INBOX, folder, several owners, own copy     record, sync, all names, then the first reply
    over 256 KiB, streamed to disk              file synced, names, each `new/` and every folder made synced, then the first reply
    UNIX mailbox                                note synced, entry, entry synced, note synced, reply
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from crash.test_order_of_calls import WRITES, Call, is_sync, read_trace, traced
from support.journey_tiers import pids
from support.native_store import client_of, native_store
from support.store_alone import message, store_alone

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
OWNERS = ("ann", "bob", "kim")


class Trace:
    """What was called while one message was delivered."""

    def __init__(self, calls: list[Call], answers: list[str]) -> None:
        self.calls = calls
        self.replied = min(call.begin for call in calls if "TCP:" in call.path and "250 2.5.0 " in call.text)
        assert [answer[:9] for answer in answers] == ["250 2.5.0"] * len(answers)

    def names(self, folder: str) -> list[Call]:
        """Names made in this folder."""
        made = [call for call in self.calls if call.name.startswith(("rename", "link")) and call.result == 0]
        return [call for call in made if f"{folder}>" in call.text and ",W=" in call.text]

    def synced(self, ending: str, after: int = -1) -> int:
        """When the first sync of it that began after that place had ended."""
        return min(call.end for call in self.calls if is_sync(call) and call.path.endswith(ending) and call.begin > after)

    def record(self) -> int:
        """When the record was durable."""
        written = [call for call in self.calls if call.name in WRITES and call.path.endswith(".seg") and "Subject: " in call.text]
        assert len(written) == 1
        return self.synced(written[0].path, written[0].end)


@contextmanager
def traces(folder: Path, *roles: str, native: bool = False) -> Iterator[object]:
    """A store; called with recipients and octets it delivers a message under strace."""
    with (native_store(folder) if native else store_alone(folder)) as store, client_of(store) as client:
        client.deliver([OWNERS[0] if not native else "jdoe"], message("first"))  # what is made once is made
        where = [pid for role in roles for pid in pids(store, role)]
        count = 0

        def deliver(*recipients: str, octets: int = 0) -> Trace:
            nonlocal count
            count += 1
            trace = folder / f"trace{count}"
            with traced(trace, *where):
                answers = client.deliver(list(recipients), message(f"m{count}", octets=octets))
                client.noop()  # once this is answered the call that sent the answers before it is in the trace
            return Trace(read_trace(trace.read_text(errors="replace")), answers)

        yield deliver


@pytest.mark.parametrize(
    ("recipients", "folders"),
    [
        (("ann",), ("ann/new",)),
        (("ann+Lists/python XDFLG=1",), ("ann/.Lists.python/new",)),
        (OWNERS, tuple(f"{owner}/new" for owner in OWNERS)),
        (("ann XDFLG=16",), ("ann/new",)),
    ],
    ids=["inbox", "folder", "several", "own copy"],
)
def test_with_a_record(tmp_path: Path, recipients: tuple[str, ...], folders: tuple[str, ...]) -> None:
    with traces(tmp_path, "lmtp") as deliver:
        assert callable(deliver)
        for _ in range(2):  # the first one makes mailboxes and folders
            trace = deliver(*recipients)
            for folder in folders:
                (name,) = trace.names(folder)
                assert trace.record() < name.begin, "placed before it was synced"
                assert name.end < trace.replied, "answered before all were placed"


@pytest.mark.parametrize("octets", [262_144, 300_000, 3_000_000], ids=["just over the record", "in memory", "streamed"])
def test_without_a_record(tmp_path: Path, octets: int) -> None:
    with traces(tmp_path, "lmtp") as deliver:
        assert callable(deliver)
        trace = deliver("ann", "bob", "ann+Big XDFLG=1", octets=octets)
        file = min(call.end for call in trace.calls if is_sync(call) and "/tmp/" in call.path)
        for folder in ("ann/new", "bob/new", "ann/.Big/new"):
            (name,) = trace.names(folder)
            assert file < name.begin, "named before its octets were durable"
            assert trace.synced(folder, name.end) < trace.replied, folder
        for made in ("primary/bob", "primary", "ann/.Big", "primary/ann"):  # mailbox and folder are new
            assert trace.synced(made) < trace.replied, made


@pytest.mark.parametrize("octets", [0, 3_000_000], ids=["in memory", "streamed"])
def test_a_unix_mailbox(tmp_path: Path, octets: int) -> None:
    roles = ("lmtp", "native_writer") if os.geteuid() == 0 else ("lmtp",)
    with traces(tmp_path, *roles, native=True) as deliver:
        assert callable(deliver)
        for owner, fresh in (("jdoe", False), ("anna", True)):
            trace = deliver(owner, octets=octets)
            entry = [call for call in trace.calls if call.name in WRITES and call.path.endswith(f"/mail/{owner}")]
            notes = [call for call in trace.calls if call.name in WRITES and re.search(r"/native\w*/\w+\.notes$", call.path)]
            before = max(call.end for call in notes if call.end < entry[0].begin)
            assert trace.synced(".notes", before) < entry[0].begin, "appended before the undo note was durable"
            synced = trace.synced(f"/mail/{owner}", entry[-1].end)
            cleared = min(call.end for call in notes if call.begin > synced)
            assert trace.synced(".notes", cleared) < trace.replied, "answered before the note was cleared durably"
            if fresh:
                assert trace.synced("/mail", entry[-1].end) < trace.replied, "its name was not durable"
