"""What a disk in memory is made of, and which states a power cut may leave of it (DURABILITY 7).

Files and folders have a live side, what programs see, and a durable one. See `posthouse.testing.crash_disk`.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from posthouse.journal.disk import FileStat

BLOCK = 4096


class Extreme(Enum):
    """The states that are always tried."""

    LEAST = "nothing that was not synced"
    MOST = "everything"
    NAMES_ONLY = "all names, no octets"
    OCTETS_ONLY = "all octets, no names"


Choose = Extreme | random.Random


@dataclass(eq=False, slots=True)
class File:
    """A file."""

    inode: int
    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """writes (offset, octets) and truncations (size, None) since the last sync"""
    links: int = 0
    locked_by: int = -1
    mtime: int = 0


@dataclass(eq=False, slots=True)
class Folder:
    """A folder."""

    inode: int
    live: "dict[str, File | Folder]" = field(default_factory=dict)
    durable: "dict[str, File | Folder]" = field(default_factory=dict)


Node = File | Folder
Edit = tuple[Folder, str, Node | None]


@dataclass(eq=False, slots=True)
class Change:
    """One change of names, atomic: a rename has two edits."""

    edits: tuple[Edit, ...]

    def places(self) -> set[tuple[int, str]]:
        """The names it touches, by the folder's inode."""
        return {(folder.inode, name) for folder, name, _ in self.edits}


def surviving_tree(root: Folder, changes: list[Change], choose: Choose) -> tuple[Folder, dict[int, File]]:
    """A copy of the tree in one state a power cut may leave, and its files by inode."""
    left = {folder.inode: dict(folder.durable) for folder in _folders(root, changes)}
    for change in _surviving(changes, choose):
        for folder, name, node in change.edits:
            if node is None:
                left[folder.inode].pop(name, None)
            else:
                left[folder.inode][name] = node
    files: dict[int, File] = {}
    return _copy_folder(root, left, files, choose), files


def _surviving(changes: list[Change], choose: Choose) -> list[Change]:
    if isinstance(choose, Extreme):
        return list(changes) if choose in {Extreme.MOST, Extreme.NAMES_ONLY} else []
    if choose.random() < 0.5:
        return changes[: choose.randint(0, len(changes))]
    kept: list[Change] = []
    missed: set[tuple[int, str]] = set()
    for change in changes:
        if change.places() & missed or choose.random() < 0.5:
            missed |= change.places()
        else:
            kept.append(change)
    return kept


def _copy_folder(folder: Folder, left: dict[int, dict[str, Node]], files: dict[int, File], choose: Choose) -> Folder:
    found = Folder(folder.inode)
    for name, node in left.get(folder.inode, {}).items():
        copy: Node
        if isinstance(node, Folder):
            copy = _copy_folder(node, left, files, choose)
        else:
            known = files.get(node.inode)
            copy = known or File(node.inode, durable=_octets_left(node, choose), mtime=node.mtime)
            copy.live = bytearray(copy.durable)
            copy.links += 1
            files[node.inode] = copy
        found.live[name] = found.durable[name] = copy
    return found


def file_stat(node: Node) -> FileStat:
    """What `stat` says of it."""
    if isinstance(node, Folder):
        return FileStat(1, node.inode, 0, 0, 2, is_folder=True, is_file=False, uid=0, mode=0o700)
    return FileStat(1, node.inode, len(node.live), node.mtime, node.links, is_folder=False, is_file=True, uid=0, mode=0o600)


def edit(edits: tuple[Edit, ...], *, live: bool) -> None:
    """Carry out a change of names on one of the two sides."""
    for folder, name, node in edits:
        names = folder.live if live else folder.durable
        before = names.pop(name, None)
        if node is not None:
            names[name] = node
        if live:
            for each, step in ((before, -1), (node, 1)):
                if isinstance(each, File):
                    each.links += step


def put(octets: bytearray, offset: int, data: bytes) -> None:
    """Write octets; a hole is filled with zeros."""
    if len(octets) < offset:
        octets.extend(bytes(offset - len(octets)))
    octets[offset : offset + len(data)] = data


def truncate(octets: bytearray, size: int) -> None:
    """Set the length."""
    if size < len(octets):
        del octets[size:]
    else:
        octets.extend(bytes(size - len(octets)))


def settle(file: File) -> None:
    """Make a file's octets durable.

    What a failed sync threw away stays away: only what was written since is applied.
    """
    durable = bytearray(file.durable)
    for offset, data in file.pending:
        if data is None:
            truncate(durable, offset)
        else:
            put(durable, offset, data)
    file.durable = bytes(durable)
    file.pending.clear()


def _folders(root: Folder, changes: Iterable[Change]) -> list[Folder]:
    """Every folder that may survive."""
    found: dict[int, Folder] = {}
    waiting: list[Node | None] = [root, *(node for change in changes for _, _, node in change.edits)]
    waiting += [folder for change in changes for folder, _, _ in change.edits]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Folder) and node.inode not in found:
            found[node.inode] = node
            waiting += [*node.live.values(), *node.durable.values()]
    return list(found.values())


def _octets_left(file: File, choose: Choose) -> bytes:
    """A file's octets after the cut."""
    if not file.pending or choose in {Extreme.LEAST, Extreme.NAMES_ONLY}:
        return file.durable
    if isinstance(choose, Extreme):
        after = File(0, durable=file.durable, pending=list(file.pending))
        settle(after)
        return after.durable
    return _some_blocks(file, choose)


def _some_blocks(file: File, choose: random.Random) -> bytes:
    touched: dict[int, list[tuple[int, bytes | None]]] = {}
    length = longest = len(file.durable)
    for offset, data in file.pending:
        length = offset if data is None else max(length, offset + len(data))
        longest = max(longest, length)
        first, last = offset // BLOCK, (longest if data is None else offset + len(data) - 1) // BLOCK
        for block in range(first, last + 1):
            touched.setdefault(block, []).append((offset, data))
    octets = bytearray(file.durable.ljust(longest, b"\0"))
    for block, writes in touched.items():
        start = block * BLOCK
        version = bytearray(octets[start : start + BLOCK])
        for offset, data in writes[: choose.randint(0, len(writes))]:
            if data is None:
                cut = max(0, offset - start)
                version[cut:] = bytes(len(version) - cut)
            else:
                part = data[max(0, start - offset) : max(0, start + BLOCK - offset)]
                put(version, max(0, offset - start), part)
        octets[start : start + BLOCK] = version[: max(0, longest - start)]
    return bytes(octets[: choose.choice((len(file.durable), length))])
