"""Telling senders: a notice is built, made durable on channel `process`, and only then is the copy told that it may forget.

`send` calls back exactly once: None when the notice is durable, an OSError when it could not be made so (the recipients
are then still to do). A notice larger than a record takes goes through a body file, in a thread.

The postmaster's address and the words in From: are RETURN_ADDRESS and RETURN_PERSONAL of option.dat.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from posthouse.config.configuration import Configuration
from posthouse.config.return_texts import OUR_TEXTS, ReturnTexts
from posthouse.dialogue.stuffing import count_growth
from posthouse.journal.body_file import INLINE_LIMIT, BodyFile, BodyReference
from posthouse.journal.disk import Disk
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.relay.notices.dsn import Kind, Notice, Report, build
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.relay.queue.names import log_path
from posthouse.trace.record import Action, Record

HEADER_LIMIT = 256 << 10
CHANNEL = "process"


@dataclass(frozen=True, slots=True)
class Wording:
    """What the configuration says of notices."""

    reporter: str
    postmaster: str
    personal: str
    content_limit: int
    subdirs: int
    queue_folder: str
    texts: ReturnTexts = OUR_TEXTS
    unit: float = 86400.0
    """seconds in a unit of `notices`"""

    @classmethod
    def from_configuration(cls, configuration: Configuration, host: str) -> "Wording":
        """The relay's own: `host` is its official name."""
        options = configuration.options
        process = configuration.imta.channels.get(CHANNEL)
        return cls(
            reporter=host,
            postmaster=options.text("RETURN_ADDRESS") or f"postmaster@{host}",
            personal=options.text("RETURN_PERSONAL", "Internet Mail Delivery"),
            content_limit=options.integer("CONTENT_RETURN_BLOCK_LIMIT", 0),
            subdirs=process.subdirs if process is not None else 0,
            queue_folder=str(configuration.instance.queue),
            texts=configuration.returns,
            unit=configuration.notice_unit,
        )


class Notifier:
    """Makes notices in one process.

    Args:
        loop: the event loop, for body files.
        disk: the disk.
        body_folder: descriptor of data/journal/body.
        enqueuer: of this process, started.
        ids: gives message ids.
        now: Unix time in seconds.
        note: takes records for the transaction log.
        process: our process id as the log prints it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        disk: Disk,
        body_folder: int,
        enqueuer: Enqueuer,
        ids: MessageIds,
        now: Callable[[], float],
        note: Callable[[Iterable[Record]], None],
        process: str,
    ) -> None:
        self._loop = loop
        self._disk = disk
        self._body_folder = body_folder
        self._enqueuer = enqueuer
        self._ids = ids
        self._now = now
        self._note = note
        self._process = process

    def send(
        self,
        kind: Kind,
        envelope: Envelope,
        parts: Sequence[bytes],
        reports: Sequence[Report],
        channel: str,
        wording: Wording,
        stamp: str,
        done: Callable[[OSError | None], None],
        retry_until: float = 0.0,
        *,
        to: str = "",
        header_only: bool = False,
    ) -> None:
        """Make a notice and enqueue it.

        Args:
            kind: which one.
            envelope: of the message it is about; its sender is not null, or the notice is for somebody else.
            parts: that message; not empty.
            reports: those of its recipients who are told of.
            channel: where it was waiting.
            wording: of the configuration.
            stamp: the time, as records carry it.
            done: told None, or why the notice is not durable.
            retry_until: Unix seconds of the last try, for a delay; 0.0 when there is none.
            to: the postmaster, where he is who it is for; empty for the sender.
            header_only: the message itself is not part of it.
        """
        notice = Notice(
            kind, envelope, reports, wording.reporter, channel, wording.postmaster, self._ids.next(), self._now(),
            retry_until, content_limit=wording.content_limit, personal=wording.personal, texts=wording.texts, unit=wording.unit,
            to=to, header_only=header_only,
        )  # fmt: skip
        octets = b"".join(build(notice, header_of(parts), parts))
        whom = to or envelope.sender
        recipient = Recipient(0, 0, CHANNEL, whom, whom, intermediate=whom)
        answer = own_envelope(octets, recipient, envelope, wording, notice.id, notice.now, channel)

        def finished(error: OSError | None) -> None:
            if error is None:
                self._note((own_record(answer, envelope, wording, stamp, self._process),))
            done(error)

        if len(octets) <= INLINE_LIMIT:
            self._submit(answer, (octets,), finished)
        else:
            self._write_file(answer, octets, finished)

    def _submit(self, answer: Envelope, body: Sequence[bytes] | BodyReference, done: Callable[[OSError | None], None]) -> None:
        if not self._enqueuer.submit(answer, body, done):
            done(OSError(12, "too much waits for the journal"))

    def _write_file(self, answer: Envelope, octets: bytes, done: Callable[[OSError | None], None]) -> None:
        def write() -> BodyReference:
            file = BodyFile(self._disk, self._body_folder, answer.id)
            try:
                file.write(octets)
                return file.finish()
            except OSError:
                file.abandon()
                raise

        def written(future: asyncio.Future[BodyReference]) -> None:
            error = future.exception()
            if error is None:
                self._submit(answer, future.result(), done)
            else:
                done(error if isinstance(error, OSError) else OSError(str(error)))

        self._loop.run_in_executor(None, write).add_done_callback(written)


def own_envelope(
    octets: bytes, recipient: Recipient, about: Envelope, wording: Wording, identity: str, now: float, channel: str = CHANNEL
) -> Envelope:
    """The envelope of a message of ours about another one; its Message-ID is `<identity@reporter>`.

    Args:
        octets: the message.
        recipient: who it is for.
        about: the other message.
        wording: whose reporter it comes from.
        identity: our id for it.
        now: Unix seconds.
        channel: where it comes from.
    """
    return Envelope(
        id=identity, sender="", source_channel=channel, source="", enqueued=int(now * 1000), size=len(octets),
        recipients=(recipient,), message_id=f"<{identity}@{wording.reporter}>", eight_bit=not octets.isascii(),
        utf8=not recipient.address.isascii(), wire_growth=count_growth(octets), about=about.id,
    )  # fmt: skip


async def enqueue_own(enqueuer: Enqueuer, own: Envelope, octets: bytes) -> None:
    """Wait until a message of ours is durable.

    Raises:
        OSError: it is not.
    """
    durable: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    if not enqueuer.submit(own, (octets,), durable.set_result):
        raise OSError(12, "too much waits for the journal")
    error = await durable
    if error is not None:
        raise error


def own_record(own: Envelope, about: Envelope, wording: Wording, stamp: str, process: str) -> Record:
    """What the transaction log says of it."""
    recipient = own.recipients[0]
    return Record(
        ts=stamp, ac=Action.ENQUEUED, sc=own.source_channel, dc=CHANNEL, sz=-(-own.size // 1024), ei=own.id, ri=0,
        od=f"rfc822;{recipient.original}", de=recipient.address, mi=f"{own.message_id},{about.message_id}", pi=process,
        fi=log_path(wording.queue_folder, CHANNEL, wording.subdirs, own.id, 0, 0), ab=about.id,
    )  # fmt: skip


def header_of(parts: Iterable[bytes]) -> bytes:
    """The header of a message in parts, with its empty line; at most 256 KiB of it."""
    held = b""
    for part in parts:
        held += part
        if held.startswith(b"\r\n"):
            return b"\r\n"
        end = held.find(b"\r\n\r\n")
        if end >= 0:
            return held[: end + 4]
        if len(held) >= HEADER_LIMIT:
            break
    return held[:HEADER_LIMIT]
