"""Answers are given once, are durable before they are remembered for good, and a memory that fails means silence."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.relay.notices.answerer import RECENTLY, Answerer
from posthouse.relay.notices.notifier import Wording
from posthouse.relay.notices.vacation import Vacation
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.testing.answers import RememberedAnswers
from posthouse.testing.failing_disk import FailingDisk, disk_full
from posthouse.trace.record import Record
from support.queue_world import SEGMENT, make_folders, open_places, read_segment

HEADER = b"From: bob@remote.test\r\nTo: ann@example.com\r\nSubject: hello\r\n\r\n"
ANN = Vacation("ann", "ann@example.com", frozenset({"ann@example.com"}), "Away.")
NOW = 1_795_428_000.0


def message(sender: str) -> Envelope:
    recipient = Recipient(0, 0, "bitbucket", "ann+example.com@bitbucket", "ann@example.com", answers=True)
    return Envelope("0TEST0000001", sender, "tcp_local", "", 0, len(HEADER), (recipient,), message_id="<m@x>")


class Rig:
    """A journal, a memory, and what was enqueued and noted."""

    def __init__(self, folder: Path) -> None:
        self.disk = FailingDisk()
        root = self.disk.open_dir(str(folder))
        make_folders(self.disk, root)
        self.disk.close(root)
        self.places = open_places(self.disk, str(folder))
        self.memory = RememberedAnswers()
        self.records: list[Record] = []
        self.announced: dict[str, int] = {}

    def answer(self, sender: str = "bob@remote.test", vacation: Vacation = ANN) -> str:
        async def ask() -> str:
            loop = asyncio.get_running_loop()
            enqueuer = Enqueuer(
                self.disk, self.places.journal, "test", call_soon=loop.call_soon_threadsafe,
                announce=self.announced.__setitem__, segment_size=SEGMENT,
            )  # fmt: skip
            enqueuer.start()
            wording = Wording("relay1.example.com", "postmaster@example.com", "Mail", 0, 20, "/queue")
            ids = MessageIds(lambda: NOW, lambda _: 7)
            answerer = Answerer(self.memory, enqueuer, ids, lambda: NOW, self.records.extend, "1.0", wording)
            try:
                return await answerer.answer(vacation, message(sender), HEADER)
            finally:
                await loop.run_in_executor(None, enqueuer.stop)

        return asyncio.run(ask())

    @property
    def enqueued(self) -> list[Envelope]:
        return [
            envelope
            for name, end in self.announced.items()
            for _, envelope in read_segment(self.places.segment(name), 0, end)[0]
        ]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.places.close()


def test_once_for_each_sender(rig: Rig) -> None:
    assert rig.answer() == ""
    assert rig.answer("BOB@remote.test") == RECENTLY
    assert rig.answer("eve@remote.test") == ""
    assert rig.answer("") == "null sender"
    found = rig.enqueued
    assert sorted(envelope.recipients[0].address for envelope in found) == ["bob@remote.test", "eve@remote.test"]
    assert {(one.sender, one.source_channel, one.about) for one in found} == {("", "process", "0TEST0000001")}
    assert [record.ab for record in rig.records] == ["0TEST0000001"] * 2


def test_what_was_not_enqueued_is_not_remembered(rig: Rig) -> None:
    rig.disk.fault = disk_full
    with pytest.raises(OSError, match="No space left"):
        rig.answer()
    rig.disk.fault = None
    assert rig.answer() == ""
    assert len(rig.enqueued) == 1


def test_a_memory_that_fails_means_silence(rig: Rig) -> None:
    rig.memory.failing = OSError(5, "Input/output error")
    assert "Input/output error" in rig.answer()
    assert rig.enqueued == []
