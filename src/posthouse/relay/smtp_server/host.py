"""What a line asks of the program it runs in: the worker's `Relay`, and a server inside any Python program (`server`)."""

import asyncio
import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from posthouse.dispatcher.sending_round import SendingRound
from posthouse.relay.smtp_server.memory import Memory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from posthouse.relay.smtp_server.line import Line

_AGE = attrgetter("receiving_since", "connection.serial")
"""the loop counts milliseconds: two may be as old"""


class Times(Protocol):
    """Seconds a client may take."""

    @property
    def command_seconds(self) -> float:
        """Before a command."""
        ...

    @property
    def data_seconds(self) -> float:
        """Within a body."""
        ...

    @property
    def reply_seconds(self) -> float:
        """Until it reads our replies again."""
        ...


class LineHost(Protocol):
    """What all lines share."""

    loop: asyncio.AbstractEventLoop
    process_log: logging.Logger
    round: SendingRound
    memory: Memory
    sessions: "set[Line]"

    @property
    def limits(self) -> Times:
        """How long a client may take."""
        ...

    def report(self, text: str) -> None:
        """A line in the process log, with the traceback when an exception is being handled."""
        ...


def hang_up_oldest(sessions: "Iterable[Line]", memory: Memory) -> None:
    """All memory is held by bodies that do not end: the oldest of them have to go. Those that hold nothing would make no room."""
    arriving = [one for one in sessions if one.receiving_since is not None and one.held]
    for session in sorted(arriving, key=_AGE):
        if not memory.overfull():
            return
        session.hang_up()
