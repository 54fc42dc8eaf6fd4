"""`process` and `reprocess`: recipients go through routing again, and the message is enqueued anew for where they lead.

Order (DURABILITY 4.7): the new message is durable, then the old recipient is marked D. The new message carries the same octets
and sender and a new id, unless a group changes them; `about` keeps the chain to the message a notice is about. A refusal for
good is treated as a server's: the sender is told, the null sender is not (`K`). A directory that does not know is temporary.

On `reprocess` nothing is put off any more: groups of any size are expanded, and enqueued while they are (expander.py).
"""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from posthouse.mail.envelope import Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.expander import Expander
from posthouse.relay.channels.script_tasks import ScriptTasks
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.question import Absent, Answer
from posthouse.relay.notices.notifier import header_of
from posthouse.relay.notices.vacation import original_field
from posthouse.relay.queue.expansion_progress import sweep
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.result import Ahead, Batch, Rejected, Routed, RouteRequest
from posthouse.relay.routing.route import stream_recipient
from posthouse.relay.routing.target import without_own_route

AT_ONCE = 20
TURN = 50
"""members of a group after which others get their turn"""
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
        self._editing = asyncio.Semaphore(1)
        with contextlib.suppress(OSError):
            sweep(shop.places.disk, shop.places.journal, shop.now())

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
        channel = attempt.lease.channel
        reprocess = channel.startswith("reprocess")
        source = opened.envelope.source_channel if reprocess else channel
        expander = Expander(self._shop, self._ids, opened, source, channel, self._editing)
        request = self._request(opened, source, reprocess=reprocess)
        scripts = ScriptTasks(self._shop, self._ids, opened)
        accepted: list[Recipient] = []
        settled = False
        try:
            for recipient in recipients:
                if recipient.task and await scripts.settle(attempt, recipient):
                    continue
                await expander.begin(recipient, resumed=reprocess)
                routed = await self._route(request, recipient, expander, scripts)
                if isinstance(routed, Rejected):
                    attempt.result(recipient, routed.status)
                else:
                    await expander.add(scripts.decided(recipient, routed.recipients), held=routed.hold)
                    accepted.append(recipient)
                expander.end(accepted=not isinstance(routed, Rejected))
            await expander.settle()
            settled = True
        except OSError as error:
            self._shop.alarm(f"{channel}: {error}")
        finally:
            for recipient in accepted:
                attempt.result(recipient, _DONE if settled else _FULL)
            await expander.close(settled=settled)

    def _request(self, opened: OpenCopy, source: str, *, reprocess: bool) -> RouteRequest:
        envelope = opened.envelope
        header = header_of(opened.parts()) if reprocess else None
        return RouteRequest(
            sender=envelope.sender, recipient="", source_channel=source, now=self._shop.now(), size=envelope.size,
            from_reprocess=reprocess, streaming=True, authenticated=envelope.user, header=header,
            approved=original_field(header, "approved") if header is not None else None, unique=self._ids.next(),
            lines=self._lines(opened),
        )  # fmt: skip

    def _lines(self, opened: OpenCopy) -> int | None:
        """Where a channel limits them; a notice may be longer than what it is about."""
        if not self._shop.rules.line_limits or not opened.envelope.sender:
            return None
        return sum(part.count(b"\n") for part in opened.parts())

    async def _route(self, request: RouteRequest, recipient: Recipient, expander: Expander, scripts: ScriptTasks) -> Routed:
        """Decide one recipient, targets enqueued as they are found."""
        address = without_own_route(recipient.address, self._shop.settings[recipient.channel].channel.hosts)
        asked = msgspec.structs.replace(request, recipient=address, redirected=bool(recipient.task))
        deciding = stream_recipient(self._shop.rules, asked)
        answer: Answer | None = None
        steps = 0
        try:
            while True:
                step = next(deciding) if answer is None else deciding.send(answer)
                steps += 1
                if isinstance(step, Batch):
                    await expander.add(scripts.decided(recipient, step.targets))
                    answer = Absent()
                elif isinstance(step, Ahead):
                    self._ask_ahead(step)
                    answer = Absent()
                else:
                    answer = self.directory.cached(step) or await self.directory.answer(step)
                if steps % TURN == 0:
                    await asyncio.sleep(0)
        except StopIteration as stop:
            routed: Routed = stop.value
            return routed

    def _ask_ahead(self, ahead: Ahead) -> None:
        """Set the searches going; each answer is in the cache, or on its way, when it is asked for."""
        for question in ahead.questions:
            if self.directory.cached(question) is None:
                self.directory.ask(question, _heard)


def _heard(answer: Answer) -> None:
    """The cache has it."""
    del answer
