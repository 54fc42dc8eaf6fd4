"""The order of system calls before each 250, by strace on running workers under load (DURABILITY 4.1, 4.2, 4.3, 4.8).

Relay's SMTP worker: record (or body file and its folder), sync, reply; only then is the controller told the offset.
Store's LMTP worker: record, sync, name in `new/`, reply. Every message of the load is checked by its own token.
"""

import re
import shutil
import smtplib
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.journey_mail import Ledger, Sent, wait_delivered
from support.journey_tiers import journey, pids

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
CALLS = (
    "pwrite64,pwritev,pwritev2,fdatasync,fsync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,"
    "sendto,sendmsg,sendmmsg,write,writev"
)
_LINE = re.compile(r"^(?P<pid>\d+) +(?P<rest>.*)$")
_RESUMED = re.compile(r"<\.\.\. (?P<name>\w+) resumed>(?P<rest>.*)$", re.DOTALL)
_RESULT = re.compile(r"= (-?\d+)(?: [^=]*)?$")
_FD = re.compile(r"^\w+\((\d+)<([^>]*)>")
WRITES = {"pwrite64", "pwritev", "pwritev2"}
CLIENTS, EACH = 4, 12


@dataclass(frozen=True, slots=True)
class Call:
    """One system call; `begin` and `end` are places in the trace."""

    begin: int
    end: int
    name: str
    text: str
    result: int

    @property
    def path(self) -> str:
        """What strace says the first descriptor is."""
        match = _FD.match(self.text)
        return match[2] if match else ""


def read_trace(text: str) -> list[Call]:
    """Calls in the order they began; interrupted lines are put together."""
    calls: list[Call] = []
    open_calls: dict[str, tuple[int, str]] = {}
    for place, line in enumerate(text.splitlines()):
        match = _LINE.match(line)
        if not match:
            continue
        pid, rest = match["pid"], match["rest"]
        begin = place
        if rest.endswith("<unfinished ...>"):
            open_calls[pid] = (place, rest.removesuffix("<unfinished ...>"))
            continue
        if resumed := _RESUMED.match(rest):
            begin, head = open_calls.pop(pid, (place, resumed["name"] + "("))
            rest = head + resumed["rest"]
        result = _RESULT.search(rest)
        if result and "(" in rest:
            calls.append(Call(begin, place, rest.partition("(")[0], rest, int(result[1])))
    return sorted(calls, key=lambda call: call.begin)


