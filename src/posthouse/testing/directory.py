"""A directory in memory: entries given as LDIF text, failures on demand. No file, no thread, no waiting.

It answers by the same searches as the real ones, so that what it says of an address is what they would say.
"""

import asyncio
from collections.abc import Callable

from posthouse.config.option_file import OptionFile, OptionValue
from posthouse.relay.directory.layout import Layout, read_layout
from posthouse.relay.directory.ldif import read_ldif
from posthouse.relay.directory.ldif_tree import LdifTree, indexed_attributes
from posthouse.relay.directory.password import Password, PasswordAnswer, among
from posthouse.relay.directory.question import Answer, Question, Unknown
from posthouse.relay.directory.search import plan


def options(**values: str) -> OptionFile:
    """Options as option.dat would give them: `options(LDAP_USER_ROOT="o=usergroup")`."""
    return OptionFile({name.upper(): OptionValue(text, "config/option.dat", 0) for name, text in values.items()})


class MemoryDirectory:
    """Answers from LDIF text.

    Args:
        text: the entries.
        layout: how the tree is built; Schema 2 over the whole text by default.
        at_hand: whether `cached` answers at once; if not, everybody has to wait for `answer`.
    """

    def __init__(self, text: str, layout: Layout | None = None, *, at_hand: bool = True) -> None:
        self._layout = layout or read_layout(options())
        self._at_hand = at_hand
        self.asked: list[Question] = []
        """every question that `answer` was asked"""
        self.failing = ""
        """set it, and every answer is Unknown for this reason"""
        self._asking: set[asyncio.Task[Answer]] = set()
        self.replace(text)

    def replace(self, text: str) -> None:
        """Other entries from now on."""
        self._tree = LdifTree(read_ldif(text.encode()), indexed_attributes(self._layout))

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """From now on nothing is known."""
        self.failing = "the directory is closed"

    def cached(self, question: Question) -> Answer | None:
        """The answer, if answers are at hand and nothing fails."""
        return self._search(question) if self._at_hand and not self.failing else None

    def ask(self, question: Question, done: Callable[[Answer], None]) -> None:
        """Have `done` called with what `answer` says."""
        task = asyncio.get_running_loop().create_task(self.answer(question))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        task.add_done_callback(lambda ended: done(ended.result()))

    async def answer(self, question: Question) -> Answer:
        """The answer, or Unknown when failing."""
        self.asked.append(question)
        return Unknown(self.failing) if self.failing else self._search(question)

    async def check_password(self, dn: str, password: str) -> PasswordAnswer:
        """Whether this is one of the entry's userPasswords, or Unknown when failing."""
        if self.failing:
            return Unknown(self.failing)
        right = bool(password) and among(self._tree.passwords(dn), password)
        return Password.RIGHT if right else Password.WRONG

    def probe(self) -> None:
        """Nothing to do."""

    def health(self) -> str:
        """`ok`, or the failure."""
        return self.failing or f"ok: {len(self._tree)} entries in memory"

    def _search(self, question: Question) -> Answer:
        steps = plan(self._layout, question)
        try:
            search = next(steps)
            while True:
                search = steps.send(self._tree.search(search))
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer
