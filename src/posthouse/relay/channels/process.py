"""`process` and `reprocess`: recipients go through routing again, and the message is enqueued anew for where they lead.

Order (DURABILITY 4.7): the new message is durable, then the old recipient is marked D. The new message carries the same octets
and sender and a new id; `about` keeps the chain to the message a notice is about. A refusal for good is treated as a server's:
the sender is told, the null sender is not (`K`). A directory that does not know is temporary.
"""

import asyncio
from collections.abc import Sequence

from posthouse.journal.body_file import INLINE_LIMIT, BodyFile, BodyReference
from posthouse.mail.address import Address, AddressError, parse_address
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.drive import drive
from posthouse.relay.queue.names import log_path
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.copies import assign_copies
from posthouse.relay.routing.result import Accepted, Rejected, Routed, RouteRequest, Target
from posthouse.relay.routing.route import route_recipient
from posthouse.trace.record import Action, Record

AT_ONCE = 20
_DONE = Status(250, "2.0.0", "re-enqueued")
_FULL = Status(452, "4.3.1", "insufficient system storage")


class Process:
    """The program for one worker.

    Args:
        shop: what the worker shares.
        directory: started.
        ids: gives message ids.
    """

    def __init__(self, shop: Workshop, directory: Directory, ids: MessageIds) -> None:
        self._shop = shop
        self.directory = directory
        self._ids = ids
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = asyncio.Semaphore(AT_ONCE)

    @property
    def busy(self) -> bool:
        """Whether a message is under way."""
        return bool(self._tasks)

    def put(self, attempt: Attempt, opened: OpenCopy) -> None:
        """Take a copy; its attempt is ended when it has been enqueued anew."""
        task = self._shop.loop.create_task(self._run(attempt, opened))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, attempt: Attempt, opened: OpenCopy) -> None:
        async with self._limit:
            recipients = opened.recipients
            try:
                await self._reroute(attempt, opened, recipients)
            except Exception as error:
                self._shop.alarm(f"{attempt.lease.channel}: {error!r}")
            attempt.end()  # whoever has no result stays to do

    async def _reroute(self, attempt: Attempt, opened: OpenCopy, recipients: Sequence[Recipient]) -> None:
        envelope, channel = opened.envelope, attempt.lease.channel
        source = envelope.source_channel if channel.startswith("reprocess") else channel
        accepted: list[tuple[Recipient, Accepted]] = []
        for recipient in recipients:
            routed = await self._route(envelope, recipient, source, reprocess=channel.startswith("reprocess"))
            if isinstance(routed, Rejected):
                attempt.result(recipient, routed.status)
            else:
                accepted.append((recipient, routed))
        if not accepted:
            return
        new = self._envelope(envelope, accepted, source)
        error = await self._enqueue(new, opened)
        if error is None:
            self._shop.note(self._records(new, envelope.id, channel))
        for recipient, _ in accepted:
            attempt.result(recipient, _DONE if error is None else _FULL)

    async def _route(self, envelope: Envelope, recipient: Recipient, source: str, *, reprocess: bool) -> Routed:
        address = self._without_own_route(recipient)
        request = RouteRequest(
            sender=envelope.sender, recipient=address, source_channel=source, now=self._shop.now(), size=envelope.size,
            from_reprocess=reprocess, unique=self._ids.next(),
        )  # fmt: skip
        return await drive(route_recipient(self._shop.rules, request), self.directory)

    def _without_own_route(self, recipient: Recipient) -> str:
        """`@hold-daemon:user@domain`, queued on hold, goes back to routing as `user@domain`."""
        try:
            parsed = parse_address(recipient.address)
        except AddressError:
            return recipient.address
        own = {host.lower() for host in self._shop.settings[recipient.channel].channel.hosts}
        if parsed.route and parsed.route[0].lower() in own:
            parsed = Address(parsed.route[1:], parsed.local, parsed.domain)
        return str(parsed)

    def _envelope(self, old: Envelope, accepted: list[tuple[Recipient, Accepted]], source: str) -> Envelope:
        pairs: list[tuple[Recipient, Target, bool]] = [
            (recipient, target, routed.hold) for recipient, routed in accepted for target in routed.recipients
        ]
        copies = assign_copies(self._shop.rules.imta.channels, [target for _, target, _ in pairs])
        recipients = tuple(
            Recipient(
                id=place, copy=copy, channel=target.channel, address=target.address, original=recipient.original,
                host=target.host, orcpt=recipient.orcpt, notify=recipient.notify, quota=target.quota, flags=target.flags,
                intermediate=target.intermediate, held=target.held or hold,
            )
            for place, (copy, (recipient, target, hold)) in enumerate(zip(copies, pairs, strict=True))
        )  # fmt: skip
        return Envelope(
            id=self._ids.next(), sender=old.sender, source_channel=source, source=old.source,
            enqueued=int(self._shop.now() * 1000), size=old.size, recipients=recipients, message_id=old.message_id,
            priority=old.priority, eight_bit=old.eight_bit, utf8=old.utf8, envid=old.envid, ret=old.ret, user=old.user,
            wire_growth=old.wire_growth, about=old.about,
        )  # fmt: skip

    async def _enqueue(self, envelope: Envelope, opened: OpenCopy) -> OSError | None:
        body: Sequence[bytes] | BodyReference
        if envelope.size > INLINE_LIMIT:
            try:
                body = await self._shop.loop.run_in_executor(None, self._copy_body, envelope.id, opened)
            except OSError as error:
                return error
        else:
            body = tuple(opened.parts())
        answer: asyncio.Future[OSError | None] = self._shop.loop.create_future()
        if not self._shop.enqueuer.submit(envelope, body, answer.set_result):
            return OSError(12, "too much waits for the journal")
        return await answer

    def _copy_body(self, name: str, opened: OpenCopy) -> BodyReference:
        """In a thread."""
        file = BodyFile(self._shop.places.disk, self._shop.places.body, name)
        try:
            for part in opened.parts():
                file.write(part)
            return file.finish()
        except BaseException:
            file.abandon()
            raise

    def _records(self, new: Envelope, old: str, channel: str) -> list[Record]:
        """One for each recipient; `ab` ties the new message to the old one or, for a notice, to what it is about."""
        shop, stamp = self._shop, self._shop.stamp()
        out = []
        for recipient in new.recipients:
            settings = shop.settings.get(recipient.channel)
            subdirs = settings.channel.subdirs if settings else 0
            file = log_path(shop.wording.queue_folder, recipient.channel, subdirs, new.id, recipient.copy, 0)
            record = Record(
                ts=stamp, ac=Action.ENQUEUED, sc=channel, dc=recipient.channel, sz=-(-new.size // 1024), so=new.sender,
                od=recipient.orcpt or f"rfc822;{recipient.original}", de=recipient.address, fi=file, ei=new.id, ri=recipient.id,
                mi=new.message_id, pi=shop.log.process, ho=recipient.host, ia=recipient.intermediate, ab=new.about or old,
            )  # fmt: skip
            out.append(record)
        return out
