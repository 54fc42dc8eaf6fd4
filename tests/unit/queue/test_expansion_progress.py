"""Progress of an expansion: kept over a crash, torn ends passed over, gone when the recipient is settled, swept when old."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.disk import LinuxDisk
from posthouse.relay.queue.expansion_progress import FOLDER, KEPT_DAYS, ExpansionProgress, fingerprint, sweep

DISK = LinuxDisk()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[int]:
    fd = DISK.open_dir(str(tmp_path))
    yield fd
    DISK.close(fd)


def open_one(journal: int) -> ExpansionProgress:
    return ExpansionProgress(DISK, journal, "0TEST0", 3)


def test_what_was_added_is_known_to_the_next_process(journal: int, tmp_path: Path) -> None:
    first = open_one(journal)
    assert first.load() == set()
    assert not list((tmp_path / FOLDER).iterdir())  # one step leaves nothing behind
    first.add([1, 2**63 + 1])
    first.add([3])
    second = open_one(journal)
    assert second.load() == {1, 2**63 + 1, 3}
    second.add([4])
    second.close()
    third = open_one(journal)
    assert third.load() == {1, 2**63 + 1, 3, 4}
    third.end()
    assert not list((tmp_path / FOLDER).iterdir())
    first.close()


def test_a_torn_end_is_written_over(journal: int, tmp_path: Path) -> None:
    first = open_one(journal)
    first.load()
    first.add([1])
    first.close()
    path = tmp_path / FOLDER / "0TEST0-3"
    path.write_bytes(path.read_bytes() + b"abc")
    second = open_one(journal)
    assert second.load() == {1}
    second.add([2])
    second.close()
    assert path.stat().st_size == 16
    third = open_one(journal)
    assert third.load() == {1, 2}
    third.close()


def test_old_files_are_swept(journal: int, tmp_path: Path) -> None:
    one = open_one(journal)
    one.load()
    one.add([1])
    one.close()
    path = tmp_path / FOLDER / "0TEST0-3"
    now = 1_795_428_000.0
    os.utime(path, (now - KEPT_DAYS * 86_400 + 60, now - KEPT_DAYS * 86_400 + 60))
    sweep(DISK, journal, now)
    assert path.exists()
    sweep(DISK, journal, now + 120)
    assert not path.exists()


def test_fingerprints_tell_channels_and_addresses_apart() -> None:
    made = {fingerprint(channel, address) for channel in ("a", "b") for address in ("x@y", "x@z", "")}
    assert len(made) == 6
