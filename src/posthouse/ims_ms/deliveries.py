"""`ims_ms`: copies of channel ims-ms go from the queue of this machine into its store, by the store's own rules.

One copy is one transaction of `store.delivery`: quota, folders, locks, single copy and the statuses of Table 16-1 are those of
LMTP. Order (DURABILITY 3.2, 3.6): the store has the message durably and in its mailbox, then the recipient is marked D. Killed
in between it is tried again, and with `store.dupcheck` told by message id and recipient id that it is there. What the store
refuses for good is returned to the sender from here; everything else stays in this queue and is tried again. A locked mailbox
is tried again soon, as over LMTP.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from posthouse.config.configuration import Configuration
from posthouse.dialogue.event import Fault
from posthouse.ims_ms.body import Streamed, whole
from posthouse.ims_ms.settings import DeliverySettings
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.unreadable import open_leased
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.programs import Program
from posthouse.relay.job_controller.protocol import HostUp, Lease
from posthouse.relay.notices.dsn import Kind
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.routing.connect import WireAddresses
from posthouse.store.delivery.delivery import RECORD_LIMIT
from posthouse.store.delivery.local_store import LocalStore
from posthouse.store.delivery.transaction import Addressee, Transaction
from posthouse.store.lmtp_server.status_table import IO_ERROR, message_fault, row_of
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError, MessageTooLarge
from posthouse.store.mailbox.owner import Target, parse_target
from posthouse.store.quota.limits import GivenLimits, parse_limits

if TYPE_CHECKING:
    from posthouse.dispatcher.trouble import Wrong
    from posthouse.mail.envelope import Recipient

KNOWN_UP = 20.0
"""seconds after which the controller is told again that the store takes mail"""
LARGE_AT_ONCE = 4
_log = logging.getLogger("posthouse.store")


class Job:
    """A copy under way: the caller's side of its transaction."""

    __slots__ = ("attempt", "opened", "recipients")

    def __init__(self, attempt: Attempt, opened: OpenCopy) -> None:
        self.attempt = attempt
        self.opened = opened
        self.recipients: tuple[Recipient, ...] = opened.recipients


