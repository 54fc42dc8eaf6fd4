"""Reads the JSON transaction log back, rotated files too, oldest first: `.1`, `-20261123`, and compressed ones (`.gz`).

A torn line (a writer was killed, the disk was full) is passed over, and what another process has appended to it is read.
"""

import contextlib
import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from posthouse.trace.record import Record
from posthouse.trace.writer import JSON_LOG

_decoder = msgspec.json.Decoder(Record)
_BLOCK = 262_144
_BEGIN = b'{"ts":'
"""of a record, and of nothing in one: its strings' quotes are escaped"""


def read_records(folder: Path) -> Iterator[Record]:
    """Every record of the folder's logs, oldest file first."""
    for block in read_blocks(log_files(folder)):
        for line in block.split(b"\n"):
            record = decoded(line)
            if record is not None:
                yield record


def log_files(folder: Path, since: float = 0.0) -> list[Path]:
    """The folder's logs, oldest first, without those that were last written before a moment (Unix seconds)."""
    current = folder / JSON_LOG
    rotated = []
    for path in folder.glob(JSON_LOG + "?*"):
        with contextlib.suppress(FileNotFoundError):
            rotated.append((path.stat().st_mtime_ns, path))
    return [*(path for written, path in sorted(rotated) if written >= since * 1e9), current]


def read_blocks(files: list[Path]) -> Iterator[bytes]:
    """Whole lines, many at a time; a file that is gone has none.

    Raises:
        OSError: one cannot be read; gzip.BadGzipFile is one.
    """
    for path in files:
        with contextlib.suppress(FileNotFoundError), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            while block := lines.read(_BLOCK):
                yield block + lines.readline()


def lines_with(block: bytes, needles: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a block that have one of the needles in them, which are in lower case."""
    low = block.lower()
    ends = {}
    for needle in needles:
        at = low.find(needle)
        while at >= 0:
            end = low.find(b"\n", at) + 1 or len(low)
            ends[low.rfind(b"\n", 0, at) + 1] = end
            at = low.find(needle, max(end, at + 1))
    return (block[begin:end] for begin, end in ends.items())


def decoded(line: bytes) -> Record | None:
    """The record of a line, or of what stands behind the torn one in it."""
    return _record(line) or _record(line[max(0, line.rfind(_BEGIN)) :])


def _record(line: bytes) -> Record | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
