"""What every program that serves LMTP has: sessions and their deadlines, whom addresses name, results as log lines and replies.

Subclasses open what they deliver into and set `delivery`.
"""

import functools
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance
from posthouse.dispatcher.sending_round import SendingRound
from posthouse.dispatcher.worker import Connection, WorkerContext
from posthouse.store.delivery.transaction import Transaction
from posthouse.store.lmtp_server.host import Deliverer, Streaming
from posthouse.store.lmtp_server.session import LmtpSession
from posthouse.store.lmtp_server.settings import ServerSettings, server_settings
from posthouse.store.lmtp_server.status_table import IO_ERROR, row_of
from posthouse.store.lmtp_server.transaction_log import recipient_record
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.owner import Target
from posthouse.trace.counters import StoreCounters
from posthouse.trace.writer import TransactionLog, stamp

if TYPE_CHECKING:
    import asyncio
    import ssl

    from posthouse.dispatcher.trouble import Wrong

_SWEEP_SECONDS = 5.0
_TOLD_SECONDS = 60.0


class Serving(ABC):
    """The sessions of one LMTP service.

    Args:
        instance: the instance.
        channel: the service's channel.
    """

    delivery: Deliverer

    def __init__(self, instance: Instance, channel: str) -> None:
        self._instance = instance
        self._channel = channel
        self._transactions: TransactionLog
        self._sweeper: asyncio.TimerHandle | None = None
        self.round: SendingRound
        self.sessions: set[LmtpSession] = set()
        self.tls: Callable[[], ssl.SSLContext | None] = lambda: None
        """the service's certificate"""
        self.failed: tuple[float, str] | None = None
        """when the disk failed a delivery last, Unix seconds, and how"""
        self.settings: ServerSettings
        self.loop: asyncio.AbstractEventLoop
        self.log = logging.getLogger("posthouse.store")

    def begin(self, worker: WorkerContext) -> Configuration:
        """Read the configuration and open the log.

        Raises:
            ConfigurationError: the configuration is bad.
            OSError: the log's folder cannot be used.
        """
        self.loop = worker.loop
        self.tls = worker.tls
        self.round = SendingRound(worker.loop, self.sessions)
        configuration = self.configure()
        counters = StoreCounters(self._instance.counters, worker.loop.call_later)
        self._transactions = TransactionLog(
            self._instance.log, self.settings.log_options, self.settings.logging_channels, counters
        )
        return configuration

    def configure(self) -> Configuration:
        """Take the settings as the files say now.

        Raises:
            ConfigurationError: they are bad; nothing has changed.
        """
        configuration = load(self._instance)
        self.settings = server_settings(configuration, self._channel, certificate=self.tls() is not None)
        self._find_targets()
        return configuration

    def _find_targets(self) -> None:
        domain = self.settings.default_domain

        @functools.lru_cache(maxsize=8192)
        def target(token: bytes) -> Target | MailboxError:
            try:
                return self.parse(token, domain)
            except MailboxError as fault:
                return fault.with_traceback(None)

        self.target: Callable[[bytes], Target | MailboxError] = target

    @abstractmethod
    def parse(self, token: bytes, default_domain: str) -> Target:
        """Whom a RCPT address names.

        Raises:
            MailboxNonexistent: nobody.
        """

    @abstractmethod
    def large(self, transaction: Transaction) -> Streaming:
        """A message that streams."""

    def session(self, connection: Connection, closed: Callable[[], None]) -> LmtpSession:
        """The protocol object of a new connection."""
        return LmtpSession(self, connection, closed)

    def sweep(self) -> None:
        """Close sessions whose deadline has passed, now and every few seconds."""
        now = self.loop.time()
        for session in [each for each in self.sessions if each.deadline < now]:
            session.expire()
        self._sweeper = self.loop.call_later(_SWEEP_SECONDS, self.sweep)

    def failing(self) -> "Wrong":
        """What the disk did to a delivery within the last minute, for `posthouse status`."""
        if self.failed is None or time.time() - self.failed[0] > _TOLD_SECONDS:
            return {}
        return {"store": f"a mailbox could not be written ({self.failed[1]}): relays get 430"}

    def finished(self, transactions: list[Transaction]) -> None:
        """Log a batch in one write, then send all its replies."""
        ts, channel, process = stamp(time.time()), self._channel, self._transactions.process
        records, replies = [], []
        for transaction in transactions:
            session = cast("LmtpSession", transaction.session)
            lines = []
            for addressee in transaction.addressees:
                row = row_of(addressee.fault)
                if row is IO_ERROR:
                    self.log.error("%s", addressee.fault)
                    self.failed = time.time(), str(addressee.fault)
                lines.append(row.line(addressee.token))
                records.append(
                    recipient_record(
                        transaction, addressee, row, ts=ts, channel=channel, process=process, transport=session.transport_name
                    )
                )
            replies.append((session, lines))
        self._transactions.write(records)
        self.round.hold()
        try:
            for session, lines in replies:
                session.finish(lines)
        finally:
            self.round.send_all()

    def quit_sweeping(self) -> None:
        """No session is left."""
        if self._sweeper is not None:
            self._sweeper.cancel()
