"""What all SMTP sessions of one worker share: rules, directory, journal, log, clock.

Promise: `enqueue` calls back exactly once, with None only when the message is durable (DURABILITY 4.1); what the journal
has no memory for waits its turn while its client waits for the reply (DURABILITY 4.12). Bodies are not read while more
than `memory.limit` octets wait for their answer.
"""

import asyncio
import errno
import logging
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import count
from typing import TYPE_CHECKING, TypeAlias

import posthouse
from posthouse.dispatcher.sending_round import SendingRound
from posthouse.journal.body_file import BodyFile, BodyReference
from posthouse.journal.commit import Item
from posthouse.journal.disk import Disk
from posthouse.mail.envelope import Envelope
from posthouse.mail.message_id import MessageIds
from posthouse.relay.directory.directory import Directory
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.switch import switched
from posthouse.relay.smtp_server.gather import Gather
from posthouse.relay.smtp_server.guessing import LOGIN_DELAY, Failures
from posthouse.relay.smtp_server.host import hang_up_oldest
from posthouse.relay.smtp_server.limits import Limits
from posthouse.relay.smtp_server.memory import Memory
from posthouse.relay.smtp_server.source import SourceChannel
from posthouse.relay.smtp_server.transaction import abandon
from posthouse.relay.smtp_server.troubles import Troubles
from posthouse.trace.record import Record
from posthouse.trace.writer import TransactionLog, stamp

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.line import Line

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""nothing was written: the client is told 452"""
Done: TypeAlias = Callable[[OSError | None], None]
_Waiting: TypeAlias = tuple[Envelope, Sequence[bytes] | BodyReference, Done]


@dataclass(slots=True)
class Relay:
    """The worker's shared state; a reload replaces rules, limits, sources and directory for what comes next."""

    loop: asyncio.AbstractEventLoop
    process_log: logging.Logger
    host: str
    """our own name, for Received and the greeting"""
    queue_folder: str
    rules: Rules
    limits: Limits
    sources: Mapping[str, SourceChannel]
    """the channels mail may come in on"""
    directory: Directory
    log: TransactionLog
    ids: MessageIds
    disk: Disk
    body_folder: int
    """descriptor of data/journal/body"""
    enqueuer: Enqueuer
    tls: Callable[[], ssl.SSLContext | None] = lambda: None
    """the service's certificate, where it has one"""
    login_delay: float = LOGIN_DELAY
    """seconds before a login is refused"""
    switches: bool = False
    """the service's channel has `switchchannel`"""
    memory: Memory = field(default_factory=Memory)
    sessions: "set[Line]" = field(default_factory=set)
    product: str = f"Posthouse {posthouse.__version__}"
    _date: tuple[int, str] = (0, "")
    _serials: Iterator[int] = field(default_factory=lambda: count(int(time.time() * 1000)))
    round: SendingRound = field(init=False)
    _records: list[Record] = field(default_factory=list)
    _waiting: list[_Waiting] = field(default_factory=list)
    _stuck: list[Item] = field(default_factory=list)
    """the journal had no room for them: they go before those that wait"""
    gather: Gather = field(init=False)
    troubles: Troubles = field(default_factory=lambda: Troubles(lambda _: None))

    failures: Failures = field(init=False)

    def __post_init__(self) -> None:
        self.failures = Failures(self.loop.time)
        self.gather = Gather(self.loop, self.submit_waiting)
        self.round = SendingRound(self.loop)

    def way_in(self, channel: str, address: str, *, secured: bool) -> SourceChannel:
        """The source channel of a client that has just connected.

        Args:
            channel: the service's.
            address: the client's.
            secured: TLS was on from the first octet.
        """
        if self.switches:
            channel = switched(self.rules, self.rules.imta.channels[channel], address)
        found = self.sources[channel]
        return self.sources.get(found.after_tls, found) if secured else found

    @staticmethod
    def now() -> float:
        """Unix time in seconds."""
        return time.time()

    def date(self) -> str:
        """The date of a header field that is written now (RFC 5322 3.3), with our zone."""
        second = int(self.now())
        if second != self._date[0]:
            self._date = (second, format_datetime(datetime.fromtimestamp(second, UTC).astimezone()))
        return self._date[1]

    def unique(self) -> str:
        """A text for `$W` in rewrite rules: never the same twice."""
        return f"{self.log.process}{next(self._serials):X}"

    def stamp(self) -> str:
        """Now, as records carry it."""
        return stamp(self.now())

    def subdirs(self, channel: str) -> int:
        """How many subfolders the channel's queue has."""
        return self.rules.subdirs.get(channel, 0)

    def report(self, text: str) -> None:
        """A line in the process log, with the traceback when an exception is being handled."""
        self.process_log.warning(text, exc_info=sys.exc_info()[0] is not None)

    def note(self, *records: Record) -> None:
        """Write to the transaction log, together with everything else of this turn of the loop."""
        if not self._records:
            self.loop.call_soon(self.flush)
        self._records += records

    def flush(self) -> None:
        """Write the records noted so far."""
        if self._records:
            self.log.write(self._records)
            self._records.clear()

    def new_body_file(self, name: str) -> BodyFile:
        """A file for a streamed body.

        Raises:
            OSError: it cannot be made.
        """
        return BodyFile(self.disk, self.body_folder, name)

    def enqueue(self, envelope: Envelope, parts: Sequence[bytes], body: BodyFile | None, done: Done) -> None:
        """Make the message durable, then call `done`.

        Args:
            envelope: of the message.
            parts: the whole body, or what is still missing of a streamed one.
            body: the streamed body's file.
            done: told None, or why the message was not accepted.
        """
        if body is None:
            self._submit(envelope, parts, done)
            return

        def answered(error: OSError | None) -> None:
            if error is not None and error.errno in NO_ROOM:  # else the record may have reached the disk and names the file
                abandon(body)
            done(error)

        def finished(task: asyncio.Future[BodyReference]) -> None:
            try:
                self._submit(envelope, task.result(), answered)
            except Exception as error:
                abandon(body)
                done(error if isinstance(error, OSError) else OSError(str(error)))

        def finish() -> BodyReference:
            for part in parts:
                body.write(part)
            return body.finish()

        self.loop.run_in_executor(None, finish).add_done_callback(finished)

    def _submit(self, envelope: Envelope, body: Sequence[bytes] | BodyReference, done: Done) -> None:
        self._waiting.append((envelope, body, done))
        self.gather.arrived()

    def submit_waiting(self) -> None:
        """Give the journal what waits, in order, as far as it has room."""
        items, self._stuck = self._stuck, []
        waiting, self._waiting = self._waiting, []
        for envelope, body, done in waiting:
            try:
                items.append(self.enqueuer.item(envelope, body, done))
            except ValueError as error:
                self.report(f"message {envelope.id} cannot be journalled")
                self.loop.call_soon(done, OSError(str(error)))
        if items:
            self.round.send_all()  # other clients go on while this batch is made durable
            self._stuck = items[self.enqueuer.submit_all(items) :]

    def room_again(self) -> None:
        """A batch is through: go on with what the journal had no room for."""
        if self._stuck:
            self.submit_waiting()

    def tick(self) -> None:
        """Once a second: close what is past its deadline, try again what waits for memory, write records."""
        now = self.loop.time()
        for session in [one for one in self.sessions if one.look(now)]:
            session.expire()
        self.submit_waiting()
        self._make_room()
        self.flush()
        self.troubles.look(self.directory, self.enqueuer.writer.fault)

    def _make_room(self) -> None:
        """Bodies that wait go on; when all memory is held by bodies that do not end, the oldest of them have to go."""
        self.memory.resume()
        if not (self._waiting or self._stuck or self.enqueuer.writer.waiting):
            hang_up_oldest(self.sessions, self.memory)
