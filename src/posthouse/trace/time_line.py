"""The time line of messages by any name they have (logging.md 5, decision 194).

The logs are read twice and only lines that may matter are decoded: once for the messages that are named, once for their
records. Memory is taken by what is shown, and by a pair of ids for each notice and each other message made of one of ours.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from posthouse.trace.reader import Unread, decoded, lines_with, raise_it, read_blocks
from posthouse.trace.record import A_LIST, Action, Record
from posthouse.trace.writer import stamp

Recipients = frozenset[int] | None
"""ids of recipients; None: the whole message"""
_NOBODYS = -1
"""records of a message that are no recipient's"""
_MAKES_ANOTHER = (Action.RETURNED, Action.WARNED, Action.DROPPED)
_ABOUT = b'"ab":"'
_IN_BRACKETS = re.compile("<([^<>]+)>")
"""the address in a MAIL or RCPT that was refused before it was anybody's"""
_ID = re.compile(rb'"ei":"([^"]*)"')


def time_line(
    folder: Path, *wanted: str, since: float = 0.0, until: float | None = None, bare: str = "", unread: Unread = raise_it
) -> list[Record]:
    """The records of every message that all of the texts name, of those it was made of, and of those made of it.

    Where a text names a message by recipients alone, the other recipients' records are left out, and so is what was made of
    the message unless something became of that recipient's copy. A list's name names all of its members.

    Args:
        folder: the log folder.
        wanted: our message id, a queue file's name (any attempt), a Message-ID with or without angle brackets, any
            address: sender, original or active recipient, or the last as a store is told it (`jdoe+folder`), who has
            logged in, or the client's IP address.
        since: Unix seconds; only messages with a record from then on that names them.
        until: the same, up to then.
        bare: the domain whose users a store knows without one.
        unread: called with the error, which has the file's name, where a log cannot be read; for each reading.

    Returns:
        In time order.

    Raises:
        OSError: a log cannot be read, and nobody is to be called.
    """
    search = _Search([_Name(text, bare) for text in wanted], stamp(since), "9" if until is None else stamp(until))
    for block in read_blocks(folder, since, unread):
        for line in lines_with(block, search.needles):
            search.look(line)
    shown = search.chosen()
    records = [*search.loose, *_of(shown, read_blocks(folder, since, unread) if shown else ())]
    return sorted(records, key=lambda r: r.ts)


def _of(shown: dict[str, Recipients], blocks: Iterable[bytes]) -> Iterator[Record]:
    ids = {each.encode() for each in shown}
    for block in blocks:
        if ids.isdisjoint(_ID.findall(block)):
            continue
        for line in block.split(b"\n"):
            if not ids.isdisjoint(_ID.findall(line)) and (record := decoded(line)) is not None:
                recipients = shown.get(record.ei, frozenset())
                if recipients is None or record.ri in recipients:
                    yield record


class _Name:
    """One text, and how records are named by it."""

    def __init__(self, text: str, bare: str) -> None:
        key = text.strip().strip("<>").lower()
        user, _, domain = key.rpartition("@")
        self._keys = {key, user} if user and domain == bare else {key}
        self._file = _unique_part(key)
        plain = key.isascii() and key.isprintable() and not set(key) & set('"\\')
        self.needles = [each.encode() for each in {self._file or key} | self._keys] if plain else [b""]

    def meets(self, record: Record) -> tuple[bool, bool]:
        """Whether it names the record's message, and the record's recipient."""
        others = (record.ei, record.mi, *record.mi.split(","), record.so, record.us, *re.split(r"[\[\]\s]+", record.ss))
        named = any(each.strip("<>").lower() in self._keys for each in others if each)
        if self._file and self._file in record.fi.lower():
            named = True
        if record.ac is Action.BAD_COMMAND and any(each in self._keys for each in _IN_BRACKETS.findall(record.de.lower())):
            named = True
        original = record.od.partition(";")[2] or record.od
        if record.re.startswith(A_LIST) and original.lower() in self._keys:  # all its members are asked about
            named = True
        addresses = (original, record.de, _on_the_wire(record.de), _owner(record.de), record.ia)
        return named, any(each.strip("<>").lower() in self._keys for each in addresses if each)


