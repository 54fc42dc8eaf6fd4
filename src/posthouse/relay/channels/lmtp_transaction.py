"""One copy in one LMTP transaction: what is said for it, and what becomes of its recipients by their own replies.

* MAIL with SIZE, BODY=8BITMIME and SMTPUTF8 where listed; RCPT with XQUOTA and XDFLG where listed or after the chapter's
  bare `250 OK`; IGNOREQUOTA for value 2 where that is listed (LMTP reference 2, 4). XQID=<envelope id>.<recipient id> where that
  is listed: the same at every try, so that a store can tell a repeat (message-store 5). XFLAGS where a script has set flags.
* The quota is told once: at a retry the store may have heard a newer one from a later message, which ours must not undo.
* An address outside ASCII is not sent to a server without SMTPUTF8: 5.6.7 for its recipients.
* `500 message too big`: SIZE is counted again over the octets and the copy is sent once more at once; then it is 5.3.4. A copy
  that has had its immediate retry is counted from the start.
* Recipients put off with 452 while others of the copy were delivered have the next transaction (RFC 5321 4.5.3.1.10), at once:
  that is no failure.
* A kept connection that turns out to be closed before the body was sent has cost nothing: the copy goes over another one.
* To one recipient up to 64 KiB go along with the envelope, by BDAT (RFC 3030), where CHUNKING and PIPELINING are listed and the
  channel has no `nochunkingclient`: one round trip instead of two. The first of a connection goes by DATA: of a server that says
  too much a reply could be taken for the message's, and is found out by what should be 354 (decision 152).
"""

from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple, Self

from posthouse.dialogue.client import Transaction
from posthouse.dialogue.client_event import RecipientResult
from posthouse.dialogue.stuffing import Stuffer, in_lines, wire_size
from posthouse.dialogue.too_big import is_too_big
from posthouse.mail.envelope import Recipient
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.next_system import NEEDS_UTF8, is_wide
from posthouse.relay.channels.settings import ChannelSettings
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.notices.dsn import Kind
from posthouse.relay.queue.open_copy import OpenCopy

if TYPE_CHECKING:
    from posthouse.relay.channels.lmtp_host import LmtpHost, Waiting

OVER_QUOTA_FLAG = 2
CHUNK_LIMIT = 65_536
"""octets of a message that is sent along with its envelope"""
_TOO_BIG = Status(500, "5.3.4", "message too big")
_COUNT_AGAIN = Status(452, "4.3.4", "message too big for the size announced; it is counted again")


class Offers(NamedTuple):
    """What a server takes, and we say."""

    utf8: bool = False
    eight_bit: bool = False
    repeats: bool = False
    """XQID"""
    quota: bool = False
    no_quota: bool = False
    """IGNOREQUOTA"""
    flags: bool = False
    imap_flags: bool = False
    chunks: bool = False
    """CHUNKING and PIPELINING"""

    @classmethod
    def of(cls, listed: Container[str], *, bare: bool, settings: ChannelSettings) -> Self:
        """What follows from a server's answer to LHLO.

        Args:
            listed: its extensions.
            bare: it answered with the chapter's `250 OK`.
            settings: of the channel.
        """
        sends_flags = settings.sends_flags
        return cls(
            "SMTPUTF8" in listed, "8BITMIME" in listed, "XQID" in listed, sends_flags and (bare or "XQUOTA" in listed),
            sends_flags and "IGNOREQUOTA" in listed, sends_flags and (bare or "XDFLG" in listed),
            sends_flags and "XFLAGS" in listed, settings.sends_chunks and "CHUNKING" in listed and "PIPELINING" in listed,
        )  # fmt: skip


