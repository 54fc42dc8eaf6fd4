"""Vacation answers from the directory: given when the recipient made by the `!` clause is swallowed (directory.md 10).

The user is looked up again, so that what he has written down by now counts: when his dates have passed, his text is gone or
he himself, nobody is answered. The answer is durable before the recipient is settled. A directory that does not answer, and
an answer that cannot be enqueued, leave the recipient to do; a memory that cannot be used means no answer and an alarm.
"""

import asyncio
from pathlib import Path

from posthouse.config.configuration import Configuration
from posthouse.journal.body_file import INLINE_LIMIT
from posthouse.mail.address import AddressError, parse_address
from posthouse.mail.envelope import Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.bitbucket import SWALLOWED
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.drive import drive
from posthouse.relay.directory.question import Domain, Entry
from posthouse.relay.notices.answer_memory import CLEANUP, FileAnswerMemory, folder_of, template_of
from posthouse.relay.notices.answerer import Answerer
from posthouse.relay.notices.autoreply import DEFAULT_HOURS, Absence, vacation_of
from posthouse.relay.notices.notifier import header_of
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.inquiry import AmbiguousEntry, Asking, Inquiry, NoAnswer
from posthouse.relay.routing.lookup import FoundEntry, find_owner
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.standing import standing

AT_ONCE = 20
_ANSWERED = Status(250, "2.0.0", "discarded; vacation answer sent")


def open_memory(configuration: Configuration) -> FileAnswerMemory:
    """The memory of answers as VACATION_TEMPLATE and VACATION_CLEANUP say.

    Raises:
        ClauseError: the template is none; the configuration check finds that before.
    """
    options, instance = configuration.options, configuration.instance
    template = options.text("VACATION_TEMPLATE")
    places = template_of(template, instance.root) if template else folder_of(Path(instance.data) / "vacation")
    return FileAnswerMemory(places, options.integer("VACATION_CLEANUP", CLEANUP))


class AutoReply:
    """The answers of one worker.

    Args:
        shop: what the worker shares.
        ids: gives message ids.
    """

    def __init__(self, shop: Workshop, ids: MessageIds) -> None:
        self._shop = shop
        self._ids = ids
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = asyncio.Semaphore(AT_ONCE)

    def put(self, attempt: Attempt, opened: OpenCopy, directory: Directory) -> None:
        """Take a copy; its attempt is ended when everybody has been answered who is to be."""
        task = self._shop.loop.create_task(self._run(attempt, opened, directory))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, attempt: Attempt, opened: OpenCopy, directory: Directory) -> None:
        async with self._limit:
            try:
                for recipient in opened.recipients:
                    status = await self._answer(opened, recipient, directory) if recipient.answers else SWALLOWED
                    attempt.result(recipient, status)
            except Exception as error:
                self._shop.alarm(f"{attempt.lease.channel}: {error!r}")
            attempt.end()  # whoever has no result stays to do

    async def _answer(self, opened: OpenCopy, recipient: Recipient, directory: Directory) -> Status:
        shop, envelope = self._shop, opened.envelope
        header = header_of(opened.parts())
        asking = absence_of(shop.rules, recipient.intermediate, envelope.sender, shop.now())
        try:
            found = await drive(asking, directory)
        except NoAnswer as silence:
            return Status(450, "4.3.0", f"the directory does not answer: {silence}")
        if found is None:
            return Status(250, "2.0.0", "discarded; no vacation answer: the user is not away any more")
        domain, entry, internal = found
        options, canonical = shop.configuration.options, domain.canonical
        owner = entry.uid if canonical == shop.rules.default_domain else f"{entry.uid}@{canonical}"
        hours = options.integer("AUTOREPLY_TIMEOUT_DEFAULT", DEFAULT_HOURS)
        reached = (recipient.intermediate, recipient.original)
        vacation = vacation_of(Absence(domain, entry, owner, header, reached, internal, hours))
        if vacation is None:
            return Status(250, "2.0.0", "discarded; no vacation answer: there is no text")
        answerer = Answerer(
            open_memory(shop.configuration), shop.enqueuer, self._ids, shop.now, shop.note, shop.log.process, shop.wording
        )
        whole = b"".join(opened.parts()) if vacation.echo and envelope.size <= INLINE_LIMIT else None
        try:
            reason = await answerer.answer(vacation, envelope, header, whole)
        except OSError as error:
            shop.alarm(f"a vacation answer could not be given: {error}")
            return Status(451, "4.3.0", f"vacation answer could not be given: {error.strerror or error}")
        return Status(250, "2.0.0", f"discarded; no vacation answer: {reason}") if reason else _ANSWERED


def absence_of(rules: Rules, address: str, sender: str, now: float) -> Asking[tuple[Domain, Entry, bool] | None]:
    """The user with this address, if he is away now, and whether the sender's domain is his.

    Raises:
        NoAnswer: the directory is silent.
    """
    inquiry = Inquiry()
    try:
        parsed = parse_address(address)
        owner = yield from find_owner(rules, inquiry, parsed.local, parsed.domain)
    except (AddressError, AmbiguousEntry):
        return None
    if not isinstance(owner, FoundEntry):
        return None
    if not any(clause.autoreply for clause in standing(rules, owner.domain, owner.entry, now).clauses):
        return None
    theirs = yield from inquiry.domain(sender.rpartition("@")[2])
    return owner.domain, owner.entry, theirs is not None and theirs.canonical == owner.domain.canonical
