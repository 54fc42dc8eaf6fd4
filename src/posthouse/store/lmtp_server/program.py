"""The LMTP server as a program of the Dispatcher's worker: what all its sessions share, from recovery to the last checkpoint.

Start: the journal of the last run is replayed before the first connection is taken (DURABILITY 3 Start).
Stop: the last sync, the last checkpoint, no segment is left (3 Stop).
Reload: new settings for deliveries from now on and for new connections; a bad configuration changes nothing.
"""

import asyncio
import os
import resource
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.dispatcher.worker import WorkerContext
from posthouse.journal.adopt import open_folder
from posthouse.journal.barrier import Barriers
from posthouse.journal.commit import Completion
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.journal.segment import Tier, UnknownVersion
from posthouse.journal.writer import Writer
from posthouse.store.delivery.accounts import FILES_EACH, Accounts
from posthouse.store.delivery.checkpoint import Checkpoint, Position
from posthouse.store.delivery.delivery import Delivery
from posthouse.store.delivery.large import LargeMessage
from posthouse.store.delivery.partitions import Partitions
from posthouse.store.delivery.recovery import Leftovers, recover
from posthouse.store.delivery.seen import Seen
from posthouse.store.delivery.transaction import Transaction
from posthouse.store.lmtp_server.around import Around
from posthouse.store.lmtp_server.serving import Serving
from posthouse.store.lmtp_server.settings import with_xqid
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxIOError
from posthouse.store.mailbox.owner import Target, parse_target

UNCHECKED_LIMIT = 4
"""sealed segments whose end is unchecked, beyond which deliveries take the way without a record"""
_SYNCERS = 8
"""threads that sync messages without a record: those who wait for the file system's journal share its commits"""
_RESERVED_FILES = 400


