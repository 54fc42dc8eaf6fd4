"""The directory in a file: LDIF (LDAP_LDIF_FILE), held in memory, read again when the file changes.

A question costs some ten microseconds the first time and one after that. The file is looked at each second; when time, size or
inode differ and have been the same for one more look (so that a file being copied is not read half), it is read in a
thread. If the new content is bad the old one stays in use and the log says file, line and reason. To change the file
safely write a new one beside it and rename it. A file that is missing or bad at the start is a configuration error.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from posthouse.config.fault import ConfigurationError, Fault
from posthouse.relay.directory.cache import Key, is_long, key_of
from posthouse.relay.directory.filter import FilterError
from posthouse.relay.directory.layout import Layout
from posthouse.relay.directory.ldif import LdifError, read_ldif
from posthouse.relay.directory.ldif_tree import LdifTree, indexed_attributes
from posthouse.relay.directory.password import Password, PasswordAnswer, among
from posthouse.relay.directory.question import Answer, Question, Unknown
from posthouse.relay.directory.search import Result, plan

LOOK_INTERVAL = 1.0
_REMEMBERED = 100_000
_log = logging.getLogger("posthouse.directory")


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells one content of the file from another."""

    inode: int
    size: int
    changed: int


class LdifDirectory:
    """Answers from an LDIF file.

    Args:
        layout: how the tree is built.
        path: the file.
        look_interval: seconds between looks at the file; 0 = only `look` reads it again.
    """

    def __init__(self, layout: Layout, path: Path, *, look_interval: float = LOOK_INTERVAL) -> None:
        self._layout = layout
        self._path = path
        self._interval = look_interval
        self._tree: LdifTree | None = None
        self._answers: dict[Key, Answer] = {}
        self._asking: set[asyncio.Task[Answer]] = set()
        self._read: _Stamp | None = None
        self._seen: _Stamp | None = None
        self._trouble = ""
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the file and begin to watch it.

        Raises:
            ConfigurationError: the file cannot be read, or is not LDIF: all its faults.
        """
        self._read = self._seen = self._stamp()
        self._tree = await asyncio.to_thread(load, self._layout, self._path)
        if self._interval:
            self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop watching."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
            self._watcher = None
        self._tree = None
        self._answers.clear()

    def cached(self, question: Question) -> Answer | None:
        """The answer; None only for a search no index helps with, or before the start."""
        known = self._answers.get(key_of(question))
        if known is not None or self._tree is None:
            return known
        return self._remember(question, self._step(self._tree, question, None))

    def ask(self, question: Question, done: Callable[[Answer], None]) -> None:
        """Have `done` called with the answer; see `answer`."""
        task = asyncio.get_running_loop().create_task(self.answer(question))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        task.add_done_callback(lambda ended: done(ended.result()))

    async def answer(self, question: Question) -> Answer:
        """The answer; long searches run in a thread."""
        known = self.cached(question)
        if known is not None:
            return known
        tree = self._tree
        if tree is None:
            return Unknown("the directory is not open")
        found = await asyncio.to_thread(self._step, tree, question, tree)
        if tree is self._tree:
            self._remember(question, found)
        return found or Unknown("no answer")

    async def check_password(self, dn: str, password: str) -> PasswordAnswer:
        """Whether this is one of the entry's userPasswords."""
        tree = self._tree
        if tree is None:
            return Unknown("the directory is not open")
        stored = tree.passwords(dn)
        right = bool(password) and await asyncio.to_thread(among, stored, password)
        return Password.RIGHT if right else Password.WRONG

    def probe(self) -> None:
        """The file is looked at by itself."""

    def health(self) -> str:
        """`ok`, number of entries, file; or what is wrong with it."""
        if self._tree is None:
            return f"closed: {self._path}"
        if self._trouble:
            return f"old content in use ({len(self._tree)} entries): {self._trouble}"
        return f"ok: {len(self._tree)} entries from {self._path}"

    async def look(self) -> None:
        """Read the file again if it has changed and been still since the last look."""
        stamp = self._stamp()
        still = stamp == self._seen
        self._seen = stamp
        if stamp is None:
            if not self._trouble:
                self._complain(f"{self._path} is gone")
            return
        if stamp == self._read:
            if self._trouble.endswith(" is gone"):
                self._trouble = ""
            return
        if not still:
            return
        try:
            tree = await asyncio.to_thread(load, self._layout, self._path)
        except ConfigurationError as problem:
            self._read = stamp
            self._complain(problem.first)
            return
        if self._stamp() != stamp:
            return  # changed while it was read: the next looks will see
        self._read, self._tree, self._trouble = stamp, tree, ""
        self._answers.clear()
        _log.info("directory: %s read again, %d entries", self._path, len(tree))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.look()
            except Exception:
                _log.exception("directory: cannot look at %s", self._path)

    def _complain(self, reason: str) -> None:
        self._trouble = reason
        _log.error("directory: the old content of %s stays in use: %s", self._path, reason)

    def _step(self, tree: LdifTree, question: Question, patient: LdifTree | None) -> Answer | None:
        """Run the plan; None when an impatient one meets a search without an index."""
        steps = plan(self._layout, question)
        try:
            search = next(steps)
            while patient is not None or tree.is_quick(search):
                result: Result = tree.search(search)
                search = steps.send(result)
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
        except FilterError as problem:
            return Unknown(f"bad filter: {problem}")
        return None

    def _remember(self, question: Question, answer: Answer | None) -> Answer | None:
        if answer is not None and not is_long(answer):
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[key_of(question)] = answer
        return answer

    def _stamp(self) -> _Stamp | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def load(layout: Layout, path: Path) -> LdifTree:
    """The tree in the file.

    Raises:
        ConfigurationError: it cannot be read, or is not LDIF.
    """
    try:
        data = path.read_bytes()
        return LdifTree(read_ldif(data), indexed_attributes(layout))
    except OSError as problem:
        raise ConfigurationError([Fault(str(path), 0, problem.strerror or str(problem))]) from None
    except LdifError as problem:
        raise ConfigurationError(Fault(str(path), line, reason) for line, reason in problem.faults) from None
