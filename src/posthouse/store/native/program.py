"""The native LMTP server as a program of the Dispatcher's worker: the dialogue of the store, UNIX mailboxes behind it.

Start: appends that a crash broke off are taken back before the first connection (`notes`). Afterwards what a dead worker left
is looked for once a minute. There is no journal: each entry is synced by itself (DURABILITY 3.6).
Started by root the worker asks root's writer process for the mailboxes of users; files are the service's own.
"""

import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance
from posthouse.dispatcher.control import NATIVE_WRITER
from posthouse.dispatcher.trouble import Since, Wrong
from posthouse.dispatcher.worker import WorkerContext
from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.delivery.around import Around
from posthouse.store.delivery.seen import Seen
from posthouse.store.delivery.transaction import Transaction
from posthouse.store.lmtp_server.serving import Serving
from posthouse.store.lmtp_server.settings import with_xqid
from posthouse.store.mailbox.owner import Target
from posthouse.store.native.delivery import NativeDelivery
from posthouse.store.native.locks import lock_record
from posthouse.store.native.notes import Notes, adopt
from posthouse.store.native.own_writer import OwnWriter
from posthouse.store.native.request import SharedWriter
from posthouse.store.native.settings import NativeSettings, native_settings
from posthouse.store.native.spool import SpooledEntry
from posthouse.store.native.target import parse_native

if TYPE_CHECKING:
    import asyncio

FOLDER = "native"
"""below data/: undo notes and messages on their way"""
_THREADS = 8
_ADOPT_SECONDS = 60.0
"""a mailbox that could not be written is a trouble of `status` for so long: relays try again sooner"""


class NativeProgram(Serving):
    """Serves one native LMTP service.

    Args:
        instance: the instance.
        channel: the service's channel.
    """

    def __init__(self, instance: Instance, channel: str) -> None:
        super().__init__(instance, channel)
        self._disk = cast("Disk", LinuxDisk())
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="mailbox")
        self._folder = -1
        self._notes: Notes
        self._writer: OwnWriter
        self._native: NativeSettings
        self._seen: Seen | None = None
        self._adopting: asyncio.TimerHandle | None = None
        self.delivery: NativeDelivery

    async def start(self, worker: WorkerContext) -> None:
        """Take back what a crash broke off, then be ready.

        Raises:
            ConfigurationError: the configuration is bad.
            OSError: the folders cannot be used.
        """
        self._native = native_settings(self.begin(worker), self._channel)
        await self.loop.run_in_executor(self._pool, self._open)
        writer = SharedWriter(self._writer, self._instance.run / NATIVE_WRITER)
        self.delivery = NativeDelivery(self._native, writer, Around(self.loop, self._pool), self.finished)
        self.delivery.seen = self._seen
        self._since = Since(worker.tell)
        self.sweep()
        self._adopting = self.loop.call_later(_ADOPT_SECONDS, self._adopt)

    def _open(self) -> None:
        """Everything on disk, in a thread."""
        data = self._disk.open_dir(str(self._instance.data))
        self._folder = open_folder(self._disk, FOLDER, data)
        self._disk.close(data)
        adopt(self._disk, self._folder, lock_record)
        self._notes = Notes(self._disk, self._folder)
        self._writer = OwnWriter(self._disk, self._notes, lock_record, self._native)
        self._seen = self._memory()

    def _memory(self) -> Seen | None:
        return Seen(self._disk, self._folder, time.time) if self.settings.dupcheck else None

    def configure(self) -> Configuration:
        """Take the settings as the files say now; XQID is listed when repeats are told by it."""
        configuration = super().configure()
        if configuration.store.dupcheck:
            self.settings = with_xqid(self.settings)
        return configuration

    def sweep(self) -> None:
        """Say what keeps mail from being taken, too."""
        super().sweep()
        self._since.say(self._wrong())

    def _wrong(self) -> Wrong:
        spool = self._native.spool
        try:
            spool.stat()
        except OSError as error:
            return {"partition": f"the folder of the mailboxes, {spool}, cannot be had ({error.strerror}): relays get 430"}
        return self.failing()

    def _adopt(self) -> None:
        self._pool.submit(self._adopt_now)
        self._adopting = self.loop.call_later(_ADOPT_SECONDS, self._adopt)

    def _adopt_now(self) -> None:
        try:
            self._notes.try_again(lock_record)
            adopt(self._disk, self._folder, lock_record)
        except OSError:
            self.log.exception("undo notes")

    def parse(self, token: bytes, default_domain: str) -> Target:
        """The user or file a RCPT address names."""
        return parse_native(token, default_domain)

    def large(self, transaction: Transaction) -> SpooledEntry:
        """A message that streams."""
        return SpooledEntry(str(self._instance.data / FOLDER), transaction.sender, self._native.quoting, time.time())

    async def stop(self) -> None:
        """All sessions have ended: finish what is being written."""
        self.quit_sweeping()
        if self._adopting is not None:
            self._adopting.cancel()
        await self.loop.run_in_executor(None, functools.partial(self._pool.shutdown, wait=True))
        self._notes.close()
        if self.delivery.seen is not None:
            self.delivery.seen.close()
        self._disk.close(self._folder)
        self._transactions.close()

    async def reload(self) -> None:
        """Read the configuration again.

        Raises:
            ConfigurationError: it is bad; the old one goes on.
        """
        native = native_settings(load(self._instance), self._channel)
        before, known = self.settings.dupcheck, self.delivery.seen
        self.configure()
        if before != self.settings.dupcheck:
            self.delivery.seen = await self.loop.run_in_executor(None, self._memory)
            if known is not None:
                known.close()
        self._native = native
        self._writer.configure(self._native)
        self.delivery.settings = self._native