class LmtpProgram(Serving):
    """Serves one LMTP service.

    Args:
        instance: the instance.
        channel: the service's channel.
        disk: the disk; tests pass one that fails.
    """

    def __init__(self, instance: Instance, channel: str, disk: Disk | None = None) -> None:
        super().__init__(instance, channel)
        self._disk = disk or cast("Disk", LinuxDisk())
        self._pool = ThreadPoolExecutor(_SYNCERS, thread_name_prefix="sync")
        self._writer: Writer | None = None
        self._checkpoint: Checkpoint | None = None
        self._store = -1
        self._partitions: Partitions
        self._names: BaseNames
        self._accounts: Accounts
        self.delivery: Delivery

    async def start(self, worker: WorkerContext) -> None:
        """Recover, then be ready.

        Raises:
            ConfigurationError: the configuration is bad, or a newer version wrote the journal.
            OSError: the folders cannot be used.
        """
        os.umask(0o077)
        self.begin(worker)
        await self.loop.run_in_executor(self._pool, self._open)
        self.sweep()

    def _open(self) -> None:
        """Everything on disk, in a thread."""
        disk, settings = self._disk, self.settings
        data = disk.open_dir(str(self._instance.data))
        store, journal = open_folder(disk, "store", data), open_folder(disk, "journal", data)
        partitions = self._partitions = Partitions(disk, store)
        self._choose()
        barriers = Barriers(disk)
        trusted = all(barriers.of(folder).trusted for folder in partitions.folders)
        leftovers = Leftovers(disk, store, journal, partitions.folders, barriers)
        try:
            gone, kept = recover(disk, leftovers, journal)
        except UnknownVersion as error:
            raise ConfigurationError([Fault("data/journal", 0, str(error))]) from error
        if gone or kept:
            self.log.warning("recovered %d segments of the journal; %d hold mail that cannot be placed yet", gone, kept)
        self._names = BaseNames(time.time, os.getpid(), secrets.randbits(32), settings.host)
        self._accounts = Accounts(disk, partitions, create=settings.autocreate, keep=_mailboxes_to_keep())
        if trusted:
            self._writer = Writer(disk, journal, Tier.STORE, f"lmtp-{os.getpid()}", completed=self._completed)
            self._checkpoint = Checkpoint(disk, journal, self._writer, leftovers, self._refuse)
        else:
            self.log.warning("no barrier to be trusted on this file system: every message is synced by itself")
        self.delivery = Delivery(
            disk, partitions, journal, self._names, settings.delivery, Around(self.loop, self._pool),
            self._accounts, self._writer, self.finished,
        )  # fmt: skip
        self._store = store
        self.delivery.seen = self._memory()
        if self._writer is not None and self._checkpoint is not None:
            self._writer.start()
            self._checkpoint.start()

    def configure(self) -> Configuration:
        """Take the settings as the files say now; XQID is listed when repeats are told by it."""
        configuration = super().configure()
        if configuration.store.dupcheck:
            self.settings = with_xqid(self.settings)
        return configuration

    def _choose(self) -> None:
        self._partitions.choose(self.settings.default_partition, self.settings.partition_of)

    def _memory(self) -> Seen | None:
        return Seen(self._disk, self._store, time.time) if self.settings.dupcheck else None

    # --- for sessions -------------------------------------------------------------------------------------------

    def parse(self, token: bytes, default_domain: str) -> Target:
        """The mailbox and folder a RCPT address names."""
        return parse_target(token, default_domain)

    def large(self, transaction: Transaction) -> LargeMessage:
        """A message that streams."""
        return LargeMessage(self._disk, self._accounts, self._names, transaction, time.time())

    # --- the journal --------------------------------------------------------------------------------------------

    def _completed(self, done: list[Completion]) -> None:
        """In the committer's thread: pass the batch on, with how far everything is by then."""
        assert self._writer is not None
        segment, offset = self._writer.synced
        position = Position(segment, offset, tuple(self._writer.sealed))
        self.loop.call_soon_threadsafe(self._journalled, done, position)

    def _journalled(self, done: list[Completion], position: Position) -> None:
        assert self._checkpoint is not None
        try:
            self.delivery.journalled(done)
        except Exception:
            # Nobody knows what was placed: the next start finds out. Nothing more is answered.
            self.log.exception("placing failed")
            os._exit(70)
        self._checkpoint.note(position)
        self.delivery.without_record = self._checkpoint.unchecked_segments > UNCHECKED_LIMIT

    def _refuse(self, reason: str | None) -> None:
        def close() -> None:
            self.delivery.closed = MailboxIOError(f"checkpoint: {reason}") if reason is not None else None

        self.loop.call_soon_threadsafe(close)

    # --- the end ------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Make the last things durable and leave no segment behind.

        Raises:
            OSError: the last checkpoint failed; the next start will replay.
        """
        self.quit_sweeping()
        writer, checkpoint = self._writer, self._checkpoint
        if writer is not None and checkpoint is not None:
            await self.loop.run_in_executor(None, writer.stop)
            await asyncio.sleep(0)
            position = Position(*writer.synced, tuple(writer.sealed))
            if not await self.loop.run_in_executor(None, checkpoint.stop, position):
                raise OSError("the last checkpoint failed: the journal stays and will be replayed")
        self._pool.shutdown()
        self._accounts.close()
        self._transactions.close()

    async def reload(self) -> None:
        """Read the configuration again.

        Raises:
            ConfigurationError: it is bad; the old one goes on.
        """
        dupcheck, before = self.settings.dupcheck, self.delivery.seen
        self.configure()
        if dupcheck != self.settings.dupcheck:
            self.delivery.seen = await self.loop.run_in_executor(self._pool, self._memory)
            if before is not None:
                before.close()
        self._choose()
        self._accounts.create = self.settings.autocreate
        self.delivery.settings = self.settings.delivery


def _mailboxes_to_keep() -> int:
    """As many as there are descriptors for, once the limit is as high as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 65_536) if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            wanted = soft
    return max(32, min(4096, (max(soft, wanted) - _RESERVED_FILES) // FILES_EACH))