class LmtpTransaction:
    """One copy under way.

    Args:
        host: whose copy it is.
        job: the copy.
        opened: the copy, opened.
    """

    __slots__ = ("_again", "_host", "_lost", "_oversize", "attempt", "body_sent", "chunked", "job", "opened", "recipients")

    def __init__(self, host: "LmtpHost", job: "Waiting", opened: OpenCopy) -> None:
        self._host = host
        self.job = job
        self.opened = opened
        self.recipients: list[Recipient] = []
        """those that are sent to the server"""
        self._lost: list[tuple[Recipient, Status]] = []
        self._oversize: list[Recipient] = []
        self.body_sent = self.chunked = self._again = False
        self.attempt = Attempt(host.shop, job.lease, opened, fast=host.settings.fast_retry)
        self.attempt.success = Kind.DELIVERED

    def command(self, offers: Offers) -> Transaction | None:
        """What is said; None: to nobody."""
        opened, wire_of, everybody = self.opened, self._host.wires.of, self.recipients
        envelope = opened.envelope
        utf8, sender = offers.utf8, envelope.sender
        xqid = f" XQID={envelope.id}." if offers.repeats else ""
        narrow = utf8 or sender.isascii()
        arguments = []
        for recipient in opened.recipients:
            wire = wire_of(recipient.address)
            if not (narrow and (utf8 or wire.isascii())):
                self.attempt.refuse(recipient, NEEDS_UTF8)
                continue
            everybody.append(recipient)
            parameters = self._rcpt_parameters(recipient, offers)
            said = f"<{wire}>{parameters}{xqid}{recipient.id}" if xqid else f"<{wire}>{parameters}"
            arguments.append(said.encode("utf-8", "surrogateescape"))
        if not arguments:
            return None
        growth = _exact_growth(opened) if self.job.exact else envelope.wire_growth
        params = b"BODY=8BITMIME" if envelope.eight_bit and offers.eight_bit else b""
        if utf8 and is_wide(envelope, arguments):
            params += b" SMTPUTF8" if params else b"SMTPUTF8"
        size = wire_size(envelope.size, growth)
        chunk = b""
        if offers.chunks and len(arguments) == 1 and 0 < envelope.size <= CHUNK_LIMIT and self._host.takes_chunks:
            chunk = in_lines(b"".join(opened.parts()))
            self.chunked = True
        return Transaction(sender.encode("utf-8", "surrogateescape"), size, tuple(arguments), params, chunk)

    def _rcpt_parameters(self, recipient: Recipient, offers: Offers) -> str:
        flags, out = recipient.flags, ""
        if offers.quota and recipient.quota and not self.job.lease.told:
            out = f" XQUOTA={recipient.quota}"
        if flags & OVER_QUOTA_FLAG and offers.no_quota:
            flags &= ~OVER_QUOTA_FLAG
            out += " IGNOREQUOTA"
        if offers.flags:
            out += f" XDFLG={flags}"
        if offers.imap_flags and recipient.imap_flags:
            out += f" XFLAGS={recipient.imap_flags}"
        return out

    def cannot_be_sent(self, error: OSError | ValueError) -> None:
        """A disk's fault, or an operator's edit of the queue file: it must neither bounce nor stop the others."""
        enhanced = "4.3.0" if isinstance(error, OSError) else "4.1.3"
        for recipient in self.recipients:
            self.attempt.refuse(recipient, Status(451, enhanced, f"cannot be sent: {error}"))

    def refuses_chunks(self) -> None:
        """The server lists CHUNKING and does not know BDAT: it gets DATA from now on, this copy at once."""
        self._again = True
        self._host.takes_chunks = False

    def sends_body(self) -> None:
        """From now on a result counts as one to the whole message."""
        self.body_sent = self.attempt.body_sent = True

    def hear(self, events: list[RecipientResult]) -> None:
        """What became of recipients whose replies came together: those that have the message are marked first."""
        sent = self.recipients
        delivered = [(sent[each.index], each.status) for each in events if each.final and each.status.is_success]
        if delivered:
            self.attempt.delivered(delivered)
        if len(delivered) < len(events):
            for event in events:
                if not event.final:
                    self._lost.append((sent[event.index], event.status))
                elif not event.status.is_success:
                    self._hear_refusal(sent[event.index], event.status)

    def _hear_refusal(self, recipient: Recipient, status: Status) -> None:
        if is_too_big(status):
            self._oversize.append(recipient)
        else:
            if not self.body_sent:
                status = self._host.without_own_fault(status)
            if status.code == 552 and not self.body_sent and status.enhanced != "5.3.4":
                status = Status(452, "4" + status.enhanced[1:] if status.enhanced else "", status.text)  # RFC 5321 4.5.3.1.10
            if status.code == 452 and not self.body_sent and status.enhanced in {"", "4.5.3"}:
                self.attempt.partly = Verdict.AGAIN  # too many: a transaction for the others at once
            if status.enhanced == "5.1.1":
                name = self._host.connect_name
                self._host.shop.alarm(f"{name} has no mailbox for {recipient.original}; its mail is sent there")
            self.attempt.result(recipient, status, after_data=self.body_sent)

    def conclude(self, *, kept: bool) -> None:
        """It is over: settle what is left of it.

        Args:
            kept: its connection has carried others before.
        """
        job, attempt, host, everybody = self.job, self.attempt, self._host, len(self.recipients)
        nothing = not self.body_sent and everybody > 0 and len(self._lost) == everybody and attempt.untouched
        if self._again and attempt.untouched:
            self.opened.close()
            host.again(job)
        elif nothing and kept and not job.stale:
            self.opened.close()
            host.again(job, stale=True)
        elif self._oversize and len(self._oversize) == everybody and not job.exact and attempt.untouched:
            self.opened.close()
            host.again(job, exact=True)
        else:
            for recipient, status in self._lost:
                attempt.result(recipient, status)
            self._settle_oversize()
            attempt.end()

    def _settle_oversize(self) -> None:
        """Others of the copy have their result already: an immediate retry counts SIZE; after that it is final."""
        if self._oversize and not self.job.exact:
            self.attempt.verdict = Verdict.PARTLY
        for recipient in self._oversize:
            self.attempt.result(recipient, _TOO_BIG if self.job.exact else _COUNT_AGAIN)


def _exact_growth(opened: OpenCopy) -> int:
    stuffer = Stuffer()
    return sum(len(stuffer.feed(part)) - len(part) for part in opened.parts())