def _unique_part(key: str) -> str:
    name = key.rsplit("/", 1)[-1]
    for ending in (".00", ".held"):
        if name.endswith(ending):
            return name[2 : -len(ending)]
    return ""


def _on_the_wire(active: str) -> str:
    """`jdoe+folder` of `@store1.example.com.lmtp:jdoe+folder@lmtpcs-daemon`: what is left when the route is stripped."""
    return active.partition(":")[2].rpartition("@")[0] if active.startswith("@") else ""


def _owner(place: str) -> str:
    """`jdoe` of `user/jdoe/folder`, as a store's log has it."""
    return place.split("/")[1] if place.startswith("user/") else ""


@dataclass
class _Search:
    """What the first reading finds."""

    names: list[_Name]
    since: str
    until: str
    loose: list[Record] = field(default_factory=list)
    """named, and of no message"""
    _about: dict[str, str] = field(default_factory=dict)
    _makers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._found: list[dict[str, Recipients]] = [{} for _ in self.names]
        self.needles = {_ABOUT, *(needle for name in self.names for needle in name.needles)}

    def look(self, line: bytes) -> None:
        """Note what a line names."""
        record = decoded(line)
        if record is None:
            return
        if record.ab and record.ei and record.ab != record.ei:
            self._about[record.ei] = record.ab
        if not self.since <= record.ts <= self.until:
            return
        met = [name.meets(record) for name in self.names]
        if record.ei:
            for (message, recipient), found in zip(met, self._found, strict=True):
                if message or recipient:
                    self._note(record, found, whole=message)
        elif all(message or recipient for message, recipient in met):
            self.loose.append(record)

    def _note(self, record: Record, found: dict[str, Recipients], *, whole: bool) -> None:
        known = found.get(record.ei, frozenset((_NOBODYS,)))
        found[record.ei] = None if whole or known is None else known | {record.ri}
        if record.ac in _MAKES_ANOTHER or (record.ac is Action.DEQUEUED and not record.tr):
            self._makers.add(record.ei)

    def chosen(self) -> dict[str, Recipients]:
        """Messages to show, and of whom."""
        families: list[dict[str, dict[str, Recipients]]] = []
        for found in self._found:
            families.append({})
            for message, recipients in found.items():
                families[-1].setdefault(self._above(message)[-1], {})[message] = recipients
        made: dict[str, list[str]] = {}
        for message, origin in self._about.items():
            made.setdefault(origin, []).append(message)
        shown: dict[str, Recipients] = {}
        for root in set.intersection(*map(set, families)):
            narrow = [each for family in families if None not in (each := family[root]).values()]
            shown |= self._narrowed(narrow, made) if narrow else dict.fromkeys(_below(root, made))
        return shown

    def _narrowed(self, narrow: list[dict[str, Recipients]], made: dict[str, list[str]]) -> dict[str, Recipients]:
        """Of one family what its recipients' names ask for: by all of them, where there is such a thing."""
        shown: dict[str, Recipients] = {}
        around: set[str] = set()
        for message in set.intersection(*map(set, narrow)) or set().union(*narrow):
            sets = [each for found in narrow if (each := found.get(message)) is not None]
            common = frozenset.intersection(*sets)
            shown[message] = common if common - {_NOBODYS} else frozenset().union(*sets)
            around.update(self._above(message), _below(message, made) if message in self._makers else ())
        return dict.fromkeys(around) | shown

    def _above(self, message: str) -> list[str]:
        """The message, the one it is about, and so on."""
        chain = [message]
        while (message := self._about.get(message, "")) and message not in chain:
            chain.append(message)
        return chain


def _below(message: str, made: dict[str, list[str]]) -> list[str]:
    """The message, and all that were made of it."""
    found = [message]
    seen = {message}
    for each in found:
        new = [other for other in made.get(each, ()) if other not in seen]
        found += new
        seen.update(new)
    return found
