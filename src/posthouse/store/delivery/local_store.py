"""The store as one process has it open to deliver: from the recovery of the last run to the last checkpoint.

    store = LocalStore.open(...)   in a thread: replays what a dead process left, before anything is delivered
    store.delivery.deliver(...)    results come back to `finished`
    await store.stop()             the last sync, the last checkpoint, no segment of ours is left (DURABILITY 3 Stop)

Any number of processes may have one store open: LMTP servers and the program of channel ims-ms beside them. Each has a
segment of its own; mailboxes are shared by their owners' locks. Where no barrier can be trusted every message is synced by
itself.
"""

import asyncio
import logging
import os
import resource
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.journal.adopt import open_folder
from posthouse.journal.barrier import Barriers
from posthouse.journal.commit import Completion
from posthouse.journal.disk import Disk
from posthouse.journal.segment import Tier, UnknownVersion
from posthouse.journal.writer import Writer
from posthouse.store.delivery.accounts import FILES_EACH, Accounts
from posthouse.store.delivery.admission import Settings
from posthouse.store.delivery.around import Around
from posthouse.store.delivery.checkpoint import Checkpoint, Position
from posthouse.store.delivery.delivery import Delivery
from posthouse.store.delivery.large import LargeMessage
from posthouse.store.delivery.partitions import Partitions
from posthouse.store.delivery.recovery import Leftovers, recover
from posthouse.store.delivery.seen import Seen
from posthouse.store.delivery.transaction import Transaction
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxIOError

if TYPE_CHECKING:
    from posthouse.dispatcher.trouble import Wrong

UNCHECKED_LIMIT = 4
"""sealed segments whose end is unchecked, beyond which deliveries take the way without a record"""
_SYNCERS = 8
"""threads that sync messages without a record: those who wait for the file system's journal share its commits"""
_RESERVED_FILES = 400
_LOOK_SECONDS = 1.0
"""between two looks whether the partitions are where they were"""
_log = logging.getLogger("posthouse.store")


class StoreSettings(Protocol):
    """What of the configuration the store itself uses."""

    @property
    def host(self) -> str:
        """In the names of mail files."""
        ...

    @property
    def delivery(self) -> Settings:
        """Of deliveries."""
        ...

    @property
    def autocreate(self) -> bool:
        """Whether a mailbox is made when its first message comes."""
        ...

    @property
    def default_partition(self) -> str:
        """Where new mailboxes are made."""
        ...

    @property
    def partition_of(self) -> Mapping[str, str]:
        """Owners whose mailboxes are made elsewhere."""
        ...

    @property
    def dupcheck(self) -> bool:
        """Whether what comes again is told by its XQID."""
        ...


Finished = Callable[[list[Transaction]], None]