class Deliveries:
    """All deliveries of one worker; `open_store` makes it.

    Args:
        shop: what the worker shares.
        settings: of the channel.
        ended: called when a lease has been given back.
    """

    store: LocalStore

    def __init__(self, shop: Workshop, settings: DeliverySettings, ended: Callable[[], None]) -> None:
        self._shop = shop
        self._settings = settings
        self._ended = ended
        self._told: dict[tuple[str, str], float] = {}
        self._wires: dict[str, WireAddresses] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    def put(self, lease: Lease) -> None:
        """Take a copy."""
        opened = open_leased(self._shop, lease)
        if opened is None:
            self._ended()
            return
        self._tell_up(lease)
        attempt = Attempt(self._shop, lease, opened, self._ended, fast=self._shop.settings[lease.channel].fast_retry)
        attempt.success = Kind.DELIVERED
        attempt.body_sent = True
        transaction = self._transaction(Job(attempt, opened), lease)
        if opened.envelope.size > RECORD_LIMIT:
            task = self._shop.loop.create_task(self._stream(transaction, opened))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        data = b"".join(opened.parts())
        message, faults = whole(transaction.sender, data)
        self.store.delivery.deliver(transaction, message, self._fault(faults, len(data)))

    def _tell_up(self, lease: Lease) -> None:
        key, now = (lease.channel, lease.host), self._shop.loop.time()
        if now - self._told.get(key, -KNOWN_UP) >= KNOWN_UP:
            self._told[key] = now
            self._shop.tell(HostUp(*key))

    # --- what the store is asked ----------------------------------------------------------------------------------

    def _transaction(self, job: Job, lease: Lease) -> Transaction:
        envelope, dupcheck = job.opened.envelope, self._settings.store.dupcheck
        addressees, wires = [], self._wires_of(lease.channel)
        for recipient in job.recipients:
            token = wires.of(recipient.address).encode("utf-8", "surrogateescape")
            given = None if lease.told else _limits(recipient.quota)
            xqid = f"{envelope.id}.{recipient.id}".encode() if dupcheck else b""
            addressees.append(Addressee(token, self._target(token), given, recipient.flags, xqid, recipient.imap_flags))
        return Transaction(envelope.sender.encode("utf-8", "surrogateescape"), addressees, job)

    def _wires_of(self, channel: str) -> WireAddresses:
        """What makes `uid%domain+folder@ims-ms-daemon` the store's own address, `uid+folder@domain`."""
        found = self._wires.get(channel)
        if found is None:
            made = WireAddresses(self._shop.rules, self._shop.settings[channel].channel, to_store=True)
            found = self._wires[channel] = made
        return found

    def _target(self, token: bytes) -> Target | MailboxError:
        try:
            return parse_target(token, self._settings.store.default_domain)
        except MailboxError as fault:
            return fault.with_traceback(None)

    def _fault(self, faults: frozenset[Fault], octets: int) -> MailboxError | None:
        if octets > self._settings.largest:
            return MessageTooLarge(f"{octets} octets")
        return message_fault(faults, lenient=self._settings.store.lenient)

    async def _stream(self, transaction: Transaction, opened: OpenCopy) -> None:
        """A message that is too large to be taken as a whole."""
        async with self._large:
            large, looked = self.store.large(transaction), Streamed()
            fault: MailboxError | None
            try:
                for block, lf in looked.blocks(iter(opened.parts())):
                    large.write(block, lf)
                    await asyncio.sleep(0)
            except OSError as error:
                fault = MailboxIOError(f"the queue cannot be read: {error}")
            else:
                fault = self._fault(looked.faults, opened.envelope.size)
            message = large.end()
            if fault is None and not all(isinstance(each.target, Exception) for each in transaction.addressees):
                fault = large.fault
            self.store.delivery.deliver(transaction, message, fault)

    # --- what it says ---------------------------------------------------------------------------------------------

    @staticmethod
    def finished(transactions: list[Transaction]) -> None:
        """Results of a batch: each recipient's mark, then the lease is given back."""
        for transaction in transactions:
            job = cast("Job", transaction.session)
            for recipient, addressee in zip(job.recipients, transaction.addressees, strict=True):
                row = row_of(addressee.fault)
                if row is IO_ERROR:
                    _log.error("%s", addressee.fault)
                job.attempt.refuse(recipient, row.status(addressee.token.decode("utf-8", "replace")))
            job.attempt.end()

    def wrong(self) -> "Wrong":
        """What keeps mail from being delivered now."""
        return self.store.wrong("mail waits in the queue")

    # --- reload and end -------------------------------------------------------------------------------------------

    async def reload(self, configuration: Configuration) -> None:
        """Deliver as the files say from now on."""
        self._settings = DeliverySettings.read(configuration, channel_of(self._shop))
        self._wires.clear()
        await self.store.reload(self._settings.store)

    async def stop(self) -> None:
        """Nothing is under way any more.

        Raises:
            OSError: the last checkpoint failed; the next start will replay.
        """
        await self.store.stop()


def channel_of(shop: Workshop) -> str:
    """The channel the settings are read for: the first that leads into the store."""
    found = [name for name, settings in shop.settings.items() if settings.program is Program.STORE]
    return found[0] if found else "ims-ms"


async def open_store(shop: Workshop, ended: Callable[[], None]) -> Deliveries:
    """Recover, then be ready.

    Raises:
        ConfigurationError: a newer version wrote the journal.
        OSError: the store's folders cannot be used.
    """
    os.umask(0o077)
    settings = DeliverySettings.read(shop.configuration, channel_of(shop))
    made = Deliveries(shop, settings, ended)
    instance, disk = shop.configuration.instance, cast("Disk", LinuxDisk())
    made.store = await LocalStore.open(disk, instance, "ims", shop.loop, settings.store, made.finished)
    return made


@lru_cache(maxsize=256)
def _limits(text: str) -> GivenLimits | None:
    """What the directory says of a user; None where it says nothing."""
    try:
        return parse_limits(text) if text else None
    except ValueError:
        return None
