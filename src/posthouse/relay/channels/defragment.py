"""`defragment`: parts of messages wait here until all are there, and go on as the whole message (RFC 2046 5.2.2, queue.md 6).

* A part's memory is its copy in the queue, as durable as any mail; what is known of sets is only an index of it, at most SETS
  sets, made anew from the parts as they are tried. Parts of one message have its id, sender and recipients in common.
* The last one to come has the others called (as `queue retry` would) and keeps its lease until all are leased; then the whole is
  enqueued, durable, and only then every part is marked D (DURABILITY 4.7). A crash in between joins them once more.
* What cannot be joined goes on as it is, as a message of its own: a part that comes twice or contradicts the others, one whose
  whole would be over LARGEST, and every part of a set that is 4 days old or at its channel's last `notices` age.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from posthouse.dialogue.stuffing import count_growth
from posthouse.journal.body_file import INLINE_LIMIT, BodyFile, BodyReference
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.mail.partial import Fragment, fragment_of, joined, split
from posthouse.mail.status import Status
from posthouse.mail.task import Onward, decode_task
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.client import ControllerDown, request
from posthouse.relay.job_controller.local_socket import NAME
from posthouse.relay.notices.notifier import header_of
from posthouse.relay.notices.vacation import original_field
from posthouse.relay.queue.names import log_path
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.copies import assign_copies
from posthouse.relay.routing.result import Target
from posthouse.trace.record import Action, Record

OLDEST = 4 * 86_400.0
"""seconds after which a part goes on as it is"""
LARGEST = 32 << 20
"""octets of a whole message"""
SETS = 10_000
CALL_SECONDS = 2.0
GATHER_SECONDS = 20.0
"""how long the others may take to come once they are called"""
_FULL = Status(452, "4.3.1", "insufficient system storage")


class _Part(msgspec.Struct):
    """A part that was seen; under way while it has an attempt."""

    message: str
    size: int
    attempt: Attempt | None = None
    opened: OpenCopy | None = None


@dataclass(slots=True)
class _Set:
    """The parts of one message."""

    total: int = 0
    parts: dict[int, _Part] = field(default_factory=dict)
    hopeless: bool = False
    """its parts go on as they are"""
    since: float = 0.0
    """loop time at which the last one came"""
    called: float = 0.0

    @property
    def complete(self) -> bool:
        return bool(self.total) and len(self.parts) == self.total

    @property
    def leased(self) -> bool:
        return all(part.attempt is not None for part in self.parts.values())


class Defragment:
    """The parts one worker has seen.

    Args:
        shop: what the worker shares.
        ids: gives message ids.
    """

    def __init__(self, shop: Workshop, ids: MessageIds) -> None:
        self._shop = shop
        self._ids = ids
        self._sets: dict[tuple[str, ...], _Set] = {}
        self._joining = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, attempt: Attempt, opened: OpenCopy) -> None:
        """Take a copy; its attempt is ended when it waits on, has been joined or has gone on."""
        envelope = opened.envelope
        fragment = fragment_of(header_of(opened.parts()))
        old = self._shop.now() - envelope.enqueued / 1000 >= OLDEST
        if fragment is None or old:
            self.release(attempt, opened)
            return
        key = _key(fragment, opened)
        known = self._sets.pop(key, None) or _Set()
        self._sets[key] = known  # the ones seen last stay
        while len(self._sets) > SETS:
            self._forget(next(iter(self._sets)))
        if not self._fits(known, fragment, envelope):
            self.release(attempt, opened)
            return
        known.parts[fragment.number] = _Part(envelope.id, envelope.size, attempt, opened)
        known.total = known.total or fragment.total
        if not known.complete:
            self._wait_on(known, fragment)
        elif known.leased:
            self._start(self._join(key, known))
        else:
            known.since = known.since or self._shop.loop.time()
            self._call(known)

    def release(self, attempt: Attempt, opened: OpenCopy) -> None:
        """Send a part on as it is."""
        fragment = fragment_of(header_of(opened.parts()))
        known = self._sets.get(_key(fragment, opened)) if fragment is not None else None
        if known is not None and any(part.message == opened.envelope.id for part in known.parts.values()):
            known.hopeless = True
        self._start(self._pass_on(attempt, opened))

    def tick(self) -> None:
        """Once a second: call parts that do not come; give up what takes too long."""
        now = self._shop.loop.time()
        for known in tuple(self._sets.values()):
            if not known.since:
                continue
            if now - known.since > GATHER_SECONDS:
                self._give_back(known, Status(451, "4.3.0", "the other parts could not be had"))
                known.parts = {number: part for number, part in known.parts.items() if part.attempt is not None}
                self._lease_over(known)
            elif now - known.called > CALL_SECONDS:
                self._call(known)

    def drain(self) -> None:
        """Hand back what is kept for others."""
        for known in self._sets.values():
            for part in known.parts.values():
                if part.attempt is not None and known.since:
                    part.attempt.verdict = Verdict.AGAIN
                    part.attempt.end()
                    part.attempt = part.opened = None
            known.since = 0.0

    @staticmethod
    def _fits(known: _Set, fragment: Fragment, envelope: Envelope) -> bool:
        """Whether the part can become part of the whole."""
        there = known.parts.get(fragment.number)
        if there is not None and there.message != envelope.id:
            return False
        total = known.total or fragment.total
        if (fragment.total and fragment.total != total) or (total and max((fragment.number, *known.parts)) > total):
            return False
        size = sum(part.size for number, part in known.parts.items() if number != fragment.number) + envelope.size
        if size > LARGEST:
            known.hopeless = True
        return not known.hopeless

    def _wait_on(self, known: _Set, fragment: Fragment) -> None:
        part = known.parts[fragment.number]
        assert part.attempt is not None
        assert part.opened is not None
        text = f"waits for the other parts of the message: {len(known.parts)} of {known.total or 'unknown'} are here"
        for recipient in part.opened.recipients:
            part.attempt.result(recipient, Status(451, "4.3.0", text))
        part.attempt.end()
        part.attempt = part.opened = None

    def _give_back(self, known: _Set, status: Status) -> None:
        for part in known.parts.values():
            if part.attempt is None or part.opened is None:
                continue
            for recipient in part.opened.recipients:
                part.attempt.result(recipient, status)
            part.attempt.end()

    @staticmethod
    def _lease_over(known: _Set) -> None:
        known.since = 0.0
        for part in known.parts.values():
            part.attempt = part.opened = None

    def _forget(self, key: tuple[str, ...]) -> None:
        known = self._sets.pop(key)
        if known.since:
            self._give_back(known, Status(451, "4.3.0", "too many messages wait for parts"))

    def _call(self, known: _Set) -> None:
        """Have the parts that wait tried now."""
        known.called = self._shop.loop.time()
        wanted = [part.message for part in known.parts.values() if part.attempt is None]
        path = self._shop.configuration.instance.run / NAME

        def ask() -> None:
            try:
                request(path, "retry", 5.0, ids=wanted)
            except ControllerDown as error:
                self._shop.loop.call_soon_threadsafe(self._shop.alarm, f"parts of a message cannot be called: {error}")

        self._shop.loop.run_in_executor(None, ask)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = self._shop.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _join(self, key: tuple[str, ...], known: _Set) -> None:
        """Enqueue the whole, then settle its parts."""
        del self._sets[key]
        numbers = sorted(known.parts)
        those = [known.parts[number] for number in numbers]
        opened = [part.opened for part in those if part.opened is not None]
        try:
            async with self._joining:
                whole = await self._shop.loop.run_in_executor(None, _whole, opened)
                status = await self._enqueue(opened, whole)
        except Exception as error:
            self._shop.alarm(f"defragment: {error!r}")
            status = _FULL
        self._give_back(known, status)

    async def _pass_on(self, attempt: Attempt, opened: OpenCopy) -> None:
        try:
            status = await self._enqueue([opened], None)
            for recipient in opened.recipients:
                attempt.result(recipient, status)
        except Exception as error:
            self._shop.alarm(f"defragment: {error!r}")
        attempt.end()  # whoever has no result stays to do

    async def _enqueue(self, opened: Sequence[OpenCopy], whole: bytes | None) -> Status:
        """Make it a message on the way its recipients were on; whole None: the one as it is."""
        shop, identity = self._shop, self._ids.next()
        first = opened[0].envelope
        size, growth = (first.size, first.wire_growth) if whole is None else (len(whole), count_growth(whole))
        envelope = msgspec.structs.replace(
            first, id=identity, source_channel="defragment", enqueued=int(shop.now() * 1000), size=size, wire_growth=growth,
            recipients=self._onward(opened[0].recipients), about=first.about or first.id,
        )  # fmt: skip
        if whole is not None:
            envelope = msgspec.structs.replace(
                envelope, message_id=original_field(split(whole)[0], "message-id")[:255],
                eight_bit=any(each.envelope.eight_bit for each in opened), utf8=any(each.envelope.utf8 for each in opened),
            )  # fmt: skip
        parts = opened[0].parts() if whole is None else (whole,)
        body = await shop.loop.run_in_executor(None, self._body, identity, size, parts)
        answer: asyncio.Future[OSError | None] = shop.loop.create_future()
        if not shop.enqueuer.submit(envelope, body, answer.set_result):
            return _FULL
        error = await answer
        if error is not None:
            shop.alarm(f"defragment: {error}")
            return _FULL
        shop.note(self._records(envelope))
        return Status(250, "2.0.0", f"part of {identity}" if whole is not None else f"sent on as it is: {identity}")

    def _onward(self, recipients: Iterable[Recipient]) -> tuple[Recipient, ...]:
        """The same recipients on their own channels."""
        channels = self._shop.rules.imta.channels
        found = []
        for each in recipients:
            task = decode_task(each.task)
            if not isinstance(task, Onward) or task.channel not in channels:
                raise TypeError(f"{each.address} is on its way to no channel")
            found.append((task.channel, each))
        copies = assign_copies(channels, [Target(name, each.address, each.host, held=each.held) for name, each in found])
        return tuple(
            msgspec.structs.replace(each, id=place, copy=copy, channel=name, task="")
            for place, (copy, (name, each)) in enumerate(zip(copies, found, strict=True))
        )

    def _body(self, identity: str, size: int, parts: Iterable[bytes]) -> tuple[bytes, ...] | BodyReference:
        """In a thread."""
        if size <= INLINE_LIMIT:
            return tuple(parts)
        file = BodyFile(self._shop.places.disk, self._shop.places.body, identity)
        try:
            for part in parts:
                file.write(part)
            return file.finish()
        except BaseException:
            file.abandon()
            raise

    def _records(self, new: Envelope) -> list[Record]:
        shop, stamp, out = self._shop, self._shop.stamp(), []
        for each in new.recipients:
            settings = shop.settings.get(each.channel)
            subdirs = settings.channel.subdirs if settings else 0
            file = log_path(shop.wording.queue_folder, each.channel, subdirs, new.id, each.copy, 0)
            record = Record(
                ts=stamp, ac=Action.ENQUEUED, sc="defragment", dc=each.channel, sz=-(-new.size // 1024), so=new.sender,
                od=each.asked, de=each.address, fi=file, ei=new.id, ri=each.id,
                mi=new.message_id, pi=shop.log.process, ho=each.host, ia=each.intermediate, ab=new.about,
            )  # fmt: skip
            out.append(record)
        return out


def _key(fragment: Fragment, opened: OpenCopy) -> tuple[str, ...]:
    return (fragment.id, opened.envelope.sender, *sorted(each.address for each in opened.recipients))


def _whole(opened: Iterable[OpenCopy]) -> bytes:
    """In a thread: the message the parts make."""
    return joined([b"".join(each.parts()) for each in opened])
