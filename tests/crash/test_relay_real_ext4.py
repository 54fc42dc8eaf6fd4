"""Power loss of a real ext4 under load: everything accepted waits with its octets, or was delivered (DURABILITY 7)."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.disk import LinuxDisk
from posthouse.journal.segment import CorruptRecord
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.enqueue import Enqueuer, at_once
from posthouse.relay.queue.move_out import Moving, move_out
from posthouse.relay.queue.open_copy import open_copy
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_format import State
from support.crash_relay import Promises, waiting_after_recovery
from support.ext4_image import Ext4Image, ext4_image_or_skip
from support.queue_world import body_of, make_folders, message, read_segment

SEGMENT = 2 << 20


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Ext4Image]:
    made = ext4_image_or_skip(tmp_path)
    yield made
    made.end()


class Load:
    """Accepts as fast as it can; a second thread delivers, defers and moves out what was announced."""

    def __init__(self, path: Path, seed: int, wanted: int) -> None:
        self.random = random.Random(seed)
        self.promises = Promises()
        self.number = 0
        self.known: dict[str, int] = {}
        self.announced: dict[str, int] = {}
        self.over = threading.Event()
        self.enough = threading.Event()
        self.wanted = wanted
        disk = LinuxDisk()
        root = disk.open_dir(str(path))
        make_folders(disk, root)
        disk.close(root)
        self.places = Places(disk, str(path / "journal"), str(path / "queue"))
        assert self.places.barriers.of(self.places.tree.root).trusted, "this is what is to be shown"
        self.enqueuer = Enqueuer(
            disk, self.places.journal, "test", call_soon=at_once, announce=self.announced.__setitem__,
            segment_size=SEGMENT, max_segments=10**6,
        )  # fmt: skip

    def run(self, image: Ext4Image) -> None:
        """Work until enough is accepted, then lose power in the midst of it."""
        self.enqueuer.start()
        for _ in range(16):
            self.submit()
        job = threading.Thread(target=self.work)
        job.start()
        assert self.enough.wait(60)
        image.cut_power()
        self.over.set()
        job.join()
        self.enqueuer.stop()
        self.places.close()

    def submit(self) -> None:
        self.number += 1
        size = self.random.choice((200, 3000, 20000))
        envelope, body = message(self.number, (0, 1), size), body_of(self.number, size)
        self.promises.submitted[envelope.id] = body

        def done(error: OSError | None) -> None:
            if error is None:
                self.promises.accepted |= {(envelope.id, 0), (envelope.id, 1)}
                if len(self.promises.accepted) >= self.wanted:
                    self.enough.set()
            if not self.over.is_set():
                self.submit()

        self.enqueuer.submit(envelope, [body], done)

    def work(self) -> None:
        try:
            while not self.over.is_set():
                self.attempt()
        except (OSError, CorruptRecord):
            assert self.over.wait(10), "nothing may fail before the power does"

    def attempt(self) -> None:
        for name, upto in list(self.announced.items()):
            found, self.known[name] = read_segment(self.places.segment(name), self.known.get(name, 0), upto)
            moving = []
            for ref, envelope in found:
                if self.random.random() < 0.1:
                    moving.append(Moving(JournalCopy(ref.segment, ref.offset, 0), "tcp_lmtpcs", 20, 1))
                elif self.random.random() < 0.5:
                    opened = open_copy(self.places, JournalCopy(ref.segment, ref.offset, 1))
                    self.promises.delivered.add((envelope.id, 1))
                    opened.settle(1, State.DONE)
            for moved, file in move_out(self.places, moving).moved:
                if self.random.random() < 0.3:
                    opened = open_copy(self.places, file)
                    self.promises.delivered.add((opened.envelope.id, moved.ref.copy))
                    opened.settle(0, State.DONE)
                    opened.close()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_accepted_is_lost_when_the_power_goes(image: Ext4Image, seed: int) -> None:
    load = Load(image.path, seed, 500 + 1500 * seed)
    load.run(image)
    image.power_on()
    places = Places(LinuxDisk(), str(image.path / "journal"), str(image.path / "queue"))
    waiting = waiting_after_recovery(places)
    load.promises.check(waiting)
    assert waiting_after_recovery(places) == waiting
    places.close()
