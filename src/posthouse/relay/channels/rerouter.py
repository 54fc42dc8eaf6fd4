"""`posthouse queue reroute`: the directory is asked anew where a waiting copy's recipients live (queue.md 6, decision 170).

    waits for a mailbox       its owner's address is asked about: it goes where his mailbox is now, into the same folder; his
                              forwards, answers and programs were seen to when the message came, and his script has decided
    to another machine        nothing has been done yet: its address without the route is decided like that of a new message
    waits on `hold`           the same, as a release does it
    anything else             stays: the world's mail, programs, notices, what a script or a group still has to do

The new message has the sender, the DSN parameters and the age of the old one, and is held where the copy is, unless for its
recipient's status only (decision 180). It is durable before the old recipients are marked D (DURABILITY 4.7). No cache counts: a
directory is opened for the orders at hand, and closed again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from posthouse.mail.address import Address, parse_address, quote, unquote
from posthouse.mail.envelope import Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.expander import Expander
from posthouse.relay.channels.script_tasks import ScriptTasks
from posthouse.relay.channels.unreadable import open_leased
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.open import open_directory
from posthouse.relay.directory.question import Answer, Entry, Found
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.programs import Program
from posthouse.relay.job_controller.protocol import HELD_BY_OPERATOR, Job, Lease, Result
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.queue.queue_file import OpenQueueFile
from posthouse.relay.routing.result import ON_HOLD, Rejected, Routed, RouteRequest, Target
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.target import without_route
from posthouse.relay.scripts.decisions import TRUSTED_FOLDER
from posthouse.relay.scripts.fileinto import inbox_address

AT_ONCE = 20
_DONE = Status(250, "2.0.0", "rerouted")
_STORES = (Program.LMTP, Program.STORE)


class Stays(NamedTuple):
    """A recipient is left as he is; code: of a reply, where another try may help."""

    reason: str = ""
    code: int = 0


Wanted = tuple[Recipient, tuple[Target, ...], bool]
"""a recipient, where he goes, and whether he is held there"""


class Rerouter:
    """The orders of one worker.

    Args:
        shop: what the worker shares.
        ids: gives message ids.
        ended: called when a lease is given back.
    """

    def __init__(self, shop: Workshop, ids: MessageIds, ended: Callable[[], None]) -> None:
        self._shop = shop
        self._ids = ids
        self._ended = ended
        self._waiting: deque[Lease] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._editing = asyncio.Semaphore(1)
        self._opening: asyncio.Task[Directory] | None = None

    def put(self, lease: Lease) -> None:
        """Take a lease; AT_ONCE copies are open at a time."""
        self._waiting.append(lease)
        self._next()

    def drain(self) -> None:
        """Hand back what has not begun."""
        while self._waiting:
            lease = self._waiting.popleft()
            self._shop.tell(Result(lease.key, Verdict.AGAIN, (), 451, "", "the worker ends", lease.file))
            self._ended()

    def _next(self) -> None:
        while self._waiting and len(self._tasks) < AT_ONCE:
            task = self._shop.loop.create_task(self._run(self._waiting.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._next()
        if not self._tasks and self._opening is not None:
            opened, self._opening = self._opening, None
            if opened.exception() is None:
                self._tasks.add(closing := self._shop.loop.create_task(opened.result().close()))
                closing.add_done_callback(self._tasks.discard)

    async def _directory(self) -> Directory:
        async def begin() -> Directory:
            directory = open_directory(self._shop.configuration)
            await directory.start()
            return directory

        if self._opening is None:
            self._opening = self._shop.loop.create_task(begin())
        return await asyncio.shield(self._opening)

    async def _run(self, lease: Lease) -> None:
        opened = open_leased(self._shop, lease)
        if opened is None:
            self._ended()
            return
        attempt = Attempt(self._shop, lease, opened, self._ended)
        try:
            wanted, stay = await self._ask(lease, opened)
            lease.code, lease.text = _summed(stay)
            if wanted and lease.job is Job.ASK:
                lease.text = _told(wanted, lease.text)
                attempt.leave(Verdict.REST)
                return
            if wanted:
                lease.some = lease.some or bool(stay)
                opened.narrow([recipient.id for recipient, *_ in wanted])
                await self._enqueue(attempt, opened, wanted)
        except Exception as error:
            self._shop.alarm(f"{lease.channel}: rerouting: {error}")
            lease.code, lease.text = 451, str(error)
        if attempt.untouched:
            attempt.leave()
        else:
            attempt.end()

    async def _ask(self, lease: Lease, opened: OpenCopy) -> tuple[list[Wanted], list[Stays]]:
        """Where everybody goes, and why the others stay."""
        directory, scripts = await self._directory(), ScriptTasks(self._shop, self._ids, opened)
        wanted, stay, why = [], [], _held_because(lease, opened)
        for recipient in opened.recipients:
            found = await self._decide(directory, scripts, opened, recipient)
            if isinstance(found, Stays):
                stay.append(found)
                continue
            targets, hold = found
            if why:
                targets = tuple(msgspec.structs.replace(each, held=True, why=why) for each in targets)
            wanted.append((recipient, targets, hold))
        return wanted, stay

    async def _decide(
        self, directory: Directory, scripts: ScriptTasks, opened: OpenCopy, recipient: Recipient
    ) -> tuple[tuple[Target, ...], bool] | Stays:
        program = self._program(recipient.channel)
        address = self._address(program, recipient)
        if not address and recipient.channel not in self._shop.configuration.imta.channels:
            return Stays(f"{recipient.original}: imta.cnf has no channel {recipient.channel}: reroute while it has")
        if not address:
            return Stays(f"{recipient.original} does not wait for a user's mailbox")
        fresh, envelope = program not in _STORES, opened.envelope
        request = RouteRequest(
            sender=envelope.sender, recipient=address, source_channel=envelope.source_channel, now=self._shop.now(),
            from_reprocess=True, authenticated=envelope.user, unique=self._ids.next(), at_home=not fresh,
        )  # fmt: skip
        routed, more = await self._route(directory, request)
        if isinstance(routed, Rejected):
            return Stays(f"{recipient.original}: {routed.status}", routed.status.code if routed.status.is_temporary else 0)
        if fresh:
            same = [each.address for each in routed.recipients] == [recipient.address]
            source = None if program is Program.PROCESS else ""  # the script of the channel it came in on was run
            return Stays() if same else (scripts.decided(recipient, routed.recipients, source), routed.hold)
        target = self._successor(recipient, routed.recipients)
        if target is None:
            return Stays(f"{recipient.original}: {address} has no mailbox, or more than one, that could take its place")
        if self._program(target.channel) in _STORES:
            target = self._in_the_same_folder(recipient, target)
        elif more:
            return Stays(f"{recipient.original}: {target.host} would do again what the user wants beside his mailbox")
        if (target.channel, target.address) == (recipient.channel, recipient.address):
            return Stays()
        return (target,), routed.hold

    def _program(self, channel: str) -> Program:
        settings = self._shop.settings.get(channel)
        return settings.program if settings is not None else Program.NONE

    def _address(self, program: Program, recipient: Recipient) -> str:
        """Whom to ask about; empty where nobody's mailbox is waited for."""
        if recipient.task or recipient.answers:
            return ""
        if program in _STORES:
            return recipient.intermediate
        if program is Program.SMTP or recipient.channel.startswith("hold"):
            return without_route(recipient.address) if recipient.address.startswith("@") else ""
        return ""

    async def _route(self, directory: Directory, request: RouteRequest) -> tuple[Routed, bool]:
        """What becomes of the address, and whether somebody on the way wants more than a mailbox."""
        deciding, more = route_recipient(self._shop.rules, request), False
        answer: Answer | None = None
        try:
            while True:
                question = next(deciding) if answer is None else deciding.send(answer)
                answer = await directory.answer(question)
                entry = answer.value if isinstance(answer, Found) else None
                more |= isinstance(entry, Entry) and _wants_more(entry)
        except StopIteration as stop:
            routed: Routed = stop.value
            return routed, more

    def _successor(self, recipient: Recipient, found: Sequence[Target]) -> Target | None:
        """The target that takes the recipient's place: of his own channel, else the only one that keeps mail."""
        keeping = (Program.LMTP, Program.STORE, Program.SMTP)
        those = [each for each in found if not (each.answers or each.listed)]
        those = [each for each in those if each.held or self._program(each.channel) in keeping]
        those = [each for each in those if each.channel == recipient.channel] or those
        if len(those) > 1:
            those = [each for each in those if without_route(each.address) == without_route(recipient.address)]
        return those[0] if len(those) == 1 else None

    def _in_the_same_folder(self, recipient: Recipient, target: Target) -> Target:
        """Scripts have decided about the recipient: where to and with which flags is not decided again."""
        separator, address = self._shop.rules.subaddress_char, target.address
        old, new = parse_address(recipient.address), parse_address(address)
        _, sign, folder = unquote(old.local).partition(separator)
        channel = self._shop.rules.imta.channels[target.channel]
        if not sign:
            address = inbox_address(address, separator)
        elif recipient.flags & TRUSTED_FOLDER and channel.value("fileinto"):
            mailbox = unquote(new.local).partition(separator)[0]
            address = str(Address(new.route, quote(mailbox + sign + folder), new.domain))
        return msgspec.structs.replace(
            target, address=address, flags=recipient.flags, imap_flags=recipient.imap_flags, filter=None
        )  # fmt: skip

    async def _enqueue(self, attempt: Attempt, opened: OpenCopy, wanted: Sequence[Wanted]) -> None:
        """The new message is durable when this returns, then the recipients have their marks.

        Raises:
            OSError: it is not.
        """
        channel = attempt.lease.channel
        expander = Expander(self._shop, self._ids, opened, opened.envelope.source_channel, channel, self._editing)
        program = self._program(channel)
        expander.enqueued = 0 if program is Program.PROCESS else opened.envelope.enqueued
        settled = False
        try:
            for recipient, targets, hold in wanted:
                await expander.begin(recipient, resumed=program not in _STORES)
                await expander.add(targets, held=hold)
                expander.end(accepted=True)
            await expander.settle()
            settled = True
            for recipient, *_ in wanted:
                attempt.result(recipient, _DONE)
        finally:
            await expander.close(settled=settled)


