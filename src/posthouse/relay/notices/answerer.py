"""Gives vacation answers: asks the memory, builds, and makes the answer durable on channel `process`.

    answerer.answer(vacation, envelope, header, whole) -> "" when answered, else why not

Promise: one answer at most for each sender, owner and handle within `seconds`, whatever process is asked; an answer that
could not be made durable is not remembered, and is an OSError: the message's recipient stays to do. When the memory itself
cannot be used nobody is answered. The message that is answered is not touched: whether it is answered says nothing about it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from posthouse.journal.body_file import INLINE_LIMIT
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.relay.notices.answer_memory import AnswerMemory, answer_key
from posthouse.relay.notices.notifier import CHANNEL, Wording, enqueue_own, own_envelope, own_record
from posthouse.relay.notices.vacation import Asked, Vacation, answer_octets, silence
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.trace.record import Record
from posthouse.trace.writer import stamp

_log = logging.getLogger("posthouse")
_ROOM = 16 << 10
"""of a record, for what an answer adds to the message it echoes"""
RECENTLY = "answered already"


@dataclass(frozen=True, slots=True)
class Answerer:
    """Answers for one process.

    Args:
        memory: of answers given.
        enqueuer: of this process, started.
        ids: gives message ids.
        now: Unix time in seconds.
        note: takes records for the transaction log.
        process: our process id as the log prints it.
        wording: whose reporter is our own name.
    """

    memory: AnswerMemory
    enqueuer: Enqueuer
    ids: MessageIds
    now: Callable[[], float]
    note: Callable[[Iterable[Record]], None]
    process: str
    wording: Wording

    async def answer(self, vacation: Vacation, envelope: Envelope, header: bytes, whole: bytes | None = None) -> str:
        """Answer the message's sender, if that is to be.

        Args:
            vacation: what the user wants said.
            envelope: of the message.
            header: its header.
            whole: all of it, for `echo`; left out when it is large.

        Returns:
            Empty when the answer is durable, else why none was given.

        Raises:
            OSError: not now; nothing is remembered.
        """
        asked = Asked(envelope.sender, header, whole if vacation.echo and _fits(whole, vacation) else None)
        reason = silence(vacation, asked)
        if reason:
            return reason
        now, key = self.now(), answer_key(envelope.sender, vacation.handle)
        try:
            claimed = await asyncio.to_thread(self.memory.claim, vacation.owner, key, now, vacation.seconds)
        except OSError as error:
            _log.error("vacation: the memory of answers cannot be used: %s", error)
            return f"the memory of answers cannot be used: {error.strerror or error}"
        if not claimed:
            return RECENTLY
        try:
            await self._send(vacation, asked, envelope, now)
        except OSError:
            await asyncio.to_thread(self.memory.release, vacation.owner, key)
            raise
        return ""

    async def _send(self, vacation: Vacation, asked: Asked, about: Envelope, now: float) -> None:
        identity = self.ids.next()
        octets = answer_octets(vacation, asked, f"<{identity}@{self.wording.reporter}>", now)
        recipient = Recipient(0, 0, CHANNEL, about.sender, about.sender, intermediate=about.sender, notify="NEVER")
        answer = own_envelope(octets, recipient, about, self.wording, identity, now)
        await enqueue_own(self.enqueuer, answer, octets)
        self.note((own_record(answer, about, self.wording, stamp(self.now()), self.process),))


def _fits(whole: bytes | None, vacation: Vacation) -> bool:
    return whole is not None and len(whole) + 4 * len(vacation.text) <= INLINE_LIMIT - _ROOM
