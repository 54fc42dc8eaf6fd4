"""What all jobs of one channel worker share: configuration, queue, log, notices, and the way back to the controller.

Results and log records are collected and go out together after GATHER_SECONDS: one frame, one write for each log. What the
controller has to know sooner, of hosts and alarms, takes them along at the end of the turn. A record is written after the
mark it tells of.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from posthouse.config.configuration import Configuration
from posthouse.dispatcher.sending_round import SendingRound
from posthouse.relay.channels.settings import ChannelSettings
from posthouse.relay.job_controller.protocol import Alarm, Lease, Result, Upward
from posthouse.relay.notices.notifier import Notifier, Wording
from posthouse.relay.queue.copy_ref import CopyRef, FileCopy, JournalCopy
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.relay.queue.names import log_path, parse
from posthouse.relay.queue.places import Places
from posthouse.relay.routing.rules import Rules
from posthouse.trace.record import Record
from posthouse.trace.writer import TransactionLog, stamp

GATHER_SECONDS = 0.005
_log = logging.getLogger("posthouse")


@dataclass(slots=True)
class Workshop:
    """The worker's shared state; `reload` replaces configuration, rules and settings."""

    loop: asyncio.AbstractEventLoop
    configuration: Configuration
    rules: Rules
    settings: dict[str, ChannelSettings]
    places: Places
    log: TransactionLog
    enqueuer: Enqueuer
    host: str
    """our own name, for LHLO and notices"""
    wording: Wording
    send: Callable[[list[Upward]], None]
    """takes a frame's messages to the controller"""
    notifier: Notifier = field(init=False)
    round: SendingRound = field(init=False)
    _results: list[Upward] = field(default_factory=list)
    _records: list[Record] = field(default_factory=list)
    _pending: bool = False
    _timer: asyncio.TimerHandle | None = None
    _alarmed: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.round = SendingRound(self.loop)

    @staticmethod
    def now() -> float:
        """Unix time in seconds."""
        return time.time()

    def stamp(self) -> str:
        """Now, as records carry it."""
        return stamp(time.time())

    def note(self, records: Iterable[Record]) -> None:
        """Write to the transaction log with everything else of this turn."""
        self._records.extend(records)
        if self._timer is None:
            self._timer = self.loop.call_later(GATHER_SECONDS, self.flush)

    def tell(self, message: Upward) -> None:
        """Tell the controller: a result soon, anything else with this turn."""
        self._results.append(message)
        if type(message) is not Result:
            if not self._pending:
                self._pending = True
                self.loop.call_soon(self.flush)
        elif self._timer is None:
            self._timer = self.loop.call_later(GATHER_SECONDS, self.flush)

    def alarm(self, text: str) -> None:
        """Tell a person, at most once a minute in the same words."""
        now = self.loop.time()
        if self._alarmed.get(text, -60.0) <= now - 60.0:
            if len(self._alarmed) > 1000:
                self._alarmed.clear()
            self._alarmed[text] = now
            _log.error("%s", text)
            self.tell(Alarm(text))

    def flush(self) -> None:
        """Write and send what was collected."""
        self._pending = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._records:
            records, self._records = self._records, []
            self.log.write(records)
        if self._results:
            results, self._results = self._results, []
            self.send(results)


def copy_path(shop: Workshop, lease: Lease, message: str) -> str:
    """The leased copy's queue file as the log prints it: its path, or the one it would have."""
    queue = shop.wording.queue_folder
    if lease.file:
        return f"{queue}/{lease.file}"
    settings = shop.settings.get(lease.channel)
    subdirs = settings.channel.subdirs if settings else 0
    return log_path(queue, lease.channel, subdirs, message, lease.copy, lease.attempts)


def message_of(path: str) -> str:
    """The message id in a queue file's path, empty when it has none."""
    name = parse(path.rpartition("/")[2])
    return name.message if name is not None else ""


def ref_of(lease: Lease) -> CopyRef:
    """Where the leased copy stands."""
    if lease.record is not None:
        return JournalCopy(lease.record.segment, lease.record.offset, lease.copy)
    channel, *middle, name = lease.file.split("/")
    return FileCopy(channel, middle[0] if middle else "", name)
