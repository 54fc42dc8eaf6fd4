"""Accepting a message: one record for all its copies, then the answer, then the announcement (DURABILITY 3.1).

    submit(envelope, body, done) -> False: too much waits, stop reading
                                  -> done(None): durable, answer 250;  done(OSError): answer 451/452, nothing was accepted
    submit_all([item(...), ...]) -> how many were taken; while the disk is quick they are durable and answered by then

`announce(segment, offset)` is called after the answers of a batch, with everything below the offset durable. It is
cumulative: losing a call does not matter. A body over 256 KiB is a finished body file and is given by its reference.
"""

import threading
from collections.abc import Callable, Sequence

from posthouse.journal.body_file import INLINE_LIMIT, BodyReference
from posthouse.journal.commit import Completion, Item
from posthouse.journal.disk import Disk, Octets
from posthouse.journal.segment import SEGMENT_SIZE, Flag, RecordRef, Tier
from posthouse.journal.writer import MAX_SEGMENTS, QUICK_SECONDS, Writer
from posthouse.mail.envelope import Envelope, encode_envelope

Done = Callable[[OSError | None], None]
CallSoon = Callable[[Callable[[list[Completion]], None], list[Completion]], object]


def at_once(function: Callable[[list[Completion]], None], done: list[Completion]) -> None:
    """A `call_soon` for owners without an event loop: answers come in the committer's thread."""
    function(done)


class Enqueuer:
    """Accepts messages for one process.

    Args:
        disk: the disk.
        journal: descriptor of data/journal.
        role: first part of the segments' names.
        call_soon: brings completions to the owner's thread, the one that made this: `loop.call_soon_threadsafe`, or `at_once`.
        announce: told segment and synced offset.
        segment_size: octets of a segment.
        max_segments: sealed segments of ours that may stand before accepting stops.
        max_waiting: octets that may wait for their sync.
        quick_seconds: what a batch may take for the next one to be made durable in the owner's thread.
    """

    def __init__(
        self,
        disk: Disk,
        journal: int,
        role: str,
        *,
        call_soon: CallSoon,
        announce: Callable[[str, int], None],
        segment_size: int = SEGMENT_SIZE,
        max_segments: int = MAX_SEGMENTS,
        max_waiting: int = 64 << 20,
        quick_seconds: float = QUICK_SECONDS,
    ) -> None:
        self._call_soon = call_soon
        self._announce = announce
        self._thread = threading.get_ident()
        self._sent = self._answered = 0
        """records the journal took, and those of them that are answered and announced"""
        self.writer = Writer(
            disk, journal, Tier.RELAY, role, completed=self._completed, segment_size=segment_size,
            max_segments=max_segments, max_waiting=max_waiting, quick_seconds=quick_seconds,
        )  # fmt: skip

    def start(self) -> None:
        """Start the journal's threads."""
        self.writer.start()

    def stop(self) -> None:
        """Make durable and answer what waits, end the threads. Blocks."""
        self.writer.stop()

    def submit(self, envelope: Envelope, body: Sequence[Octets] | BodyReference, done: Done) -> bool:
        """Accept a message.

        Args:
            envelope: recipient ids are 0, 1, ... in order; `size` is the body's.
            body: its parts, unchanged until `done`, or the reference of a finished body file.
            done: called once, through `call_soon`.

        Returns:
            False: too much waits; nothing was taken and `done` is not called.

        Raises:
            ValueError: see `item`.
        """
        return self._put(self.item(envelope, body, done))

    def submit_all(self, items: Sequence[Item]) -> int:
        """Accept messages, one sync for all. Only in the owner's thread, and where nobody else submits in another one.

        While the disk is quick and nothing sent before is still to be answered (decision 141), each `done` was called when this
        returns; else they come through `call_soon`. What they submit follows, it never overtakes.

        Returns:
            How many of the first were taken: for the others too much waits.
        """
        if self._sent == self._answered:
            self._sent += len(items)
            if self.writer.commit_now(items):
                return len(items)
            self._sent -= len(items)
        for number, item in enumerate(items):
            if not self._put(item):
                return number
        return len(items)

    def item(self, envelope: Envelope, body: Sequence[Octets] | BodyReference, done: Done) -> Item:
        """A message for `submit_all`; the arguments are those of `submit`.

        Raises:
            ValueError: the envelope is too large, the ids are not in order, its size is not the body's, or the body should
                be a body file.
        """
        if envelope.size != (body.size if isinstance(body, BodyReference) else sum(map(len, body))):
            raise ValueError("the envelope's size is not the body's")
        if [each.id for each in envelope.recipients] != [*range(len(envelope.recipients))]:
            raise ValueError("recipient ids are not their places")
        if isinstance(body, BodyReference):
            return self.writer.item(
                done, encode_envelope(envelope), (body.encode(),), len(envelope.recipients), flags=Flag.BODY_FILE.value
            )
        if envelope.size > INLINE_LIMIT:
            raise ValueError("a body over 256 KiB goes into a body file")
        return self.writer.item(done, encode_envelope(envelope), body, len(envelope.recipients))

    def _put(self, item: Item) -> bool:
        self._sent += 1
        if self.writer.put(item):
            return True
        self._sent -= 1
        return False

    def _completed(self, done: list[Completion]) -> None:
        if threading.get_ident() == self._thread:
            self._answer(done)
            return
        try:
            self._call_soon(self._answer, done)
        except RuntimeError as error:
            if "is closed" not in str(error):
                raise
            # the event loop has ended: nobody is left to be answered

    def _answer(self, done: list[Completion]) -> None:
        last: dict[str, RecordRef] = {}
        try:
            for each in done:
                if each.record is not None:
                    last[each.record.segment] = each.record
                answer: Done = each.token  # type: ignore[assignment] # tokens are what submit gave
                answer(each.error)
            for segment, record in last.items():
                self._announce(segment, record.end)
        finally:
            self._answered += len(done)  # not before: what an answer submits goes through the thread, behind these announcements
