"""The place of a message that comes with IMAP flags: `cur/` and the letters behind `:2,` (message-store 6).

    dovecot-keywords        lines `number name`: which letter, a to z, stands for which keyword in this folder
    dovecot-uidlist.lock    who has made it may write either of Dovecot's files

The first file is Dovecot's. A keyword it knows gets its letter. One it does not know is added at its end, under the lock; where
somebody else has that, where the file changed within this very second (Dovecot tells versions by their seconds) or where all
letters are taken, the message comes without that keyword. Letters never change their meaning. None of it keeps a message back.
"""

import contextlib

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.folder import Folder, read_small
from posthouse.store.mailbox.maildir import Maildir

KEYWORDS = "dovecot-keywords"
_LOCK = "dovecot-uidlist.lock"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def keyword_names(octets: bytes) -> dict[str, str]:
    """Letter -> keyword, of a `dovecot-keywords` file: lines `number name`."""
    names = {}
    for line in octets.decode("utf-8", "replace").splitlines():
        number, _, name = line.partition(" ")
        if number.isdecimal() and int(number) < len(_ALPHABET) and name:
            names[_ALPHABET[int(number)]] = name
    return names


def open_marked(maildir: Maildir, folder: Folder | None) -> Folder:
    """The folder, or the INBOX for None, as a place whose messages have flags; the folder given is closed then.

    Raises:
        OSError: its `cur/` cannot be opened; the folder given is open.
    """
    disk = maildir.disk
    if folder is None:
        cur = disk.open_dir("cur", maildir.root)
        return Folder(disk, "", cur, cur)
    cur = disk.open_dir("cur", folder.fd)
    disk.close(folder.new)
    folder.new = cur
    return folder


def keyword_letters(disk: Disk, folder: int, keywords: tuple[str, ...], now: float) -> str:
    """The letters of keywords in a folder, in order."""
    letters = _known(disk, folder, keywords)
    if len(letters) < len(keywords):
        with contextlib.suppress(OSError):
            _add(disk, folder, keywords, now)
            letters = _known(disk, folder, keywords)
    return "".join(sorted(letters))


def _known(disk: Disk, folder: int, keywords: tuple[str, ...]) -> set[str]:
    wanted = {keyword.lower() for keyword in keywords}
    return {letter for letter, name in keyword_names(read_small(disk, KEYWORDS, folder)).items() if name.lower() in wanted}


def _add(disk: Disk, folder: int, keywords: tuple[str, ...], now: float) -> None:
    """Add those that are missing.

    Raises:
        OSError: somebody else has the lock, or the disk failed.
    """
    lock = disk.create_excl(_LOCK, folder)
    try:
        found = disk.stat(KEYWORDS, folder)
        if found is not None and (not found.is_file or found.mtime_ns >= int(now) * 1_000_000_000):
            return
        octets = read_small(disk, KEYWORDS, folder)
        names = keyword_names(octets)
        known = {name.lower() for name in names.values()}
        free = iter([number for number, letter in enumerate(_ALPHABET) if letter not in names])
        missing = [keyword for keyword in keywords if keyword.lower() not in known]
        lines = b"".join(b"%d %s\n" % (number, keyword.encode()) for keyword, number in zip(missing, free, strict=False))
        if not lines:
            return
        file = disk.open_file(KEYWORDS, folder, append=True)
        try:
            disk.write(file, (b"" if not octets or octets.endswith(b"\n") else b"\n") + lines)
        finally:
            disk.close(file)
    finally:
        disk.close(lock)
        disk.unlink(_LOCK, folder)
