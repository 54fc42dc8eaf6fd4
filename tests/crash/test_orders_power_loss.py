"""Power loss at every operation of an operator's orders: nothing is lost, what was reported stays, all can be given again."""

import asyncio
import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from posthouse.relay.channels import operator
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.rerouter import Rerouter, Wanted
from posthouse.relay.job_controller.ledger import Book, Ledger
from posthouse.relay.job_controller.selection import Selection
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.queue.queue_format import State
from posthouse.relay.queue.release import rename_all
from posthouse.relay.queue.tree import QueueTree
from posthouse.testing.crash_disk import EXT4, CrashDisk
from posthouse.testing.crash_state import Extreme
from posthouse.trace.record import Action
from support.crash_orders import Office, Operator, Told, compare, instance_of, waiting_on
from support.crash_relay import Broken, Who

TMPFS = 0x01021994
Mutation = Callable[[pytest.MonkeyPatch], None]
ALL, FIRST = Selection(channels=("tcp_lmtpcs",)), Selection(recipients=("user0@*",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return instance_of(tmp_path / "relay")


def meant(told: Told, selection: Selection) -> set[Who]:
    """The recipients an order is for."""
    return {who for who in told.accepted - told.gone if selection is ALL or who[1] == 0}


def ask(told: Told, op: str, who: set[Who]) -> None:
    """The order is under way."""
    if op in {"hold", "release"}:
        told.moving |= who
    else:
        told.may_go |= who
        told.returned |= who if op == "return" else set()
        told.rerouted |= who if op == "reroute" else set()


def report(told: Told, op: str, who: set[Who]) -> None:
    """The order was answered."""
    if op in {"hold", "release"}:
        told.moving -= who
        told.held = told.held | who if op == "hold" else told.held - who
    else:
        told.gone |= who


async def give(queue: Operator, office: Office, told: Told, op: str, selection: Selection) -> dict[str, Any]:
    """Give an order with the power failing all the time."""
    who = meant(told, selection)
    ask(told, op, who)
    queue.watch(told)
    answer = await office.order(op, selection)
    if not (answer["failed"] or answer["busy"] or answer.get("error")):
        report(told, op, who)
    queue.look_now(told)
    return answer


STORIES = {
    "hold, then release": [("hold", ALL), ("release", ALL)],
    "drop some, then all": [("drop", FIRST), ("drop", ALL)],
    "reroute some, then all": [("reroute", FIRST), ("reroute", ALL)],
    "return some, hold, return the rest": [("return", FIRST), ("hold", ALL), ("return", ALL)],
}


@pytest.mark.parametrize("fstype", [EXT4, TMPFS], ids=["ext4", "tmpfs"])
@pytest.mark.parametrize("story", list(STORIES))
async def test_orders_cut_anywhere(root: Path, story: str, fstype: int) -> None:
    queue = Operator(root, 1, fstype)
    told = queue.fill()
    office = Office(queue.disk, queue.configuration)
    for op, selection in STORIES[story]:
        answer = await give(queue, office, told, op, selection)
        assert (answer["failed"], answer["busy"], answer.get("error")) == (0, 0, None), answer
        queue.disk.after = lambda _operation: None
        for survivor, then in queue.kept:
            await again(queue, survivor, then, op, selection)
        queue.kept.clear()
    assert queue.checked > 100


async def again(queue: Operator, disk: CrashDisk, told: Told, op: str, selection: Selection) -> None:
    """After the cut the order is given once more, and is then whole."""
    office = Office(disk, queue.configuration)
    answer = await office.order(op, selection)
    assert (answer["failed"], answer["busy"], answer.get("error")) == (0, 0, None), answer
    report(told, op, meant(told, selection))
    for state in (Extreme.LEAST, Extreme.MOST):
        compare(told, waiting_on(disk.survivor(state)))


@pytest.mark.parametrize("op", ["hold", "release", "drop", "return", "reroute"])
@pytest.mark.parametrize("operation", ["fdatasync", "fsync_dir", "fsync", "rename", "unlink", "pwrite", "syncfs"])
async def test_an_error_in_an_order_is_told(root: Path, op: str, operation: str) -> None:
    """Whatever fails once: either the operator is told, or what he was told is durable."""
    total = Operator(root, 1)
    total.fill()
    before = len(total.disk.log)
    await Office(total.disk, total.configuration).order(op, ALL)
    count = sum(each == operation for each, _ in total.disk.log[before:])
    for wanted in range(count):
        queue = Operator(root, 1)
        told = queue.fill()
        office = Office(queue.disk, queue.configuration)
        seen = iter(range(10**6))
        queue.disk.fault = lambda what, _name, seen=seen, wanted=wanted: (  # type: ignore[misc]
            OSError(errno.EIO, "I/O error") if what == operation and next(seen) == wanted else None
        )
        async with asyncio.timeout(20):
            await give(queue, office, told, op, ALL)
        queue.disk.fault = lambda _operation, _name: None
        async with asyncio.timeout(20):
            for _ in range(2):  # what failed may be seen as it stands on disk only by the first look
                answer = await give(queue, office, told, op, ALL)
        assert (answer["failed"], answer["busy"], answer.get("error")) == (0, 0, None), answer


async def test_retry_changes_nothing_on_disk(root: Path) -> None:
    queue = Operator(root, 1)
    told = queue.fill()
    office = Office(queue.disk, queue.configuration)
    await office.order("list", ALL)
    before = len(queue.disk.log)
    answer = await office.order("retry", ALL)
    assert (answer["copies"], answer["retried"], answer["held"]) == (6, 4, 2)
    assert len(queue.disk.log) == before
    queue.look_now(told)


async def test_what_a_worker_took_away_is_durable_in_a_moment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller syncs the folders its workers removed files from: a cut brings back little (DURABILITY 3.2)."""
    queue = Operator(root, 1)
    told = queue.fill()
    office = Office(queue.disk, queue.configuration)
    with monkeypatch.context() as patch:
        no_folder_sync(patch)
        await office.order("drop", ALL)
    assert told.accepted & set(waiting_on(queue.disk.survivor(Extreme.LEAST)))
    turns = asyncio.create_task(office.controller._turns())
    async with asyncio.timeout(20):
        while told.accepted & set(waiting_on(queue.disk.survivor(Extreme.LEAST))):
            await asyncio.sleep(0.05)
    turns.cancel()


def no_folder_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names are not made durable."""
    monkeypatch.setattr(QueueTree, "sync_touched", lambda _tree: None)


def no_mark_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks of an order are answered for before they are durable."""

    def sync(books: list[Book]) -> list[tuple[Book, OSError | None]]:
        return [(book, None) for book in books]

    monkeypatch.setattr(Ledger, "sync", staticmethod(sync))


def mark_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark F before the notice is durable."""
    end = Attempt.end

    def early(self: Attempt) -> None:
        failed, self._failed = self._failed, []
        self._fail(Action.RETURNED, failed)
        self._failed = failed
        end(self)

    monkeypatch.setattr(Attempt, "end", early)


def settle_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark D before the message for the new place is durable."""
    enqueue = Rerouter._enqueue

    async def early(self: Rerouter, attempt: Attempt, opened: OpenCopy, wanted: Sequence[Wanted]) -> None:
        for recipient, *_ in wanted:
            opened.settle(recipient.id, State.DONE)
        await enqueue(self, attempt, opened, wanted)

    monkeypatch.setattr(Rerouter, "_enqueue", early)


def no_name_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold or release is reported without any sync of the folder."""

    def unsynced(tree: QueueTree, refs: Sequence[FileCopy], *, held: bool) -> list[FileCopy | OSError]:
        with monkeypatch.context() as patch:
            patch.setattr(tree.disk, "fsync_dir", lambda _folder: None)
            return rename_all(tree, refs, held=held)

    no_folder_sync(monkeypatch)
    monkeypatch.setattr(operator, "rename_all", unsynced)


@pytest.mark.parametrize(
    ("mutate", "op", "selection", "what"),
    [
        pytest.param(no_name_sync, "release", ALL, "held is", id="a release without its sync"),
        pytest.param(no_folder_sync, "drop", ALL, "is back", id="a drop without the folder's sync"),
        pytest.param(no_mark_sync, "drop", FIRST, "is back", id="a drop without the marks' sync"),
        pytest.param(settle_first, "reroute", ALL, "gone without a new message", id="D before the new message"),
        pytest.param(mark_first, "return", ALL, "gone without a notice", id="F before the notice"),
    ],
)
async def test_a_missing_step_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch, mutate: Mutation, op: str, selection: Selection, what: str
) -> None:
    mutate(monkeypatch)
    queue = Operator(root, 1)
    told = queue.fill()
    office = Office(queue.disk, queue.configuration)
    with pytest.raises(Broken, match=what):
        await give(queue, office, told, op, selection)
