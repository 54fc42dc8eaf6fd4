"""A start over many files: names at once, everything else a few at a time beside the loop's other work; nothing is forgotten."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.disk import FileStat, LinuxDisk
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.relay.job_controller.file_reader import LOOKED_AT, FileReader
from posthouse.relay.queue import names
from posthouse.relay.queue.places import Places
from posthouse.relay.queue.queue_format import encode_head, new_boundary
from posthouse.relay.queue.recovery import recover
from support.queue_world import message_id
from support.stock_world import START, C, World

FILES = 2 * LOOKED_AT + 10
BODY = b"x\r\n"


class CountingDisk(LinuxDisk):
    """Counts looks at files; the looks that `fails` names fail."""

    def __init__(self) -> None:
        self.looks = 0
        self.fails: range = range(0)
        self.is_read_only = False

    def stat(self, name: str, folder: int) -> FileStat | None:
        if names.parse(name) is not None:
            self.looks += 1
            if self.looks in self.fails:
                raise OSError(5, "Input/output error")
        return super().stat(name, folder)

    def unlink(self, name: str, folder: int) -> None:
        if self.is_read_only:
            raise OSError(30, "Read-only file system")
        super().unlink(name, folder)


class Reading:
    """A reader over a folder of files."""

    def __init__(self, root: Path, count: int) -> None:
        self.world = World(root, units=0)
        self.queue = root / "data" / "queue"
        self.disk = CountingDisk()
        for number in range(count):
            self.write(number)
        self.places = Places(self.disk, str(root / "data" / "journal"), str(self.queue))
        self.reader = FileReader(self.places, self.world.stock, self.world.alarms.append, lambda: None)

    def write(self, number: int, tried: int = 1) -> Path:
        person = Recipient(0, 0, C, "@s.example.com:u@lmtpcs-daemon", "u@example.com", "s.example.com")
        envelope = Envelope(message_id(number), "a@x", "tcp_local", "", int(START * 1000), len(BODY), (person,))
        boundary = new_boundary(names.unique(envelope.id, 0))
        folder = self.queue / C / f"{number % 3:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / names.file_name(envelope.id, 0, tried)
        path.write_bytes(encode_head(envelope, [person], boundary, None) + BODY + boundary + b"\n")
        return path

    async def read(self) -> None:
        assert self.reader.reading is not None
        await asyncio.wait_for(self.reader.reading, 20)

    def known(self) -> set[str]:
        return set(self.world.stock.names)


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Reading]:
    reading = Reading(tmp_path, FILES)
    yield reading
    reading.places.close()
    reading.world.enqueuer.stop()


async def test_a_start_looks_at_no_file_and_counts_all(reading: Reading) -> None:
    found = recover(reading.places, START)
    assert reading.disk.looks == 0
    reading.reader.look_at(found.files)
    assert reading.disk.looks == LOOKED_AT
    assert reading.reader.unread == FILES
    assert not reading.reader.has_room
    await reading.read()
    assert reading.disk.looks == 2 * FILES, "once for the order, once when its turn has come"
    assert reading.known() == {names.unique(message_id(number), 0) for number in range(FILES)}
    assert (reading.reader.unread, len(reading.world.stock)) == (0, FILES)


async def test_what_is_known_is_not_looked_at_again(reading: Reading) -> None:
    reading.reader.look_at(reading.places.tree.files())
    await reading.read()
    reading.write(FILES)
    reading.disk.looks = 0
    reading.reader.look_at(reading.places.tree.files())
    await reading.read()
    assert reading.disk.looks == 2
    assert len(reading.world.stock) == FILES + 1


async def test_a_second_scan_while_the_first_is_under_way(reading: Reading) -> None:
    reading.reader.look_at(reading.places.tree.files())
    await asyncio.sleep(0)
    gone = reading.queue / C / "000" / names.file_name(message_id(0), 0, 1)
    gone.unlink()
    reading.write(FILES)
    reading.reader.look_at(reading.places.tree.files())
    await reading.read()
    assert reading.known() == {names.unique(message_id(number), 0) for number in range(1, FILES + 1)}


async def test_a_file_that_goes_between_its_name_and_its_look_is_nothing(reading: Reading) -> None:
    files = reading.places.tree.files()
    (reading.queue / C / "001" / names.file_name(message_id(1), 0, 1)).unlink()
    reading.reader.look_at(files)
    await reading.read()
    assert len(reading.world.stock) == FILES - 1
    assert reading.world.alarms == []


@pytest.mark.parametrize("look", [5, LOOKED_AT + 5, FILES + 5])
async def test_a_file_that_cannot_be_looked_at_keeps_nobody_else_waiting(reading: Reading, look: int) -> None:
    reading.disk.fails = range(look, look + 2)
    reading.reader.look_at(reading.places.tree.files())
    await reading.read()
    assert len([alarm for alarm in reading.world.alarms if "cannot be looked at" in alarm]) == 1
    assert len(reading.world.stock) == FILES - 2
    assert reading.reader.unread == 0
    assert not reading.reader.has_room
    reading.reader.look_at(reading.places.tree.files())
    await reading.read()
    assert len(reading.world.stock) == FILES


async def test_a_settled_file_that_cannot_be_removed_keeps_nobody_else_waiting(reading: Reading) -> None:
    (path,) = reading.queue.glob(f"{C}/*/{names.file_name(message_id(0), 0, 1)}")
    path.write_bytes(path.read_bytes().replace(b"k;T0", b"k;D0", 1))
    reading.disk.is_read_only = True
    reading.reader.look_at(reading.places.tree.files())
    await reading.read()
    assert path.exists()
    assert len(reading.world.stock) == FILES - 1
