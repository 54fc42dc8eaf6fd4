"""What users' Sieve scripts want done, on channel `process`: tasks of recipients, and the scripts of whom routing finds there.

    Bounce   the recipient fails for good: the sender's notice is made durable first, as for any failure
    Refused  the same, of a member or forwarding address
    Answer   a vacation answer by the same rules and memory as the directory's
    Note     one message to the owner of a script with a fault; the same fault is not told again for NOTE_SECONDS
    Told     the sender's notice of success: a group has the message
    Forward  routed like any other address, with a header field that names who sends it on

Answers and notes are durable before their recipient is settled. A memory that cannot be used means no answer and an alarm.
"""

import asyncio
import time
from collections.abc import Iterable

import msgspec

from posthouse.mail.envelope import Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.mail.status import Status
from posthouse.mail.task import Answer, Bounce, Forward, Note, Onward, Refused, Task, Told, decode_task
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.autoreply import open_memory
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.filtering.limits import BODY_OCTETS
from posthouse.relay.filtering.message import Message, header_end
from posthouse.relay.filtering.run import Surroundings
from posthouse.relay.notices.answerer import Answerer
from posthouse.relay.notices.dsn import Kind
from posthouse.relay.notices.notifier import CHANNEL, enqueue_own, header_of, own_envelope
from posthouse.relay.notices.script_note import note_octets
from posthouse.relay.notices.vacation import Vacation
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.list_edit import ListEdit
from posthouse.relay.routing.result import Target
from posthouse.relay.scripts.decisions import REDIRECTED, Decisions, has_script

_LONGEST_REASON = 2000
NOTE_SECONDS = 30 * 86_400.0
_ANSWERED = Status(250, "2.0.0", "vacation answer sent")
_TAKEN = Status(250, "2.1.5", "message accepted for list expansion processing")
_TOLD = Status(250, "2.0.0", "the owner has been told")


class ScriptTasks:
    """The tasks of one copy.

    Args:
        shop: what the worker shares.
        ids: gives message ids.
        opened: the copy.
    """

    def __init__(self, shop: Workshop, ids: MessageIds, opened: OpenCopy) -> None:
        self._shop = shop
        self._ids = ids
        self._opened = opened
        self._decisions: Decisions | None = None

    async def settle(self, attempt: Attempt, recipient: Recipient) -> bool:
        """Do the recipient's task; False when it has none, or one that goes on to routing."""
        if not recipient.task:
            return False
        try:
            task: Task = decode_task(recipient.task)
        except msgspec.MsgspecError as error:
            self._shop.alarm(f"a recipient's task cannot be read: {error}")
            attempt.result(recipient, Status(451, "4.3.0", "the task cannot be read"))
            return True
        match task:
            case Forward() | Onward():
                return False
            case Bounce():
                attempt.refuse(recipient, Status(550, "5.7.1", _one_line(task.reason)))
            case Refused():
                attempt.refuse(recipient, Status(550, task.enhanced, task.text))
            case Answer():
                attempt.result(recipient, await self._answer(task))
            case Note():
                attempt.result(recipient, await self._note(task, recipient))
            case Told():
                attempt.tell(recipient, _TAKEN, Kind.DELIVERED if task.final else Kind.EXPANDED)
        return True

    def decided(self, recipient: Recipient, targets: Iterable[Target], source: str | None = None) -> tuple[Target, ...]:
        """The targets when scripts have decided, and marked when the recipient is sent on by one.

        Args:
            recipient: that leads to them.
            targets: what routing found.
            source: whose script is to be run, too; None: that of the channel the message came in on, for a recipient of its own.
        """
        found, rules = tuple(targets), self._shop.rules
        task = decode_task(recipient.task) if recipient.task else None
        if source is None:
            source = "" if task is not None else self._opened.envelope.source_channel
        if has_script(rules, source, found):
            by = task.by if isinstance(task, Forward) else ""
            found = self._scripts().targets(recipient.original, found, source, by)
        if not isinstance(task, Forward):
            return found
        mark = ListEdit(add=(f"{REDIRECTED}: <{task.by}>",))
        return tuple(msgspec.structs.replace(each, edit=mark.then(each.edit)) for each in found)

    def _scripts(self) -> Decisions:
        if self._decisions is None:
            shop, envelope = self._shop, self._opened.envelope
            octets = _start(self._opened.parts())
            now = shop.now()
            zone = time.localtime(now).tm_gmtoff // 60
            around = Surroundings(now, zone, None, shop.host, shop.rules.subaddress_char)
            message = Message(octets, envelope.size, header_end(octets))
            self._decisions = Decisions(shop.rules, envelope.sender, message, around, shop.alarm, user=envelope.user)
        return self._decisions

    async def _answer(self, task: Answer) -> Status:
        shop, envelope = self._shop, self._opened.envelope
        vacation = Vacation(
            owner=task.owner, mail=task.mail, addresses=frozenset(task.addresses), text=task.text, subject=task.subject,
            seconds=task.seconds, handle=task.handle, mime=task.mime, personal=task.personal,
        )  # fmt: skip
        answerer = Answerer(
            open_memory(shop.configuration), shop.enqueuer, self._ids, shop.now, shop.note, shop.log.process, shop.wording
        )
        try:
            reason = await answerer.answer(vacation, envelope, header_of(self._opened.parts()))
        except OSError as error:
            shop.alarm(f"a vacation answer could not be given: {error}")
            return Status(451, "4.3.0", f"vacation answer could not be given: {error.strerror or error}")
        return Status(250, "2.0.0", f"no vacation answer: {reason}") if reason else _ANSWERED

    async def _note(self, task: Note, recipient: Recipient) -> Status:
        """Tell the owner, unless he knows."""
        shop, now = self._shop, self._shop.now()
        memory, key = open_memory(shop.configuration), f"script fault\n{task.version}\n{task.fault.partition(':')[0]}"
        try:
            if not await asyncio.to_thread(memory.claim, task.owner, key, now, NOTE_SECONDS):
                return Status(250, "2.0.0", "the owner knows of the fault")
            try:
                await self._send_note(task, recipient.address, now)
            except OSError:
                await asyncio.to_thread(memory.release, task.owner, key)
                raise
        except OSError as error:
            shop.alarm(f"an owner could not be told of his script's fault: {error}")
            return Status(451, "4.3.0", f"the note could not be written: {error.strerror or error}")
        return _TOLD

    async def _send_note(self, task: Note, address: str, now: float) -> None:
        shop, identity = self._shop, self._ids.next()
        octets = note_octets(task.fault, address, shop.wording, f"<{identity}@{shop.wording.reporter}>", now)
        recipient = Recipient(0, 0, CHANNEL, address, address, intermediate=address, notify="NEVER")
        note = own_envelope(octets, recipient, self._opened.envelope, shop.wording, identity, now)
        await enqueue_own(shop.enqueuer, note, octets)


def _one_line(reason: str) -> str:
    """A reason as a notice can carry it."""
    text = " ".join("".join(char if char.isprintable() else " " for char in reason).split())
    return text[:_LONGEST_REASON] or "message rejected"


def _start(parts: Iterable[bytes]) -> bytes:
    """As much of a message as scripts look at."""
    held = bytearray()
    for part in parts:
        held += part
        if len(held) >= 2 * BODY_OCTETS:
            break
    return bytes(held[: 2 * BODY_OCTETS])