@contextmanager
def traced(trace: Path, *pids: int) -> Iterator[None]:
    """strace is on the processes, all their threads and children inside the block."""
    command = ["strace", "-f", "-yy", "-s", "65536", "-e", f"trace={CALLS}", "-o", str(trace), *(f"-p{pid}" for pid in pids)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert strace.stderr is not None
        for _ in pids:
            assert b"attached" in strace.stderr.readline()
        yield
    finally:
        strace.terminate()
        strace.communicate()


def offer(protocol: type[smtplib.SMTP], host: str, port: int, ledger: Ledger, *, several: bool) -> None:
    """Some clients at once, so that batches hold records of several."""

    def client(number: int) -> None:
        with protocol(host, port, timeout=60) as connection:
            for count in range(EACH):
                users = [f"user{number}"] if not several else [f"user{number}", f"user{number + 4}"]
                size = 300_000 if count == EACH - 1 else (400, 4000)[count % 2]
                assert ledger.send(connection, users, size=size).code == 250

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
        assert not thread.is_alive()


def is_sync(call: Call) -> bool:
    return call.name in {"fdatasync", "fsync"} and call.result == 0


def synced_record(calls: list[Call], sent: Sent) -> int:
    """The place in the trace at which the message's record was durable."""
    mark = f"Message-ID: <{sent.token}@journey.test>"
    written = [call for call in calls if mark in call.text and call.name in WRITES and call.path.endswith(".seg")]
    assert written, f"no record of {sent.token}"
    # the sync that covers it began after it ended, on the same file, and succeeded
    return next(call for call in calls if is_sync(call) and call.begin > written[-1].end and call.path == written[-1].path).end


def never_rewritten(calls: list[Call]) -> None:
    """4.3: in a segment no offset behind the marks is written below one that was synced."""
    highest: dict[str, int] = {}
    for call in calls:
        if call.name in WRITES and call.path.endswith(".seg"):
            offset = int(re.findall(r", (\d+)(?:, \w+)?\s*\) += ", call.text)[-1])
            if offset >= 18 * 4096:
                assert offset > highest.get(call.path, 0), f"{call.path} was written at {offset} again"
                assert offset % 4096 == 0, "a batch begins on a block of its own"
                highest[call.path] = offset
    assert highest


def test_a_relay_answers_only_what_is_synced(tmp_path: Path) -> None:
    ledger, trace = Ledger(), tmp_path / "trace"
    with journey(tmp_path, users=8) as tiers:
        (worker,) = pids(tiers.relay, "smtp")
        with traced(trace, worker):
            offer(smtplib.SMTP, tiers.relay.address, tiers.relay.port, ledger, several=True)
        calls = read_trace(trace.read_text(errors="replace"))
        wait_delivered(ledger, tiers.stores)
    checked = 0
    for sent in ledger.sent:
        reply = next(call for call in calls if sent.reply in call.text and "TCP:" in call.path)
        if len(sent.body) >= 256 << 10:
            body = [call for call in calls if "/body/" in call.path and is_sync(call) and call.end < reply.begin]
            folder = [call for call in calls if call.path.endswith("/body") and is_sync(call) and call.end < reply.begin]
            assert body, "no body file was synced"
            assert folder, "its folder was not"
        else:
            assert synced_record(calls, sent) < reply.begin, sent.token
            checked += 1
    assert checked == CLIENTS * (EACH - 1)
    never_rewritten(calls)
    told_after_the_sync(calls)


def told_after_the_sync(calls: list[Call]) -> None:
    """4.8: the controller hears of a segment only after a sync of it that followed the last write it may cover."""
    told = [call for call in calls if "UNIX" in call.path and ".seg" in call.text]
    assert told, "the controller was told nothing"
    for call in told:
        match = re.search(r"([\w-]+\.seg)", call.text)
        assert match
        assert any(is_sync(each) and match[1] in each.path and each.end < call.begin for each in calls)


def test_a_store_answers_only_what_is_synced_and_placed(tmp_path: Path) -> None:
    ledger, trace = Ledger(), tmp_path / "trace"
    with journey(tmp_path, users=8, stores=1) as tiers:
        (store,) = tiers.stores
        (worker,) = pids(store, "lmtp")
        with traced(trace, worker):
            offer(smtplib.LMTP, store.address, store.port, ledger, several=False)
        calls = read_trace(trace.read_text(errors="replace"))
        wait_delivered(ledger, tiers.stores)
    order_of(calls, ledger)
    never_rewritten(calls)


def order_of(calls: list[Call], ledger: Ledger) -> None:
    """For each user the k-th message has the k-th name and the k-th reply: a client sends one at a time."""
    for user in {sent.users[0] for sent in ledger.sent}:
        mine = [sent for sent in ledger.sent if sent.users == (user,)]
        names = [call for call in calls if call.name.startswith(("rename", "link")) and call.result == 0]
        placed = [call for call in names if ",W=" in call.text and f"/{user}/new" in call.text]
        replied = [call for call in calls if f"250 2.5.0 <{user}@example.com> OK" in call.text and "TCP:" in call.path]
        assert len(placed) == len(replied) == len(mine)
        for sent, name, reply in zip(mine, placed, replied, strict=True):
            assert name.end < reply.begin, "answered before it was placed"
            if len(sent.body) < 256 << 10:
                assert synced_record(calls, sent) < name.begin, "placed before it was synced"
            else:
                assert any(is_sync(call) and "/tmp" in call.path and call.end < name.begin for call in calls)
                assert any(is_sync(call) and call.path.endswith("/new") and name.end < call.begin < reply.begin for call in calls)


def test_the_trace_reader_puts_interrupted_calls_together() -> None:
    trace = (
        "7 fdatasync(3</x/a.seg> <unfinished ...>\n"
        '8 pwrite64(4</x/b.seg>, "a", 1, 4096) = 1\n'
        "7 <... fdatasync resumed>) = 0\n"
        "9 fdatasync(3</x/a.seg>) = -1 EIO (Input/output error) (INJECTED)\n"
    )
    assert [(call.name, call.begin, call.end, call.result, call.path) for call in read_trace(trace)] == [
        ("fdatasync", 0, 2, 0, "/x/a.seg"), ("pwrite64", 1, 1, 1, "/x/b.seg"), ("fdatasync", 3, 3, -1, "/x/a.seg"),
    ]  # fmt: skip
