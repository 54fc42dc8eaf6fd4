"""What a mailbox really holds: the messages of `new` and `cur` of the INBOX and of every folder (message-store 6).

The size is the `,S=` of the name, else the file's length. All messages count, those in Trash and those marked deleted too;
only the store's own quota notices do not, wherever they have been moved.
"""

from collections.abc import Iterator

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.base_name import notice_seconds, size_of
from posthouse.store.mailbox.maildirsize import Sizes

_SHELVES = ("new", "cur")


def folders_of(disk: Disk, root: int) -> list[str]:
    """Directory names of the folders below a root, and "" for the INBOX, which comes first."""
    return ["", *sorted(name for name in disk.listdir(root) if name[0] == "." and _is_folder(disk, name, root))]


def _is_folder(disk: Disk, name: str, parent: int) -> bool:
    found = disk.stat(name, parent)
    return found is not None and found.is_folder


def message_size(disk: Disk, name: str, folder: int) -> int | None:
    """Octets of the message of this name as quotas count them; None: it is gone, or no file."""
    size = size_of(name)
    if size is not None:
        return size
    found = disk.stat(name, folder)
    return found.size if found is not None and found.is_file else None


def recount(disk: Disk, root: int) -> tuple[Sizes, bool]:
    """The usage, and whether no folder changed while it was counted (only then it may be written down)."""
    octets = messages = 0
    before: dict[tuple[str, str], int] = {}
    for shelf, folder, fd in _shelves(disk, root):
        before[folder, shelf] = disk.fstat(fd).mtime_ns
        for name in disk.listdir(fd):
            if notice_seconds(name) is not None:
                continue
            size = message_size(disk, name, fd)
            if size is None:
                continue
            octets += size
            messages += 1
    after = {(folder, shelf): disk.fstat(fd).mtime_ns for shelf, folder, fd in _shelves(disk, root)}
    return Sizes(octets, messages), before == after


def has_notice(disk: Disk, root: int, since: float) -> bool:
    """Whether a quota notice made since then is in any folder."""
    return any(
        seconds is not None and seconds >= since
        for _, _, fd in _shelves(disk, root)
        for seconds in map(notice_seconds, disk.listdir(fd))
    )


def _shelves(disk: Disk, root: int) -> Iterator[tuple[str, str, int]]:
    """Every `new` and `cur` with its folder's directory name and a descriptor that lives until the next one."""
    for folder in folders_of(disk, root):
        parent = disk.open_dir(folder, root) if folder else root
        try:
            for shelf in _SHELVES:
                if not _is_folder(disk, shelf, parent):
                    continue
                fd = disk.open_dir(shelf, parent)
                try:
                    yield shelf, folder, fd
                finally:
                    disk.close(fd)
        finally:
            if parent != root:
                disk.close(parent)
