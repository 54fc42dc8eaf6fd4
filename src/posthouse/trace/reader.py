"""Reads the JSON transaction log back: the time line of one message (logging.md 5).

A torn line (a writer was killed, the disk was full) is passed over, and what another process has appended to it is read.
Rotated files `transactions.jsonl.1`, `.2`... are read oldest first.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from posthouse.trace.record import Record
from posthouse.trace.writer import JSON_LOG

_decoder = msgspec.json.Decoder(Record)
_BEGIN = b'{"ts":'
"""of a record, and of nothing in one: its strings' quotes are escaped"""


def read_records(folder: Path) -> Iterator[Record]:
    """Every record of the folder's logs, oldest file first."""
    rotated = sorted(folder.glob(JSON_LOG + ".*"), key=_age, reverse=True)
    for path in [*rotated, folder / JSON_LOG]:
        try:
            with path.open("rb") as lines:
                for line in lines:
                    record = _record(line) or _record(line[max(0, line.rfind(_BEGIN)) :])
                    if record is not None:
                        yield record
        except FileNotFoundError:
            continue


def _record(line: bytes) -> Record | None:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _age(path: Path) -> int:
    suffix = path.suffix[1:]
    return int(suffix) if suffix.isdigit() else 0


def time_line(folder: Path, wanted: str) -> list[Record]:
    """The records of every message that the text names.

    Args:
        folder: the log folder.
        wanted: our message id, a queue file's name (any attempt), a Message-ID with or without angle brackets, or
            any address: sender, original or active recipient, or the last as a store is told it (`jdoe+folder`).

    Returns:
        All records of the messages found, and of the notices about them, in time order.
    """
    key = wanted.strip().strip("<>").lower()
    unique = _unique_part(key)
    records = list(read_records(folder))
    messages = {r.ei for r in records if r.ei and _names(r, key, unique)}
    messages |= {r.ab for r in records if r.ab and r.ei in messages}
    messages |= {r.ei for r in records if r.ab and r.ab in messages}
    found = [r for r in records if (r.ei in messages if r.ei else _names(r, key, unique))]
    return sorted(found, key=lambda r: r.ts)


def _unique_part(key: str) -> str:
    name = key.rsplit("/", 1)[-1]
    for ending in (".00", ".held"):
        if name.endswith(ending):
            return name[2 : -len(ending)]
    return ""


def _on_the_wire(active: str) -> str:
    """`jdoe+folder` of `@store1.example.com.lmtp:jdoe+folder@lmtpcs-daemon`: what is left when the route is stripped."""
    return active.partition(":")[2].rpartition("@")[0] if active.startswith("@") else ""


def _names(record: Record, key: str, unique: str) -> bool:
    if key == record.ei.lower() or key == record.mi.strip("<>").lower():
        return True
    if unique and record.fi and unique in record.fi.lower():
        return True
    addresses = (record.so, record.od.partition(";")[2] or record.od, record.de, _on_the_wire(record.de), record.ia)
    return any(key == address.strip("<>").lower() for address in addresses if address)
