r"""Who was answered when: the memory behind vacation answers, shared by all processes, kept over restarts (directory.md 10).

    claim(owner, key, now, seconds) -> True: answer now, it is remembered;  False: that was done less than `seconds` ago
    release(owner, key)             -> the answer could not be sent after all

One file for each user, by default `data/vacation/<two digits>/<owner>`, one line for each answer:

    <Unix seconds of the answer> <Unix seconds after which it may be forgotten> <hash of the key>

The last line of a hash counts. A claim is read and written under a lock of the file, so of several processes one answers.
Bounded: when CLEANUP lines (VACATION_CLEANUP) are no longer needed the file is written anew without them, and never holds more
than MAX_ANSWERS that are; beyond these the oldest are forgotten. Nothing is synced: after a power cut somebody may be
answered once more. All calls are file operations and belong into a thread. A line that is none is passed over.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from posthouse.relay.routing.clause_template import (
    ClauseInputs,
    ClauseTemplate,
    OwnerValues,
    parse_clause_template,
    render_clause,
)

MAX_ANSWERS = 10_000
CLEANUP = 200
_SCHEME = "file://"


class AnswerMemory(Protocol):
    """What is remembered of answers."""

    def claim(self, owner: str, key: str, now: float, seconds: float) -> bool:
        """Whether to answer now; if so it is remembered as done.

        Raises:
            OSError: the memory cannot be read or written: do not answer.
        """

    def release(self, owner: str, key: str) -> None:
        """Take back the last claim: the answer was not sent.

        Raises:
            OSError: the memory cannot be written.
        """


def answer_key(sender: str, handle: str = "") -> str:
    """The key of an answer: letters' case in the sender does not differ."""
    return f"{handle}\n{sender.lower()}"


class FileAnswerMemory:
    """The memory in files.

    Args:
        path_of: the file of an owner.
        cleanup: lines no longer needed that make a file be written anew.
        max_answers: answers remembered for one owner.
    """

    def __init__(self, path_of: Callable[[str], Path], cleanup: int = CLEANUP, max_answers: int = MAX_ANSWERS) -> None:
        self._path_of = path_of
        self._cleanup = max(1, cleanup)
        self._max = max_answers

    def claim(self, owner: str, key: str, now: float, seconds: float) -> bool:
        """See the protocol."""
        mark = _mark(key)
        with _locked(self._path_of(owner)) as file:
            known, lines = _read(file)
            before = known.get(mark)
            if before is not None and before[0] <= now < before[0] + seconds:
                return False
            known.pop(mark, None)
            known[mark] = (now, now + seconds)
            _append(file, mark, known[mark])
            needed = {one: times for one, times in known.items() if times[1] > now}
            if lines + 1 >= len(needed) + self._cleanup or len(needed) > self._max:
                _rewrite(self._path_of(owner), list(needed.items())[-self._max :])
            return True

    def release(self, owner: str, key: str) -> None:
        """See the protocol."""
        with _locked(self._path_of(owner)) as file:
            _append(file, _mark(key), (0.0, 0.0))


def folder_of(folder: Path) -> Callable[[str], Path]:
    """The default places: files below one folder, spread over 100 others."""

    def path_of(owner: str) -> Path:
        name = quote(owner.lower(), safe="@") or "-"
        if len(name) > 200 or name.startswith("."):
            name = hashlib.sha256(name.encode()).hexdigest()
        return folder / f"{int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100:02d}" / name

    return path_of


def template_of(text: str, root: Path) -> Callable[[str], Path]:
    """The places VACATION_TEMPLATE names: `file:///shared/vacation/$3I/$1U/$2U/$U.vac` (option-dat 3).

    $U is the uid, $nU its nth character, $I the hosted domain; both are percent-encoded, so that neither can leave its folder.

    Args:
        text: the option.
        root: the instance's folder, for a path that is not absolute.

    Raises:
        ClauseError: it is no template.
    """
    template: ClauseTemplate = parse_clause_template(text.removeprefix(_SCHEME))

    def path_of(owner: str) -> Path:
        uid, _, domain = owner.lower().partition("@")
        uid, domain = quote(uid, safe="").replace(".", "%2E"), quote(domain, safe="").removeprefix(".")
        values = OwnerValues(uid, domain, "")
        found = render_clause(template, ClauseInputs(owner, uid, uid, "", domain, "", values))
        return root / (found or f"data/vacation/{quote(owner.lower(), safe='')}")

    return path_of


def _mark(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:24].encode()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, made if need be, open and locked; never one that has been replaced meanwhile."""
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_same(fd, path):
                yield fd
                return
        finally:
            os.close(fd)


def _is_same(fd: int, path: Path) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return named.st_ino == os.fstat(fd).st_ino


def _read(fd: int) -> tuple[dict[bytes, tuple[float, float]], int]:
    """The last line of each hash, oldest first, and how many lines there are."""
    known: dict[bytes, tuple[float, float]] = {}
    octets = os.pread(fd, os.fstat(fd).st_size, 0)
    lines = octets.split(b"\n")
    for line in lines:
        parts = line.split(b" ")
        try:
            answered, until, mark = float(parts[0]), float(parts[1]), parts[2]
        except (IndexError, ValueError):
            continue
        known.pop(mark, None)
        if until:
            known[mark] = (answered, until)
    return known, len(lines) - 1


def _line(mark: bytes, times: tuple[float, float]) -> bytes:
    return b"%d %d %s\n" % (int(times[0]), -int(-times[1] // 1), mark)


def _append(fd: int, mark: bytes, times: tuple[float, float]) -> None:
    os.write(fd, _line(mark, times))


def _rewrite(path: Path, kept: list[tuple[bytes, tuple[float, float]]]) -> None:
    """Replace the file, whose lock is held."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(b"".join(_line(mark, times) for mark, times in kept))
    new.replace(path)
