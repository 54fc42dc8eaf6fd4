"""What expansion finds, enqueued as it is found: nobody's list is held in memory, no step is made twice (DURABILITY 4.7).

    add(recipient, targets)   collects; a host's MOST targets, or PENDING in all, are enqueued at once as a message of their own
    settle()                  enqueues the rest; every recipient that was added may be marked D

Targets are enqueued in groups of one sender, one edit and one host, so that n members on one store make ceil(n / MOST)
copies. Each final address of a recipient is enqueued once, also over a crash: see `ExpansionProgress`, which is written only
when a recipient needs more than one step. The body is the one that came, or what a group has made of it; one over 256 KiB
is a body file for each step. Text is added to one message at a time, which is then held in memory whole.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from posthouse.dialogue.stuffing import count_growth
from posthouse.journal.body_file import INLINE_LIMIT, BodyFile, BodyReference
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.mail.partial import fragment_of
from posthouse.mail.task import is_quiet
from posthouse.relay.channels.list_edit import edit_header, edit_whole
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.notices.notifier import header_of
from posthouse.relay.queue.expansion_progress import ExpansionProgress, fingerprint
from posthouse.relay.queue.names import log_path
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.copies import MOST, assign_copies
from posthouse.relay.routing.detour import detour
from posthouse.relay.routing.list_edit import ListEdit
from posthouse.relay.routing.list_success import of_member, told_of, wants_success
from posthouse.relay.routing.result import HELD_BY_TABLE, Target
from posthouse.trace.record import Action, Record

PENDING = 10_000


@dataclass(slots=True)
class _Found:
    """One recipient's targets that are not enqueued yet."""

    recipient: Recipient
    targets: list[tuple[Target, bool]] = field(default_factory=list)
    """with whether it is held"""
    seen: set[int] = field(default_factory=set)
    members: dict[bool, Target] = field(default_factory=dict)
    """one that came out of a group, by whether its copy has a sender of its own"""
    progress: ExpansionProgress | None = None


