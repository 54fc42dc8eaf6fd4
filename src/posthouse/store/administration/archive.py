"""A mailbox outside a store: what an archive carries, and the tar form of it.

The tar is a plain Maildir++: unpacked into an empty folder it is a mailbox any Maildir server can read. Beside the messages, with
flags and dates, it has `maildirfolder`, `subscriptions`, `dovecot-acl` and `dovecot-keywords` (which letters in the flags stand
for which keywords), and `posthouse-mailbox.json`: {"version": 1, "owner", "quota": {"bytes", "messages"}} as saved.

Names in an archive are somebody else's words: a member that is no regular file or folder, or no message of a folder a
Maildir++ can have, is refused and told, the others are taken. A folder's name in UTF-8, as Dovecot may have it, and one below
`INBOX.`, as in Courier's subscriptions, are ours in another form.
"""

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple, Protocol

import msgspec

from posthouse.store.administration.snapshot import Entry, Found
from posthouse.store.administration.usage import folder_text
from posthouse.store.mailbox.base_name import base_of
from posthouse.store.mailbox.folder_name import folder_directory
from posthouse.store.mailbox.marked import KEYWORDS, keyword_names
from posthouse.store.quota.limits import DEFAULT, Limits

MANIFEST = "posthouse-mailbox.json"
EXTRAS = ("maildirfolder", "dovecot-acl", KEYWORDS)
_NAME = re.compile(r"(?!\.)[!-.0-9;-~]{1,220}(:2,[A-Za-z]*)?")
_FLAGS = re.compile(r":2,([A-Za-z]*)\Z")


class Incoming(NamedTuple):
    """One message of an archive."""

    directory: str
    shelf: str
    base: str
    flags: str
    """letters, those of keywords left out"""
    keywords: tuple[str, ...]
    mtime_ns: int
    octets: bytes


class Source(Protocol):
    """An archive that is read."""

    folders: list[str]
    """directory names, without the INBOX"""
    acls: dict[str, bytes]
    """by directory"""
    subscriptions: list[str]
    """directory names without the first dot"""
    limits: Limits
    refused: list[str]
    """members that are not what they should be"""

    def places(self) -> Iterable[tuple[str, str]]:
        """Directory and base name of every message."""
        ...

    def messages(self) -> Iterator[Incoming]:
        """Every message."""
        ...


class _Quota(msgspec.Struct):
    bytes: int = DEFAULT
    messages: int = DEFAULT


class Manifest(msgspec.Struct):
    """`posthouse-mailbox.json`."""

    version: int = 1
    owner: str = ""
    quota: _Quota = msgspec.field(default_factory=_Quota)


def manifest(owner: str, limits: Limits) -> bytes:
    """Its octets."""
    return msgspec.json.encode(Manifest(owner=owner, quota=_Quota(*limits)))


def our_directory(name: str) -> str | None:
    """Our directory name of the folder somebody else's directory name means; None when there can be no such folder."""
    return folder_directory(folder_text(name))


