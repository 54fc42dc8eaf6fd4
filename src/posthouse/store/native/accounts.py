"""The UNIX users mail can be for: a file in the form of passwd(5), or the system's accounts.

Names are asked for in lower case, as addresses are; an account whose name has capitals is found when no other has the name in
lower case; of several lines with one name the first counts, as with the system. A file is read again when it has changed;
lines that are no accounts are passed over and told once. A file that cannot be read is a fault of ours (`MailboxIOError`),
never "no such user". Blocks: the system's accounts may be on a network.
"""

import contextlib
import logging
import pwd
from pathlib import Path
from typing import NamedTuple

from posthouse.store.mailbox.errors import MailboxIOError, MailboxNonexistent

_FIELDS = 7
_NO_ID = 2**32 - 1
"""(uid_t)-1: nobody's"""
_log = logging.getLogger("posthouse.store")


class Account(NamedTuple):
    """One user."""

    name: str
    uid: int
    gid: int


class UnixAccounts:
    """Finds users by name.

    Args:
        path: the file; None = the system's accounts.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._looks: tuple[int, int, int] | None = None
        self._known: dict[str, Account] = {}

    def find(self, name: str) -> Account:
        """The user of this name.

        Raises:
            MailboxNonexistent: there is none.
            MailboxIOError: nobody can say.
        """
        if self._path is not None:
            self._refresh(self._path)
            account = self._known.get(name)
            if account is None:
                raise MailboxNonexistent(f"{name}: no such user in {self._path}")
            return account
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise MailboxNonexistent(f"{name}: no such user") from None
        except (OSError, ValueError) as error:
            raise MailboxIOError(f"{name}: the system's accounts: {error}") from error
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def refresh(self) -> None:
        """Read a file that has changed; what is wrong with it is told by `find`."""
        with contextlib.suppress(MailboxIOError):
            if self._path is not None:
                self._refresh(self._path)

    def _refresh(self, path: Path) -> None:
        try:
            found = path.stat()
            looks = (found.st_ino, found.st_size, found.st_mtime_ns)
            if looks != self._looks:
                self._known = parse_passwd(path.read_text(encoding="utf-8"), str(path))
                self._looks = looks
        except (OSError, UnicodeDecodeError) as error:
            raise MailboxIOError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


def parse_passwd(text: str, file: str) -> dict[str, Account]:
    """The accounts by their name in lower case."""
    known: dict[str, Account] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(":")
        numbers = fields[2:4]
        if len(fields) != _FIELDS or not fields[0] or not all(map(_is_id, numbers)):
            _log.warning("%s:%d: not name:password:uid:gid:text:home:shell", file, number)
            continue
        account = Account(fields[0], int(numbers[0]), int(numbers[1]))
        before = known.get(account.name.lower())
        if before is None or (account.name.islower() and not before.name.islower()):
            known[account.name.lower()] = account
    return known


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_NO_ID)) and int(text) < _NO_ID