class Expander:
    """The expansion of one copy's recipients.

    Args:
        shop: what the worker shares.
        ids: gives message ids.
        opened: the copy.
        source: source channel of what is enqueued.
        channel: where the copy waited.
        editing: held while a message is in memory whole.
    """

    def __init__(
        self, shop: Workshop, ids: MessageIds, opened: OpenCopy, source: str, channel: str, editing: asyncio.Semaphore
    ) -> None:
        self._shop = shop
        self._ids = ids
        self._opened = opened
        self._source = source
        self._channel = channel
        self._editing = editing
        self.enqueued = 0
        """when the message came, Unix milliseconds, where that is not now"""
        channels = shop.rules.joined_channels
        self._joined = channels if channels and fragment_of(header_of(opened.parts())) is not None else frozenset()
        self._found: dict[int, _Found] = {}
        self._current: _Found | None = None

    async def begin(self, recipient: Recipient, *, resumed: bool) -> None:
        """What is added from now on is this recipient's.

        Args:
            recipient: of the copy.
            resumed: whether an earlier try may have enqueued some of it.

        Raises:
            OSError: its progress cannot be read.
        """
        found = self._current = _Found(recipient)

        def load() -> None:
            found.progress = self._progress(recipient)
            found.seen = found.progress.load()

        if resumed:
            await self._shop.loop.run_in_executor(None, load)

    def _progress(self, recipient: Recipient) -> ExpansionProgress:
        places = self._shop.places
        return ExpansionProgress(places.disk, places.journal, self._opened.envelope.id, recipient.id)

    async def add(self, targets: Iterable[Target], *, held: bool = False) -> None:
        """Take targets of the current recipient.

        Raises:
            OSError: what is full could not be enqueued.
        """
        found = self._current
        assert found is not None
        for target in detour(self._joined, targets) if self._joined else targets:
            if target.listed:
                found.members.setdefault(bool(target.sender), target)
            mark = _mark(target)
            if mark not in found.seen:
                found.seen.add(mark)
                found.targets.append((target, held or target.held))
        await self._enqueue_full(found)

    def end(self, *, accepted: bool) -> None:
        """The current recipient is through; what of it is not enqueued counts only when it was accepted."""
        found, self._current = self._current, None
        assert found is not None
        if accepted:
            wanted = found.members and wants_success(found.recipient.notify)
            told = told_of(self._shop.rules, found.recipient.original, found.members.values()) if wanted else None
            if told is not None and _mark(told) not in found.seen:
                found.targets.append((told, False))
            self._found[found.recipient.id] = found
            return
        self._found.pop(found.recipient.id, None)
        if found.progress is not None:
            found.progress.close()

    async def settle(self) -> None:
        """Enqueue the rest of all accepted recipients.

        Raises:
            OSError: it could not be; they stay to do.
        """
        await self._enqueue([(one.recipient, target, held) for one in self._found.values() for target, held in one.targets])

    async def close(self, *, settled: bool) -> None:
        """The recipients are marked: progress goes. Or they are not: it stays for the next try."""
        if self._current is not None:
            self._found[self._current.recipient.id] = self._current
            settled = False
        those = [one.progress for one in self._found.values() if one.progress is not None]

        def close() -> None:
            for progress in those:
                if settled:
                    progress.end()
                else:
                    progress.close()

        if those:
            await self._shop.loop.run_in_executor(None, close)

    async def _enqueue_full(self, found: _Found) -> None:
        """Enqueue every group that makes a whole copy, or all when too much waits."""
        if len(found.targets) < MOST:
            return
        groups: dict[tuple[str, str, str, bool], int] = {}
        for target, held in found.targets:
            key = (target.channel, target.host, target.sender, held)
            groups[key] = groups.get(key, 0) + 1
        whole = len(found.targets) >= PENDING
        full = {key for key, count in groups.items() if whole or count >= MOST}
        if not full:
            return
        now, later, taken = [], [], dict.fromkeys(full, 0)
        for target, held in found.targets:
            key = (target.channel, target.host, target.sender, held)
            if key in full and (whole or taken[key] < groups[key] // MOST * MOST):
                taken[key] += 1
                now.append((target, held))
            else:
                later.append((target, held))
        self._found.setdefault(found.recipient.id, found)
        await self._enqueue([(found.recipient, target, held) for target, held in now], last=False)
        found.targets = later

    async def _enqueue(self, wanted: Sequence[tuple[Recipient, Target, bool]], *, last: bool = True) -> None:
        """Make messages of these, one for each edit, and wait until they are durable; all but the last are written down."""
        by_edit: dict[ListEdit | None, list[tuple[Recipient, Target, bool]]] = {}
        for one in wanted:
            by_edit.setdefault(one[1].edit, []).append(one)
        left = len(by_edit)
        for edit, those in by_edit.items():
            left -= 1
            if edit is None:
                await self._submit(edit, those)
            else:
                async with self._editing:
                    await self._submit(edit, those)
            if left or not last:
                await self._shop.loop.run_in_executor(None, self._write_down, those)

    def _write_down(self, those: Sequence[tuple[Recipient, Target, bool]]) -> None:
        """In a thread: these are durable, the next step may begin."""
        marks: dict[int, list[int]] = {}
        for recipient, target, _ in those:
            marks.setdefault(recipient.id, []).append(_mark(target))
        for identity, fingerprints in marks.items():
            found = self._found[identity]
            found.progress = found.progress or self._progress(found.recipient)
            found.progress.add(fingerprints)

    async def _submit(self, edit: ListEdit | None, those: Sequence[tuple[Recipient, Target, bool]]) -> None:
        identity = self._ids.next()
        body, size, growth = await self._shop.loop.run_in_executor(None, self._body, identity, edit)
        envelope = self._envelope(identity, those, size, growth)
        answer: asyncio.Future[OSError | None] = self._shop.loop.create_future()
        if not self._shop.enqueuer.submit(envelope, body, answer.set_result):
            raise OSError(12, "too much waits for the journal")
        error = await answer
        if error is not None:
            raise error
        self._shop.note(self._records(envelope))

    def _body(self, identity: str, edit: ListEdit | None) -> tuple[Sequence[bytes] | BodyReference, int, int]:
        """In a thread: the body, its size and what stuffing adds."""
        envelope, growth = self._opened.envelope, self._opened.envelope.wire_growth
        parts: Iterable[bytes] = self._opened.parts()
        size = envelope.size
        if edit is not None and (edit.prefix or edit.suffix):
            whole = edit_whole(edit, b"".join(parts))
            parts, size, growth = (whole,), len(whole), count_growth(whole)
        elif edit is not None:
            old = header_of(self._opened.parts())
            new = edit_header(edit, old)
            parts, size = _with_header(parts, old, new), size - len(old) + len(new)
        if size <= INLINE_LIMIT:
            return tuple(parts), size, growth
        file = BodyFile(self._shop.places.disk, self._shop.places.body, identity)
        try:
            for part in parts:
                file.write(part)
            return file.finish(), size, growth
        except BaseException:
            file.abandon()
            raise

    def _envelope(self, identity: str, those: Sequence[tuple[Recipient, Target, bool]], size: int, growth: int) -> Envelope:
        old = self._opened.envelope
        copies = assign_copies(self._shop.rules.imta.channels, [target for _, target, _ in those])
        recipients = tuple([
            Recipient(
                id=place, copy=copy, channel=target.channel, address=target.address,
                original=target.shown or recipient.original, host=target.host, orcpt="" if target.shown else recipient.orcpt,
                notify=_notify(recipient, target),
                quota=target.quota, flags=target.flags,
                intermediate=target.intermediate, held=held, sender=target.sender, answers=target.answers,
                task=target.task, imap_flags=target.imap_flags, why=(target.why_held or HELD_BY_TABLE) if held else "",
            )
            for place, (copy, (recipient, target, held)) in enumerate(zip(copies, those, strict=True))
        ])  # fmt: skip
        return Envelope(
            id=identity, sender=old.sender, source_channel=self._source, source=old.source,
            enqueued=self.enqueued or int(self._shop.now() * 1000), size=size, recipients=recipients, message_id=old.message_id,
            priority=old.priority, eight_bit=old.eight_bit, utf8=old.utf8, envid=old.envid, ret=old.ret, user=old.user,
            wire_growth=growth, about=old.about,
        )  # fmt: skip

    def _records(self, new: Envelope) -> list[Record]:
        """One for each recipient; `ab` ties the new message to the old one or, for a notice, to what it is about."""
        shop, stamp, old = self._shop, self._shop.stamp(), self._opened.envelope.id
        out = []
        for recipient in new.recipients:
            settings = shop.settings.get(recipient.channel)
            subdirs = settings.channel.subdirs if settings else 0
            file = log_path(shop.wording.queue_folder, recipient.channel, subdirs, new.id, recipient.copy, 0)
            record = Record(
                ts=stamp, ac=Action.ENQUEUED, sc=self._channel, dc=recipient.channel, sz=-(-new.size // 1024),
                so=recipient.sender or new.sender, od=recipient.asked, de=recipient.address,
                fi=file, ei=new.id, ri=recipient.id, mi=new.message_id, pi=shop.log.process, ho=recipient.host,
                ia=recipient.intermediate, ab=new.about or old,
            )  # fmt: skip
            out.append(record)
        return out


def _notify(recipient: Recipient, target: Target) -> str:
    if target.answers or is_quiet(target.task):
        return "NEVER"
    if target.shown:
        return ""
    return of_member(recipient.notify) if target.listed else recipient.notify


def _mark(target: Target) -> int:
    again = f"\n{target.repeat}" if target.repeat else ""
    return fingerprint(target.channel, target.address + target.task + again)


def _with_header(parts: Iterable[bytes], old: bytes, new: bytes) -> Iterable[bytes]:
    """The parts with the first octets replaced."""
    yield new
    left = len(old)
    for part in parts:
        if left < len(part):
            yield part[left:]
        left = max(0, left - len(part))
