"""A mailbox as mbox files, one for each folder: `INBOX.mbox`, `Lists.python.mbox` (the folder's Maildir++ name).

    From <return path or MAILER-DAEMON> <date of arrival, UTC, as asctime>
    X-Posthouse-Name: cur/<file name with flags>      these four lines are ours: taken away when the file is imported
    Status: RO
    X-Status: AFTD
    X-Keywords: words
    ... the message, every line `>*From ` with one more `>` (mboxrd), then one blank line

A foreign mbox is read too: a message begins at a `From ` line with a date, at the start or behind a blank line. As long as
every message has a Content-Length that ends at such a place, or with the file, it says where the body ends: `From ` lines in
it need not be quoted.
Status, X-Status and X-Keywords give the flags and stay where they are; an IMAP server's own message in front (X-IMAP) is
none. What stands before the first message is refused. Messages get names made of their content, so that importing twice
adds nothing.
"""

import calendar
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple

from posthouse.store.administration.archive import Incoming, our_directory, split_flags
from posthouse.store.administration.snapshot import Found
from posthouse.store.mailbox.base_name import base_of, size_of
from posthouse.store.quota.limits import DEFAULT, Limits

SUFFIX = ".mbox"
_SHOWN = 70
_QUOTED = re.compile(rb"^(>*From )", re.MULTILINE)
_UNQUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_RETURN_PATH = re.compile(rb"Return-Path: <([^>\s]+)>\r?\n")
_OURS = re.compile(
    rb"X-Posthouse-Name: (new|cur)/((?!\.)[!-.0-9;-~]{1,220}(?::2,[A-Za-z]*)?)\n"
    rb"Status: [^\n]*\nX-Status: [^\n]*\nX-Keywords: ([^\n]*)\n"
)
_FROM = re.compile(
    rb"From .*?(?:([A-Z][a-z]{2}) +(\d{1,2}) (\d\d:\d\d(?::\d\d)?)(?: [A-Z+-]\S*)? (\d{4})\b"
    rb"|(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d:\d\d(?::\d\d)?))"
)
_BLANK = frozenset({b"\n", b"\r\n"})
_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d{1,15})[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_STATUS = re.compile(rb"^(X-)?Status:[ \t]*([A-Za-z]*)", re.MULTILINE | re.IGNORECASE)
_KEYWORDS = re.compile(rb"^X-Keywords:([^\n]*)", re.MULTILINE | re.IGNORECASE)
_INTERNAL = re.compile(rb"^X-IMAP:", re.MULTILINE)
_LETTERS = {"A": "R", "F": "F", "T": "D", "D": "T"}
_WORDS = {letter: word for word, letter in _LETTERS.items()}


class Raw(NamedTuple):
    """A message as it stands in the file, its `From ` line apart."""

    line: bytes
    octets: bytes


def file_name(directory: str) -> str:
    """The file of a folder."""
    return (directory[1:] or "INBOX") + SUFFIX


def directory_of(name: str) -> str | None:
    """The folder of a file; None when the name stands for none."""
    return our_directory("." + name.removesuffix(SUFFIX))


def encode(found: Found, names: dict[str, str]) -> bytes:
    """A message as it is written. `names` are the folder's keywords by letter."""
    entry, octets = found.entry, found.octets
    sender = _RETURN_PATH.match(octets)
    flags, keywords = split_flags(entry.name, names)
    status = ("R" if "S" in flags else "") + ("O" if entry.shelf == "cur" else "")
    words = "".join(_WORDS[letter] for letter in flags if letter in _WORDS)
    head = (
        f"From {sender[1].decode('latin-1') if sender else 'MAILER-DAEMON'} {time.asctime(time.gmtime(found.mtime_ns / 1e9))}\n"
        f"X-Posthouse-Name: {entry.shelf}/{entry.name}\nStatus: {status}\nX-Status: {words}\nX-Keywords: {' '.join(keywords)}\n"
    )
    end = b"\n" if octets.endswith(b"\n") else b"\n\n"
    return head.encode("latin-1", "replace") + _QUOTED.sub(rb">\1", octets) + end


def split(file: IO[bytes]) -> Iterator[Raw]:
    """The messages of an mbox, one at a time in memory."""
    line, lines, blank, in_header, measured = b"", list[bytes](), True, False, True
    while each := file.readline():
        if blank and _FROM.match(each):
            if line:
                yield Raw(line, _joined(lines))
            line, lines, in_header = each, [], True
        elif line:
            lines.append(each)
        blank = each in _BLANK
        if blank and in_header:
            body = _measured(file, b"".join(lines)) if measured else []
            lines += body
            in_header, measured = False, bool(body)
    if line:
        yield Raw(line, _joined(lines))


def _measured(file: IO[bytes], header: bytes) -> list[bytes]:
    """The body as long as its header says, if a message or the end of the file is behind it; else [], and nothing is read."""
    length = _LENGTH.search(header)
    if length is None or _OURS.match(header):
        return []
    start = file.tell()
    end = start + int(length[1])
    whole = end <= file.seek(0, os.SEEK_END)
    file.seek(end)
    behind = file.readline()
    if behind in _BLANK:
        behind = file.readline()
    file.seek(start)
    return [file.read(end - start)] if whole and (not behind or _FROM.match(behind)) else []


def _joined(lines: list[bytes]) -> bytes:
    if lines and lines[-1] in _BLANK:
        lines.pop()
    return _UNQUOTED.sub(rb"\1", b"".join(lines))


def _header(octets: bytes) -> bytes:
    """With LF line ends."""
    return octets.replace(b"\r\n", b"\n").partition(b"\n\n")[0]


def decode(raw: Raw, directory: str, host: str, seen: dict[str, int]) -> Incoming:
    """One message.

    Args:
        raw: it.
        directory: its folder.
        host: for the names of messages that have none.
        seen: how often each content was met before, for one file; changed.
    """
    date = _date(raw.line)
    ours = _OURS.match(raw.octets)
    if ours is None:
        return _foreign(raw, directory, host, seen, date)
    name, octets = ours[2].decode(), raw.octets[ours.end() :]
    size = size_of(name)
    if size == len(octets) - 1:  # it did not end with a line end
        octets = octets[:-1]
    keywords = tuple(ours[3].decode("utf-8", "replace").split())
    flags, _ = split_flags(name, {})
    return Incoming(directory, ours[1].decode(), base_of(name), flags, keywords, date * 1_000_000_000, octets)


def _foreign(raw: Raw, directory: str, host: str, seen: dict[str, int], date: int) -> Incoming:
    octets = raw.octets
    digest = hashlib.sha256(octets).hexdigest()[:32]
    seen[digest] = seen.get(digest, 0) + 1
    lone = octets.count(b"\n") - octets.count(b"\r\n")
    base = f"{date}.H{digest}Q{seen[digest]}.{host},S={len(octets)},W={len(octets) + lone}"
    flags, old, header = set(), False, _header(octets)
    keywords = tuple(word for match in _KEYWORDS.finditer(header) for word in match[1].decode("utf-8", "replace").split())
    for match in _STATUS.finditer(header):
        letters = match[2].decode().upper()
        if match[1]:
            flags |= {_LETTERS[letter] for letter in letters if letter in _LETTERS}
        else:
            flags |= {"S"} if "R" in letters else set()
            old |= "O" in letters
    shelf = "cur" if flags or old else "new"
    return Incoming(directory, shelf, base, "".join(sorted(flags)), keywords, date * 1_000_000_000, octets)


def _date(line: bytes) -> int:
    """Of a `From ` line, taken for UTC; 0 when there is no such date."""
    match = _FROM.match(line)
    assert match
    month, day, hour, year = (each.decode() for each in (match.group(1, 2, 3, 4) if match[1] else match.group(6, 5, 8, 7)))
    try:
        return max(0, calendar.timegm(time.strptime(f"{month} {day} {f'{hour}:00'[:8]} {year}", "%b %d %H:%M:%S %Y")))
    except ValueError:
        return 0


class MboxSource:
    """Reads mbox files, each for one folder.

    Args:
        files: (directory, file that can be read twice).
        host: for the names of messages that have none.
    """

    def __init__(self, files: Iterable[tuple[str, IO[bytes]]], host: str) -> None:
        self._files = list(files)
        self._host = host
        self.folders = [directory for directory, _ in self._files if directory]
        self.acls: dict[str, bytes] = {}
        self.subscriptions: list[str] = []
        self.limits = Limits(DEFAULT, DEFAULT)
        self.refused: list[str] = []
        for _, file in self._files:
            first = next(filter(bytes.strip, file), b"")
            if first and not _FROM.match(first):
                self.refused.append(first[:_SHOWN].decode("utf-8", "replace").rstrip())

    def places(self) -> Iterable[tuple[str, str]]:
        """Directory and base name of every message."""
        return [(each.directory, each.base) for each in self.messages()]

    def messages(self) -> Iterator[Incoming]:
        """Every message."""
        for directory, file in self._files:
            file.seek(0)
            seen: dict[str, int] = {}
            for number, raw in enumerate(split(file)):
                if not number and _INTERNAL.search(_header(raw.octets)):
                    continue
                yield decode(raw, directory, self._host, seen)
