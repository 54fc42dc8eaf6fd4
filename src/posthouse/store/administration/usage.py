"""What a mailbox holds and may hold, read without a lock: a delivery may change it while it is read.

The usage is what `maildirsize` says, as for deliveries and IMAP servers; where that says nothing the messages are counted
and nothing is written. Limits are those saved last (`quota.saved`), by a relay's XQUOTA or `set_limits`.
"""

from collections.abc import Callable
from typing import NamedTuple

from posthouse.journal.disk import Disk
from posthouse.mail.modified_utf7 import decode_utf7
from posthouse.store.administration.lock import Held
from posthouse.store.mailbox.folder import read_small
from posthouse.store.mailbox.maildir import LOCK
from posthouse.store.mailbox.maildirsize import NAME as MAILDIRSIZE
from posthouse.store.mailbox.maildirsize import SizeFile, Sizes, limits_line, parse
from posthouse.store.mailbox.recount import folders_of, message_size, recount
from posthouse.store.quota.limits import GivenLimits, Limits
from posthouse.store.quota.saved import LENGTH, SavedQuota, decode_saved


class Usage(NamedTuple):
    """Of one mailbox."""

    sizes: Sizes
    saved: SavedQuota
    limits: Limits
    """with the store's defaults filled in; negative is unlimited"""

    @property
    def percent(self) -> float | None:
        """How full it is, by what is fuller of octets and messages; None without limits."""
        parts = [
            100 * used / limit if limit else 100.0
            for used, limit in zip(self.sizes, self.limits, strict=True)
            if limit >= 0
        ]
        return max(parts) if parts else None

    @property
    def over(self) -> bool:
        """Whether it holds more than it may."""
        return any(0 <= limit < used for used, limit in zip(self.sizes, self.limits, strict=True))


def usage_of(disk: Disk, root: int, defaults: Limits) -> Usage:
    """The usage and limits of the mailbox with this root.

    Raises:
        OSError: it cannot be read.
    """
    parsed = parse(read_small(disk, MAILDIRSIZE, root))
    sizes = parsed[1] if parsed is not None else recount(disk, root)[0]
    saved = decode_saved(read_small(disk, LOCK, root)[:LENGTH])
    return Usage(sizes, saved, saved.limits.resolved(defaults))


def folder_names(disk: Disk, root: int) -> list[str]:
    """The directory names of its folders, "" for the INBOX."""
    return folders_of(disk, root)


def folder_text(directory: str) -> str:
    """A folder's name for people: `.a.b` is `a/b`, "" is INBOX."""
    if not directory:
        return "INBOX"
    return "/".join(decode_utf7(part) for part in directory[1:].split("."))


def set_limits(held: Held, given: GivenLimits, defaults: Limits, name: Callable[[], str], now: float) -> SizeFile | None:
    """Save limits as a relay's XQUOTA would and show them to IMAP servers. Takes effect with the next delivery.

    Args:
        held: the mailbox.
        given: what changes.
        defaults: the store's, for -2.
        name: makes a unique name.
        now: Unix time in seconds.

    Returns:
        The quota file when it was replaced: `load` it once more, a little later, for lines somebody appended to the old
        one meanwhile, then close it.

    Raises:
        OSError: the disk failed.
    """
    saved = held.saved.heard(given, now, defaults, now)._replace(told=now)  # the same once more is knowledge, too
    held.save(saved)
    new = saved.limits.resolved(defaults)
    disk, root = held.disk, held.root
    tmp = disk.open_dir("tmp", root)
    try:
        sizes = SizeFile(disk, root, tmp)
        usage = sizes.load(now)
        if usage is None or sizes.limits == limits_line(*new):
            sizes.close()
            return None
        sizes.write(limits_line(*new), usage, name(), now)
    finally:
        disk.close(tmp)
    return sizes


def folder_contents(disk: Disk, root: int, directory: str) -> tuple[Sizes, Sizes]:
    """What is in a folder's `new` and `cur`; nothing where one of them is missing.

    Raises:
        OSError: it cannot be read.
    """
    parent = disk.open_dir(directory, root) if directory else root
    try:
        return _shelf(disk, parent, "new"), _shelf(disk, parent, "cur")
    finally:
        if parent != root:
            disk.close(parent)


def _shelf(disk: Disk, parent: int, shelf: str) -> Sizes:
    octets = messages = 0
    try:
        fd = disk.open_dir(shelf, parent)
    except FileNotFoundError:
        return Sizes(0, 0)
    try:
        for name in disk.listdir(fd):
            size = message_size(disk, name, fd)
            if size is None:
                continue
            octets += size
            messages += 1
    finally:
        disk.close(fd)
    return Sizes(octets, messages)
