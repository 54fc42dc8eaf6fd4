"""Reads the JSON transaction log back, rotated files too, oldest first: `.1`, `-20261123`, compressed (`.gz`, `.xz`, `.bz2`).

A torn line (a writer was killed, the disk was full) is passed over, and what another process has appended to it is read.
"""

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, cast

import msgspec

from posthouse.trace.record import Record
from posthouse.trace.writer import JSON_LOG

if TYPE_CHECKING:
    from io import BufferedReader

_decoder = msgspec.json.Decoder(Record)
_BLOCK = 262_144
_PACKED: dict[str, Callable[[BinaryIO], object]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
Unread: TypeAlias = Callable[[OSError], None]
_BEGIN = b'{"ts":'
"""of a record, and of nothing in one: its strings' quotes are escaped"""


def read_records(folder: Path) -> Iterator[Record]:
    """Every record of the folder's logs, oldest file first."""
    for block in read_blocks(folder):
        for line in block.split(b"\n"):
            record = decoded(line)
            if record is not None:
                yield record


def raise_it(error: OSError) -> None:
    """A log that cannot be read is the end."""
    raise error


def read_blocks(folder: Path, since: float = 0.0, unread: Unread = raise_it) -> Iterator[bytes]:
    """Whole lines, many at a time, of the folder's logs; a file that is gone has none, one renamed meanwhile is read once.

    Args:
        folder: the log folder.
        since: Unix seconds; files last written before are left out.
        unread: called with the error, which has the file's name, where one cannot be read or what is compressed is damaged;
            then the others are read.

    Raises:
        OSError: nobody is to be called.
    """
    seen: set[tuple[int, int]] = set()
    missed = False
    for renamed in (False, True):
        for path in _log_files(folder, since):
            if renamed and path.suffix in _PACKED and not missed:
                continue
            try:
                with path.open("rb") as file:
                    facts = os.fstat(file.fileno())
                    if (facts.st_dev, facts.st_ino) not in seen:
                        seen.add((facts.st_dev, facts.st_ino))
                        yield from _blocks(path, file)
            except FileNotFoundError:
                missed = True
            except OSError as error:
                unread(error)


def _log_files(folder: Path, since: float) -> list[Path]:
    """The folder's logs, oldest first; not those last written before a moment, nor what is just being compressed."""
    current = folder / JSON_LOG
    rotated = []
    for path in folder.glob(JSON_LOG + "?*"):
        with contextlib.suppress(FileNotFoundError):
            if path.suffix not in _PACKED or not path.with_suffix("").exists() or path.with_suffix("") == current:
                rotated.append((path.stat().st_mtime_ns, path))
    return [*(path for written, path in sorted(rotated) if written >= since * 1e9), current]


def _blocks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    unpack = _PACKED.get(path.suffix)
    try:
        lines = cast("BufferedReader", unpack(file) if unpack else file)
        torn = b""
        while block := lines.read1(_BLOCK):  # what could be unpacked before the damage, too
            whole, end, rest = block.rpartition(b"\n")
            if end:
                yield torn + whole + end
            torn = rest if end else torn + rest
        if torn:
            yield torn
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise OSError(errno.EIO, f"cut short or damaged: {error}", str(path)) from None
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from None


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
