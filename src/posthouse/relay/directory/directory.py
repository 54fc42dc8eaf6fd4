"""What every directory can do: the seam between those who ask and LDAP, LDIF or a test's own."""

from collections.abc import Callable
from typing import Protocol

from posthouse.relay.directory.password import PasswordAnswer
from posthouse.relay.directory.question import Answer, Question


class Directory(Protocol):
    """Answers questions about domains and addresses."""

    def cached(self, question: Question) -> Answer | None:
        """The answer if it is at hand: no I/O, about a microsecond. None: ask `ask` or `answer`."""

    def ask(self, question: Question, done: Callable[[Answer], None]) -> None:
        """Have `done` called once with the answer, in bounded time, from the event loop and never before this returns."""

    async def answer(self, question: Question) -> Answer:
        """The answer, in bounded time. Never raises for what the directory does: that is Unknown."""

    async def check_password(self, dn: str, password: str) -> PasswordAnswer:
        """Whether this is the password of the entry with this name, in bounded time; an empty one never is."""

    async def start(self) -> None:
        """Get ready to answer. A server that is down is not an error, a missing or bad LDIF file is.

        Raises:
            ConfigurationError: the directory cannot work as configured.
        """

    async def close(self) -> None:
        """Give up connections and threads. Questions under way get Unknown."""

    def probe(self) -> None:
        """Ask something of what does not answer, from the event loop: that it is back shows in `health` without mail, too."""

    def health(self) -> str:
        """One line for an operator, `ok` first when all is well."""