def split_flags(name: str, names: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    """The flags in a file name, keywords apart from the others."""
    match = _FLAGS.search(name)
    letters = match[1] if match else ""
    plain = "".join(letter for letter in letters if letter.isupper())
    return plain, tuple(names[letter] for letter in letters if letter in names)


# --- tar ----------------------------------------------------------------------------------------------------------


class TarWriter:
    """Writes one mailbox. Args: tar: open for writing; now: Unix time in seconds."""

    def __init__(self, tar: tarfile.TarFile, now: float) -> None:
        self._tar = tar
        self._now = now

    def folder(self, directory: str) -> None:
        """A folder with its three parts."""
        for path in (directory, *(f"{directory}/{part}".lstrip("/") for part in ("cur", "new", "tmp"))):
            if path:
                info = tarfile.TarInfo(path)
                info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o700, self._now
                self._tar.addfile(info)

    def file(self, path: str, octets: bytes, mtime: float | None = None) -> None:
        """A file."""
        info = tarfile.TarInfo(path)
        info.size, info.mode, info.mtime = len(octets), 0o600, self._now if mtime is None else mtime
        self._tar.addfile(info, io.BytesIO(octets))

    def message(self, found: Found) -> None:
        """A message."""
        entry = found.entry
        self.file("/".join(part for part in entry if part), found.octets, found.mtime_ns / 1e9)


class TarSource:
    """Reads one mailbox from a tar that can be read twice.

    Raises:
        tarfile.TarError: it is none.
        OSError: it cannot be read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115 - read as long as we live
        self.folders: list[str] = []
        self.acls: dict[str, bytes] = {}
        self.subscriptions: list[str] = []
        self.limits = Limits(DEFAULT, DEFAULT)
        self.refused: list[str] = []
        self._keywords: dict[str, dict[str, str]] = {}
        self._messages: list[tuple[Entry, str, tarfile.TarInfo]] = []
        """with the directory name as it stands there"""
        for member in self._tar:
            self._take(member)

    def _take(self, member: tarfile.TarInfo) -> None:
        path = member.name.removeprefix("./").strip("/")
        parts = path.split("/")
        if path in {"", "."}:
            return
        theirs = parts.pop(0) if parts[0].startswith(".") and (len(parts) > 1 or member.isdir()) else ""
        directory = our_directory(theirs)
        if directory is None or not (member.isfile() or member.isdir()):
            self.refused.append(member.name)
            return
        if directory and directory not in self.folders:
            self.folders.append(directory)
        if member.isdir():
            return
        if len(parts) == 2 and parts[0] in {"new", "cur"} and _NAME.fullmatch(parts[1]):
            self._messages.append((Entry(directory, *parts), theirs, member))
        elif len(parts) == 1:
            self._extra(directory, theirs, parts[0], member)
        elif parts[0] != "tmp":
            self.refused.append(member.name)

    def _extra(self, directory: str, theirs: str, name: str, member: tarfile.TarInfo) -> None:
        """Files we do not know (an IMAP server's own) are passed over."""
        if name == "dovecot-acl":
            self.acls[directory] = self._octets(member)
        elif name == KEYWORDS:
            self._keywords[theirs] = keyword_names(self._octets(member))
        elif name in {"subscriptions", "courierimapsubscribed"} and not directory:
            self.subscriptions += subscribed(self._octets(member))
        elif name == MANIFEST and not directory:
            try:
                quota = msgspec.json.decode(self._octets(member), type=Manifest).quota
            except msgspec.DecodeError:
                self.refused.append(member.name)
            else:
                self.limits = Limits(quota.bytes, quota.messages)

    def _octets(self, member: tarfile.TarInfo) -> bytes:
        file = self._tar.extractfile(member)
        return file.read() if file is not None else b""

    def places(self) -> Iterable[tuple[str, str]]:
        """Directory and base name of every message."""
        return [(entry.directory, entry.base) for entry, _, _ in self._messages]

    def messages(self) -> Iterator[Incoming]:
        """Every message."""
        for entry, theirs, member in self._messages:
            flags, keywords = split_flags(entry.name, self._keywords.get(theirs, {}))
            octets = self._octets(member)
            yield Incoming(
                entry.directory, entry.shelf, base_of(entry.name), flags, keywords, int(member.mtime * 1_000_000_000), octets
            )


def subscribed(octets: bytes) -> list[str]:
    """The folders of a `subscriptions` file, in any form, that a Maildir++ can have."""
    lines = octets.decode("utf-8", "replace").splitlines()
    if lines[:1] and lines[0].startswith("V\t2"):
        lines = [line.replace("\t", ".") for line in lines[1:]]
    found = [our_directory(f".{line}") for line in lines if line]
    return [each[1:] or "INBOX" for each in found if each is not None]
