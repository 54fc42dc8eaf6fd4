"""The LMTP server as a program of the Dispatcher's worker: sessions in front of a `LocalStore`.

Start: the journal of the last run is replayed before the first connection is taken (DURABILITY 3 Start).
Stop: the last sync, the last checkpoint, no segment is left (3 Stop).
Reload: new settings for deliveries from now on and for new connections; a bad configuration changes nothing.
"""

from typing import TYPE_CHECKING, cast

from posthouse.config.configuration import Configuration
from posthouse.config.instance import Instance
from posthouse.dispatcher.trouble import Since
from posthouse.dispatcher.worker import WorkerContext
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.delivery.large import LargeMessage
from posthouse.store.delivery.local_store import LocalStore, most_recipients
from posthouse.store.delivery.transaction import Transaction
from posthouse.store.lmtp_server.serving import Serving
from posthouse.store.lmtp_server.settings import with_recipients, with_xflags, with_xqid
from posthouse.store.mailbox.owner import Target, parse_target

if TYPE_CHECKING:
    from posthouse.store.delivery.delivery import Delivery


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
        self._local: LocalStore
        self.delivery: Delivery

    async def start(self, worker: WorkerContext) -> None:
        """Recover, then be ready.

        Raises:
            ConfigurationError: the configuration is bad, or a newer version wrote the journal.
            OSError: the folders cannot be used.
        """
        self.begin(worker)
        self._local = await LocalStore.open(self._disk, self._instance, "lmtp", self.loop, self.settings, self.finished)
        self.delivery = self._local.delivery
        self.delivery.gathering.peers = self.sessions
        self._since = Since(worker.tell)
        self.sweep()

    def configure(self) -> Configuration:
        """Take the settings as the files say now; XQID is listed when repeats are told by it, XFLAGS where flags are taken."""
        configuration = super().configure()
        self.settings = with_recipients(with_xflags(self.settings), most_recipients())
        if configuration.store.dupcheck:
            self.settings = with_xqid(self.settings)
        return configuration

    def sweep(self) -> None:
        """Say what keeps mail from being taken, too."""
        super().sweep()
        self._since.say({**self._local.wrong("relays get 430"), **self.failing()})

    # --- for sessions -------------------------------------------------------------------------------------------

    def parse(self, token: bytes, default_domain: str) -> Target:
        """The mailbox and folder a RCPT address names."""
        return parse_target(token, default_domain)

    def large(self, transaction: Transaction) -> LargeMessage:
        """A message that streams."""
        return self._local.large(transaction)

    # --- the end ------------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Make the last things durable and leave no segment behind.

        Raises:
            OSError: the last checkpoint failed; the next start will replay.
        """
        self.quit_sweeping()
        await self._local.stop()
        self._transactions.close()

    async def reload(self) -> None:
        """Read the configuration again.

        Raises:
            ConfigurationError: it is bad; the old one goes on.
        """
        self.configure()
        await self._local.reload(self.settings)