def _wants_more(entry: Entry) -> bool:
    return bool(entry.all("mailsieverulesource")) or any(each.lower() != "mailbox" for each in entry.all("maildeliveryoption"))


def _held_because(lease: Lease, opened: OpenCopy) -> str:
    """Why the copy is held beside its recipient's status, which the directory is asked for; empty when for nothing else."""
    if isinstance(opened, OpenQueueFile):
        held, why = lease.file.endswith(".HELD"), opened.held_because()
    else:
        held, why = opened.recipients[0].held, opened.recipients[0].why
    by_status = lease.channel.startswith("hold") and why in {"", ON_HOLD}
    return "" if by_status or not held else why or HELD_BY_OPERATOR


def _told(wanted: Sequence[Wanted], stays: str) -> str:
    """What a dry run says: the first who would go, and who stays."""
    recipient, targets, _ = wanted[0]
    more = f" (one of {len(wanted)})" if len(wanted) > 1 else ""
    where = f"{recipient.original} would go to {targets[0].host.removesuffix('.lmtp') or targets[0].channel}{more}"
    return f"{where}; {stays}" if stays else where


def _summed(stay: Sequence[Stays]) -> tuple[int, str]:
    """What the operator is told of those that stay: the first reason, and a reply's code where there is one."""
    said = [each for each in stay if each.reason]
    code = next((each.code for each in said if each.code), 0)
    more = f" ({len(said) - 1} others stay, too)" if len(said) > 1 else ""
    return code, said[0].reason + more if said else ""
