"""Transactions as calls of a program's coroutine: one call for each recipient, its status the recipient's reply.

Promise: every recipient of a message gets exactly one reply, whatever the coroutine does.

    it returns a 2yz, 4yz or 5yz status    that is the reply
    it returns anything else, or raises    430 4.3.0, with the traceback in the log `posthouse.lmtp`
    it takes longer than allowed           it is cancelled; 450 4.4.7
    the server stops meanwhile             it is cancelled when the time to drain is over; 450 4.3.2
    messages held exceed `Limits.memory`   it is not called; 452 4.3.1
    the message breaks a rule of the body  it is not called; the row of Table 16-1

Calls for one message run side by side, over all messages at most `Limits.calls` at the same time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from posthouse.dispatcher.embedded import CommonLimits
from posthouse.dispatcher.program_calls import STOPPING, ProgramCalls
from posthouse.mail.status import Status
from posthouse.store.delivery.stored_form import LineEnds, return_path
from posthouse.store.delivery.transaction import Message, Transaction
from posthouse.store.lmtp_server.status_table import row_of
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError

Deliver: TypeAlias = Callable[[str, str, bytes], Awaitable[Status]]
"""sender, recipient, message to the recipient's reply"""
Finish: TypeAlias = Callable[[Transaction, list[Status]], None]
"""a transaction and its replies, one for each addressee in order"""

FAILED = Status(430, "4.3.0", "delivery failed; try again later")
NO_ROOM = Status(452, "4.3.1", "too many large messages at the same time; try again later")


@dataclass(frozen=True, slots=True)
class Limits(CommonLimits):
    """What one server allows. `memory` is that of messages larger than 256 KiB; beyond it 452 4.3.1."""


class NoRoom(MailboxIOError):  # noqa: N818 - a row's name, as its neighbours in `mailbox.errors`
    """`Limits.memory` is used up."""


class Gathering:
    """A large message in memory, while it arrives.

    Args:
        room: what all of them share.
        sender: without brackets.
    """

    def __init__(self, room: "Room", sender: bytes) -> None:
        self.fault: MailboxError | None = None
        self._room = room
        self._held = 0
        self._wire_size = 0
        self._line_ends = LineEnds()
        self._parts = [return_path(sender)]

    def write(self, data: bytes, lf: bytes | None = None, /) -> None:
        """The next octets; once there is no room for them nothing is kept."""
        self._wire_size += len(data)
        if self.fault is not None:
            return
        if not self._room.take(len(data)):
            self._let_go()
            self.fault = NoRoom("no room for large messages")
            return
        self._held += len(data)
        self._parts.append(self._line_ends.convert(data, lf))

    def end(self) -> Message:
        """The whole message is here; its room is given back when it is delivered."""
        self._parts.append(self._line_ends.end())
        octets = b"".join(self._parts)
        self._parts.clear()
        return Held(octets, len(octets), self._wire_size, self._held)

    def abort(self) -> None:
        """It will not be delivered."""
        self._let_go()

    def _let_go(self) -> None:
        self._parts.clear()
        self._room.give(self._held)
        self._held = 0


class Held(Message):
    """A message that takes room."""

    __slots__ = ("held",)

    def __init__(self, stored: bytes, size: int, wire_size: int, held: int) -> None:
        super().__init__(stored, size, wire_size)
        self.held = held


class Room:
    """Octets that large messages may take together.

    Args:
        octets: how many.
    """

    def __init__(self, octets: int) -> None:
        self._left = octets

    def take(self, octets: int) -> bool:
        """Take some, if they are there."""
        if octets > self._left:
            return False
        self._left -= octets
        return True

    def give(self, octets: int) -> None:
        """Give back what was taken."""
        self._left += octets


class Calls:
    """Whole transactions become calls, their results replies.

    Args:
        call: the program's coroutine.
        limits: what is allowed.
        finish: what becomes of the replies.
        log: where failures go.
    """

    def __init__(self, call: Deliver, limits: Limits, finish: Finish, log: logging.Logger) -> None:
        self.room = Room(limits.memory)
        self.running = ProgramCalls(limits.calls, limits.deliver_seconds, FAILED, log)
        self._call = call
        self._finish = finish

    def expect(self) -> int:
        """A transaction has begun: nothing is put off for it."""
        return 0

    def expect_no_more(self, turn: int, /) -> None:
        """The transaction is here, or will not come."""

    def deliver(self, transaction: Transaction, message: Message, fault: MailboxError | None = None) -> None:
        """Call for each recipient, and finish when all have answered."""
        self.running.use(self._deliver(transaction, message, fault))

    async def _deliver(self, transaction: Transaction, message: Message, fault: MailboxError | None) -> None:
        try:
            self._finish(transaction, await self._statuses(transaction, message, fault))
        finally:
            if isinstance(message, Held):
                self.room.give(message.held)

    async def _statuses(self, transaction: Transaction, message: Message, fault: MailboxError | None) -> list[Status]:
        recipients = [_text(each.token) for each in transaction.addressees]
        if isinstance(fault, NoRoom):
            return [NO_ROOM] * len(recipients)
        if fault is not None:
            return [row_of(fault).status(recipient) for recipient in recipients]
        octets = message.stored[len(return_path(transaction.sender)) :]
        call = partial(self._call, _text(transaction.sender))
        statuses = (self.running.status(f"deliver for {each}", partial(call, each, octets)) for each in recipients)
        results = await asyncio.gather(*statuses, return_exceptions=True)
        return [each if isinstance(each, Status) else STOPPING for each in results]


def _text(token: bytes) -> str:
    """An address without its brackets; octets that are no UTF-8 by surrogateescape."""
    if token.startswith(b"<") and token.endswith(b">"):
        token = token[1:-1]
    return token.decode("utf-8", "surrogateescape")