class LocalStore:
    """One process's way into the mailboxes; made by `open`.

    Args:
        disk: the disk.
        instance: the instance.
        role: begins the names of our segments.
        loop: runs everything but what is done in threads.
        settings: of store.conf.
        pool: threads that sync.
    """

    delivery: Delivery

    def __init__(
        self, disk: Disk, instance: Instance, role: str, loop: asyncio.AbstractEventLoop, settings: StoreSettings,
        pool: ThreadPoolExecutor,
    ) -> None:  # fmt: skip
        self._disk = disk
        self._loop = loop
        self._settings = settings
        self._pool = pool
        self._thread = 0
        """the loop's"""
        self._writer: Writer | None = None
        self._checkpoint: Checkpoint | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._untrusted = False
        """a partition taken later has no barrier to be trusted: no records any more"""
        data = disk.open_dir(str(instance.data))
        self._store, self._journal = open_folder(disk, "store", data), open_folder(disk, "journal", data)
        self._partitions = Partitions(disk, self._store)
        self._choose()
        barriers = Barriers(disk)
        trusted = all(barriers.of(folder).trusted for folder in self._partitions.folders)
        self._leftovers = leftovers = Leftovers(disk, self._store, self._journal, self._partitions.folders, barriers)
        try:
            gone, kept = recover(disk, leftovers, self._journal)
        except UnknownVersion as error:
            raise ConfigurationError([Fault("data/journal", 0, str(error))]) from error
        if gone or kept:
            _log.warning("recovered %d segments of the journal; %d hold mail that cannot be placed yet", gone, kept)
        self._names = BaseNames(time.time, os.getpid(), secrets.randbits(32), settings.host)
        self._accounts = Accounts(disk, self._partitions, create=settings.autocreate, keep=_mailboxes_to_keep())
        if trusted:
            self._writer = Writer(disk, self._journal, Tier.STORE, f"{role}-{os.getpid()}", completed=self._completed)
            self._checkpoint = Checkpoint(disk, self._journal, self._writer, leftovers, self._refuse)
        else:
            _log.warning("no barrier to be trusted on this file system: every message is synced by itself")

    @classmethod
    async def open(
        cls, disk: Disk, instance: Instance, role: str, loop: asyncio.AbstractEventLoop, settings: StoreSettings,
        finished: Finished,
    ) -> "LocalStore":  # fmt: skip
        """Recover in a thread, then be ready.

        Args:
            disk: the disk.
            instance: the instance.
            role: begins the names of our segments.
            loop: the running loop.
            settings: of store.conf.
            finished: told of transactions whose addressees are all settled, once for each batch.

        Raises:
            ConfigurationError: a newer version wrote the journal.
            OSError: the folders cannot be used.
        """
        pool = ThreadPoolExecutor(_SYNCERS, thread_name_prefix="sync")

        def begin() -> LocalStore:
            store = cls(disk, instance, role, loop, settings, pool)
            store.begin(finished)
            return store

        store = await loop.run_in_executor(pool, begin)
        store._thread = threading.get_ident()  # noqa: SLF001 - our own
        store._look_for_strays()  # noqa: SLF001 - our own
        return store

    def begin(self, finished: Finished) -> None:
        """Be ready to deliver."""
        self.delivery = Delivery(
            self._disk, self._partitions, self._journal, self._names, self._settings.delivery, Around(self._loop, self._pool),
            self._accounts, self._writer, finished,
        )  # fmt: skip
        self.delivery.seen = self._memory()
        self._partitions.found = self._found
        if self._writer is not None and self._checkpoint is not None:
            self._writer.start()
            self._checkpoint.start()

    def _found(self, partition: int) -> None:
        """A partition was made while we ran: barriers are on its file system before anything is written there."""
        if not self._leftovers.include(partition):
            _log.warning("no barrier to be trusted in a new partition: every message is synced by itself")
            self._untrusted = self.delivery.without_record = True
        self.delivery.several = True

    def _look_for_strays(self) -> None:
        before = self._partitions.strays
        try:
            self._partitions.look_for_strays()
        except OSError as error:
            _log.error("data/store: %s", error)
        strays = self._partitions.strays
        for folder in strays.keys() - before.keys():
            _log.error("partition %s was moved away, or covered: its mail is refused until it is back", strays[folder])
        for folder in before.keys() - strays.keys():
            _log.warning("partition %s is back", before[folder])
        self._looking = self._loop.call_later(_LOOK_SECONDS, self._look_for_strays)

    def _choose(self) -> None:
        self._partitions.choose(self._settings.default_partition, self._settings.partition_of)

    def _memory(self) -> Seen | None:
        return Seen(self._disk, self._store, time.time) if self._settings.dupcheck else None

    def large(self, transaction: Transaction) -> LargeMessage:
        """A message that streams."""
        return LargeMessage(self._disk, self._accounts, self._names, transaction, time.time())

    # --- the journal --------------------------------------------------------------------------------------------

    def _completed(self, done: list[Completion]) -> None:
        """In the thread that made the batch durable: pass it on, with how far everything is by then."""
        assert self._writer is not None
        segment, offset = self._writer.synced
        position = Position(segment, offset, tuple(self._writer.sealed))
        if threading.get_ident() == self._thread:
            self._journalled(done, position)
        else:
            self._loop.call_soon_threadsafe(self._journalled, done, position)

    def _journalled(self, done: list[Completion], position: Position) -> None:
        assert self._checkpoint is not None
        try:
            self.delivery.journalled(done)
        except Exception:
            # Nobody knows what was placed: the next start finds out. Nothing more is answered.
            _log.exception("placing failed")
            os._exit(70)
        self._checkpoint.note(position)
        self.delivery.without_record = self._untrusted or self._checkpoint.unchecked_segments > UNCHECKED_LIMIT

    def _refuse(self, reason: str | None) -> None:
        def close() -> None:
            self.delivery.closed = MailboxIOError(f"checkpoint: {reason}") if reason is not None else None

        self._loop.call_soon_threadsafe(close)

    def wrong(self, meanwhile: str) -> "Wrong":
        """What keeps mail from being taken now, for `posthouse status`, and what becomes of it meanwhile."""
        found: Wrong = {}
        if self.delivery.closed is not None:
            found["store"] = f"mail is refused until the disk is well ({self.delivery.closed}): {meanwhile}"
        elif self._writer is not None and self._writer.fault is not None:
            found["store"] = f"the journal cannot grow ({self._writer.fault}): when its last segment is full, {meanwhile}"
        if strays := self._partitions.strays:
            found["partition"] = f"partition {', '.join(sorted(strays.values()))} was moved away, or covered: {meanwhile}"
        return found

    # --- reload and end -----------------------------------------------------------------------------------------

    async def reload(self, settings: StoreSettings) -> None:
        """Deliver by these settings from now on."""
        dupcheck, before = self._settings.dupcheck, self.delivery.seen
        self._settings = settings
        if dupcheck != settings.dupcheck:
            self.delivery.seen = await self._loop.run_in_executor(self._pool, self._memory)
            if before is not None:
                before.close()
        self._choose()
        try:
            self._partitions.look()
        except OSError as error:
            _log.error("data/store: %s", error)
        self._accounts.create = settings.autocreate
        self.delivery.settings = settings.delivery

    async def stop(self) -> None:
        """Make the last things durable and leave no segment behind.

        Raises:
            OSError: the last checkpoint failed; the next start will replay.
        """
        if self._looking is not None:
            self._looking.cancel()
        writer, checkpoint = self._writer, self._checkpoint
        if writer is not None and checkpoint is not None:
            await self._loop.run_in_executor(None, writer.stop)
            await asyncio.sleep(0)
            position = Position(*writer.synced, tuple(writer.sealed))
            if not await self._loop.run_in_executor(None, checkpoint.stop, position):
                raise OSError("the last checkpoint failed: the journal stays and will be replayed")
        self._pool.shutdown()
        self._accounts.close()


def most_recipients() -> int:
    """Of one transaction: their mailboxes are open together. At least the hundred of RFC 5321 4.5.3.1.8."""
    return max(100, min(1000, _mailboxes_to_keep()))


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
