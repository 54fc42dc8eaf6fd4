"""One attempt to deliver one leased copy: what became of each recipient, written down in the order that loses nothing.

* A 2yz reply of its own: the mark D (or state octet) at once, by one pwrite, before anything else is done with the reply.
* A 5yz: the sender's notice is made durable first, one for all recipients that failed in the attempt, and only then the mark F.
  NOTIFY=NEVER and the null sender have no notice: logged `K`, marked at once. A notice that cannot be made durable leaves
  its recipients to do.
* A success the sender wants to hear of (NOTIFY=SUCCESS) is told of after its mark, if `success` says as what: best effort, for a
  success nobody hears of is not repeated.
* Anything else: stays to do; logged `Q`, or `Z` when others were delivered and an immediate retry is to be had.
* At the end: history and the next prefix, or the removal of a queue file, in a thread; then one result to the controller.

`end` is called once; after it nothing else is.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from posthouse.mail.envelope import Recipient
from posthouse.mail.status import Status
from posthouse.relay.channels.telling import is_postmasters, policy_of, tell
from posthouse.relay.channels.workshop import Workshop, copy_path
from posthouse.relay.job_controller.backoff import Verdict, is_busy
from posthouse.relay.job_controller.protocol import Job, Lease, Result
from posthouse.relay.notices.dsn import Kind, Report, reason, wants
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.relay.queue.queue_file import OpenQueueFile, Replaced
from posthouse.relay.queue.queue_format import Attempt as HistoryLine
from posthouse.relay.queue.queue_format import State
from posthouse.trace.record import Action, Record
from posthouse.trace.writer import stamp

if TYPE_CHECKING:
    import asyncio

_KEPT = (Action.DEFERRED, Action.PARTLY)
_DONE = State.DONE
_DONE_MARK = State.DONE.value
_DEQUEUED = Action.DEQUEUED
_DECIDED = {Kind.FAILED: "refused for good", Kind.TIMED_OUT: "too old", Kind.RETURNED: "to be returned by an operator's order"}
_NO_RESULT = Status(451, "4.3.0", "no result")


class Attempt:
    """An attempt under way.

    Args:
        shop: what the worker shares.
        lease: the copy.
        opened: the copy, opened; closed by `end`.
        ended: called when the lease is given back.
    """

    __slots__ = (
        "_delivered", "_ended", "_failed", "_fast", "_good", "_left", "_opened", "_ours", "_reach", "_settled", "_shop",
        "body_sent", "diagnostics", "kind", "lease", "partly", "quiet", "success", "verdict",
    )  # fmt: skip

    def __init__(
        self, shop: Workshop, lease: Lease, opened: OpenCopy, ended: Callable[[], None] | None = None, *, fast: bool = False
    ) -> None:
        self._shop = shop
        self.lease = lease
        self._opened = opened
        self._ended = ended
        self._fast = fast
        self._settled: list[tuple[int, str]] = []
        self._failed: list[tuple[Recipient, Status]] = []
        self._left: list[tuple[Recipient, Status]] = []
        self._good: dict[Kind, list[tuple[Recipient, Status]]] = {}
        self._ours: set[int] = set()
        self._delivered = 0
        self._reach = ("", "", "", "")
        self.kind = Kind.FAILED
        """what the sender is told when recipients failed"""
        self.success: Kind | None = None
        """what a sender who wants to hear of success is told; None where the next system tells"""
        self.verdict: Verdict | None = None
        """set it to report something else than what the replies mean, e.g. HOST_DOWN"""
        self.partly = Verdict.PARTLY
        """what is reported where some were delivered, and marked so, and others are left"""
        self.body_sent = False
        """set it when the message has gone out: what the log says of its size"""
        self.quiet = ""
        """why nobody is told of the recipients that failed; the log says it"""
        self.diagnostics: Mapping[int, Status] = {}
        """by recipient id: what the sender is told a server said, where that is not the recipient's result"""

    @property
    def untouched(self) -> bool:
        """Whether no recipient has a result yet."""
        return not (self._settled or self._failed or self._left)

    def reached(self, host: str, transport: str, banner: str, modifiers: str = "L") -> None:
        """Which server answers: its name, `TCP|local|port|remote|port`, its greeting."""
        self._reach = (host, transport, banner, modifiers)

    def refuse(self, recipient: Recipient, status: Status) -> None:
        """A recipient is not sent to the server at all: its notice does not say that the server refused it."""
        self._ours.add(recipient.id)
        self.result(recipient, status, after_data=False)

    def result(self, recipient: Recipient, status: Status, *, after_data: bool = True) -> None:
        """One recipient's own reply, or a status that is nobody's: 2yz only from a server."""
        if status.is_success:
            self._mark(recipient, status, self.success)
        elif status.is_permanent:
            self._failed.append((recipient, status))
        else:
            if self._fast and self.verdict is None and after_data and is_busy(status):
                self.verdict = Verdict.BUSY
            self._left.append((recipient, status))

    def tell(self, recipient: Recipient, status: Status, kind: Kind) -> None:
        """A recipient that stands for nothing but the sender's being told of a success."""
        self._mark(recipient, status, kind)

    def _mark(self, recipient: Recipient, status: Status, success: Kind | None) -> None:
        try:
            self._opened.settle(recipient.id, _DONE)
        except OSError as error:
            self._shop.alarm(f"a delivered recipient cannot be marked and will be delivered again: {error}")
            self._left.append((recipient, Status(451, "4.3.0", "delivered, but the queue could not be written")))
            return
        self._is_marked([(recipient, status)], success)

    def delivered(self, pairs: list[tuple[Recipient, Status]]) -> None:
        """Recipients' own replies that came together and are all 2yz: they are marked together."""
        try:
            self._opened.settle_all([recipient.id for recipient, _ in pairs], _DONE)
        except OSError:
            for recipient, status in pairs:  # those that can be marked are
                self.result(recipient, status)
            return
        self._is_marked(pairs, self.success)

    def _is_marked(self, pairs: list[tuple[Recipient, Status]], success: Kind | None) -> None:
        """Delivered recipients have their mark; of which success their sender is told, if he wants to hear."""
        self._delivered += len(pairs)
        self._settled += [(recipient.id, _DONE_MARK) for recipient, _ in pairs]
        self._shop.note(self._records(_DEQUEUED, pairs))
        if success is not None:
            for pair in pairs:
                if pair[0].notify and wants(pair[0], success):
                    self._good.setdefault(success, []).append(pair)

    def leave(self, verdict: Verdict = Verdict.AGAIN) -> None:
        """Give the copy back as it is: no recipient has a result, nobody was tried; the lease's code and text say why."""
        self._opened.close()
        lease = self.lease
        self._shop.tell(Result(lease.key, verdict, (), lease.code, "", lease.text, lease.file))
        if self._ended is not None:
            self._ended()

    def end(self) -> None:
        """All recipients have their result: tell the sender of those that failed, then give the lease back.

        One that has none stays to do: nothing but a result of its own settles a recipient.
        """
        if not (self._failed or self._left or self._good) and len(self._settled) == len(self._opened.recipients):
            self._close()  # all were delivered, and nobody wants to hear of it
            return
        envelope = self._opened.envelope
        seen = {key for key, _ in self._settled}.union(r.id for r, _ in self._failed).union(r.id for r, _ in self._left)
        self._left += [(each, _NO_RESULT) for each in self._opened.recipients if each.id not in seen]
        told = [(r, s) for r, s in self._failed if not self.quiet and self._wants(r)]
        for kind, pairs in self._good.items() if envelope.sender else ():
            self._tell_success(kind, pairs)
        posted = self._failed if self._failed and not self.quiet and self._is_posted(envelope.sender) else []
        if not told and not posted:
            self._fail(Action.DROPPED, self._failed)
            self._close()
            return
        heard = posted or told
        try:
            parts = tuple(self._opened.parts())
        except OSError as error:
            self._noticed(error, heard)
            return
        if not told and is_postmasters(self._shop, envelope, parts):
            self._noticed(None, [])
            return
        channel, reports, copies = self.lease.channel, self._reports(told), self._reports(posted)
        tell(self._shop, self.kind, envelope, parts, channel, reports, copies, lambda error: self._noticed(error, heard))

    def _wants(self, recipient: Recipient) -> bool:
        """Whether the sender hears of this recipient's failure."""
        return bool(self._opened.envelope.sender) and wants(recipient, self.kind)

    def _is_posted(self, sender: str) -> bool:
        return policy_of(self._shop, self.lease.channel).wants(self.kind, sender)

    def _reports(self, about: list[tuple[Recipient, Status]]) -> list[Report]:
        host, transport, banner, _ = self._reach
        return [
            Report(r, s) if r.id in self._ours else Report(r, self.diagnostics.get(r.id, s), host, transport, banner)
            for r, s in about
        ]

    def _notify(
        self, kind: Kind, parts: tuple[bytes, ...], told: list[tuple[Recipient, Status]], done: Callable[[OSError | None], None]
    ) -> None:
        reports, shop = self._reports(told), self._shop
        shop.notifier.send(kind, self._opened.envelope, parts, reports, self.lease.channel, shop.wording, shop.stamp(), done)

    def _tell_success(self, kind: Kind, pairs: list[tuple[Recipient, Status]]) -> None:
        def told(error: OSError | None) -> None:
            if error is not None:
                self._shop.alarm(f"a sender could not be told of a success: {error}")

        try:
            self._notify(kind, tuple(self._opened.parts()), pairs, told)
        except OSError as error:
            told(error)

    def _noticed(self, error: OSError | None, told: list[tuple[Recipient, Status]]) -> None:
        quiet = [pair for pair in self._failed if pair not in told]
        self._fail(Action.DROPPED, quiet)
        if error is None:
            self._fail(Action.RETURNED, told)
        else:
            self._shop.alarm(f"a notice could not be enqueued: {error}")
            reason = Status(451, "4.3.1", f"{_DECIDED[self.kind]}, but the notice to the sender could not be enqueued")
            self._left += [(recipient, reason) for recipient, _ in told]
        self._close()

    def _fail(self, action: Action, pairs: list[tuple[Recipient, Status]]) -> None:
        for recipient, status in pairs:
            try:
                self._opened.settle(recipient.id, State.FAILED)
            except OSError as error:
                self._shop.alarm(f"a failed recipient cannot be marked: {error}")
                self._left.append((recipient, status))
                continue
            self._settled.append((recipient.id, State.FAILED.value))
            self._shop.note(self._records(action, [(recipient, status)]))

    def _close(self) -> None:
        verdict = self._judge()
        if self._left:
            action = Action.PARTLY if verdict is Verdict.PARTLY and self.lease.instant else Action.DEFERRED
            self._shop.note(self._records(action, self._left))
        elif verdict is Verdict.DONE:
            envelope, shop = self._opened.envelope, self._shop
            waited = shop.now() - envelope.enqueued / 1000
            shop.log.counters.left(self.lease.channel, -(-envelope.size // 1024), waited, self.lease.attempts)
        if isinstance(self._opened, OpenQueueFile):
            future = self._shop.loop.run_in_executor(None, self._close_file, self._opened, verdict)
            future.add_done_callback(lambda done: self._give_back(_outcome(done, verdict)))
        else:
            self._opened.close()
            self._give_back((verdict, ""))

    def _judge(self) -> Verdict:
        if not self._left:
            return Verdict.REST if self.lease.some else Verdict.DONE
        if self.verdict is not None:
            return self.verdict
        return self.partly if self._delivered else Verdict.DEFERRED

    def _close_file(self, opened: OpenQueueFile, verdict: Verdict) -> tuple[Verdict, str]:
        """In a thread: what the queue file says next."""
        try:
            if verdict is Verdict.DONE:
                opened.remove()
                return Verdict.DONE, ""
            with contextlib.suppress(OSError):  # a full disk: the line is missed, the attempt is not
                opened.add_history(self._history())
            tried = self.lease.job is Job.DELIVER and verdict is not Verdict.AGAIN
            return verdict, (opened.next_attempt() if tried else opened.same_attempt()).path
        except Replaced:
            return Verdict.GONE, ""
        finally:
            opened.close()

    def _history(self) -> list[HistoryLine]:
        now, host = int(self._shop.now() * 1000), self._reach[0]
        return [
            HistoryLine(now, self.lease.attempts, recipient.id, status.enhanced, status.code, status.text, host)
            for recipient, status in self._left
        ]

    def _give_back(self, outcome: tuple[Verdict, str]) -> None:
        verdict, file = outcome
        left = self._left
        result = Result(self.lease.key, verdict, tuple(self._settled), file=file or self.lease.file)
        if left:
            status = left[0][1]
            result.code, result.enhanced, result.text = status.code, status.enhanced, status.text
            if any(each != status for _, each in left):
                result.replies = tuple((r.id, s.code, s.enhanced, s.text) for r, s in left)
            if verdict is Verdict.BUSY:
                result.patient = tuple(r.id for r, s in left if not is_busy(s))
        elif self.lease.job is Job.REROUTE:
            result.code, result.text = self.lease.code, self.lease.text
        self._shop.tell(result)
        if self._ended is not None:
            self._ended()

    def _records(self, action: Action, pairs: list[tuple[Recipient, Status]]) -> list[Record]:
        """What the log says of recipients that came to the same: what is the same for all is worked out once."""
        shop, lease, envelope = self._shop, self.lease, self._opened.envelope
        host, transport, banner, modifiers = self._reach
        now = shop.now()
        time, waited, process = stamp(now), now - envelope.enqueued / 1000, shop.log.process
        where = f"dns;{host} ({transport}) ({banner}) " if host and transport else ""
        file, mode = copy_path(shop, lease, envelope.id), modifiers if host else ""
        size = 0 if action in _KEPT and not self.body_sent else -(-envelope.size // 1024)  # what was transferred
        return [
            Record(
                ts=time, ac=action, mo=mode, sc=lease.channel, sz=size, so=envelope.sender,
                od=recipient.asked, de=recipient.address, fi=file, ei=envelope.id,
                ri=recipient.id, mi=envelope.message_id, pi=process,
                re="" if action is _DEQUEUED else self._why(action, recipient, status), di=f"{where}smtp;{status}",
                tr=transport, qt=waited, ho=host or recipient.host, co=status.code, en=status.enhanced, tx=status.text,
                at=lease.attempts, ia=recipient.intermediate, ab=envelope.about,
            )
            for recipient, status in pairs
        ]  # fmt: skip

    def _why(self, action: Action, recipient: Recipient, status: Status) -> str:
        """LOG_REASON: of R and K only."""
        unasked = f"NOTIFY={recipient.notify}" if self._opened.envelope.sender else "null sender"
        if action is Action.RETURNED:
            why = reason(self.kind, Report(recipient, status, "" if recipient.id in self._ours else self._reach[0]))
            return why if self._wants(recipient) else f"{why}; only the postmaster is told: {unasked}"
        if action is Action.DROPPED:
            return self.quiet or f"no notice: {unasked}"
        return ""


def _outcome(done: "asyncio.Future[tuple[Verdict, str]]", verdict: Verdict) -> tuple[Verdict, str]:
    error = done.exception()
    if error is None:
        return done.result()
    return (Verdict.DEFERRED if verdict is Verdict.DONE else verdict), ""
