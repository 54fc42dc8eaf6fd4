"""What the SMTP server writes to the transaction log (logging.md 4): E, J, B, V, U, A, O and C records."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from posthouse.mail.envelope import Envelope
from posthouse.mail.status import Status
from posthouse.relay.queue.names import log_path
from posthouse.relay.smtp_server.data import Double
from posthouse.relay.smtp_server.login import Outcome
from posthouse.relay.smtp_server.transaction import Transaction
from posthouse.trace.record import Action, Record

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.envelope import EnvelopeSession

_BLOCK = 1024


def _modifiers(session: "EnvelopeSession") -> str:
    client = session.client
    return ("E" if client.esmtp else "") + ("S" if client.tls else "") + ("A" if client.user else "")


def blocks(octets: int) -> int:
    """Size in blocks, rounded up."""
    return -(-octets // _BLOCK)


def enqueued(session: "EnvelopeSession", envelope: Envelope, doubles: Sequence[Double]) -> list[Record]:
    """One E record for each recipient: the message is durable.

    One more for each recipient that leads where another one leads: without channels it is only in the JSON log, so that
    `posthouse trace` finds the message by that spelling and the text log still has as many E as D.
    """
    relay, transport, mode = session.relay, session.transport_name, _modifiers(session)
    ts, process, size, ident = relay.stamp(), relay.log.process, blocks(envelope.size), envelope.id
    paths = {
        (channel, copy): log_path(relay.queue_folder, channel, relay.subdirs(channel), ident, copy, 0)
        for channel, copy in {(recipient.channel, recipient.copy) for recipient in envelope.recipients}
    }
    records = [
        Record(
            ts=ts,
            ac=Action.ENQUEUED,
            mo=mode,
            sc=envelope.source_channel,
            dc=recipient.channel,
            sz=size,
            so=recipient.sender or envelope.sender,
            od=f"rfc822;{recipient.original}",
            de=recipient.address,
            fi=paths[recipient.channel, recipient.copy],
            ei=ident,
            ri=recipient.id,
            mi=envelope.message_id,
            us=envelope.user,
            ss=envelope.source,
            pi=process,
            tr=transport,
            ap="SMTP",
            ho=recipient.host,
            ia=recipient.intermediate,
        )
        for recipient in envelope.recipients
    ]
    if doubles:
        records += [_without_mail(session, envelope, double, ts) for double in doubles]
    return records


def _without_mail(session: "EnvelopeSession", envelope: Envelope, double: Double, ts: str) -> Record:
    first = envelope.recipients[double.recipient]
    return Record(
        ts=ts,
        ac=Action.ENQUEUED,
        mo=_modifiers(session),
        so=envelope.sender,
        od=f"rfc822;{double.original}",
        de=first.address,
        ei=envelope.id,
        ri=first.id,
        mi=envelope.message_id,
        pi=session.relay.log.process,
        re=f"{double.why} {first.original}",
    )


def refused(session: "EnvelopeSession", transaction: Transaction, status: Status, message_id: str = "") -> list[Record]:
    """J for each recipient that had been taken: the message, with this Message-ID, was refused at its end."""
    return [
        rejected(session, transaction, taken.original, status, "message refused", message_id) for taken in transaction.recipients
    ]


def rejected(
    session: "EnvelopeSession", transaction: Transaction | None, recipient: str, status: Status, reason: str, message_id: str = ""
) -> Record:
    """J: an attempt to enqueue was refused."""
    return Record(
        ts=session.relay.stamp(),
        ac=Action.REFUSED,
        mo=_modifiers(session),
        sc=session.client.channel,
        so=transaction.sender if transaction is not None else "",
        od=f"rfc822;{recipient}",
        de=recipient,
        ei=transaction.message_id if transaction is not None else "",
        mi=message_id,
        us=session.client.user,
        pi=session.relay.log.process,
        ss=session.source,
        re=reason,
        di=f"smtp;{status}",
        co=status.code,
        en=status.enhanced,
        tx=status.text,
    )


def aborted(session: "EnvelopeSession", transaction: Transaction) -> list[Record]:
    """V: recipients had been accepted, the message never was."""
    return [
        Record(
            ts=session.relay.stamp(),
            ac=Action.ABORTED,
            mo=_modifiers(session),
            sc=session.client.channel,
            so=transaction.sender,
            od=f"rfc822;{recipient.original}",
            ei=transaction.message_id,
            ss=session.source,
            pi=session.relay.log.process,
        )
        for recipient in transaction.recipients
    ]


def bad_command(session: "EnvelopeSession", line: bytes, reply: Status) -> Record:
    """B: the To field is the command, the diagnostic the reply."""
    return Record(
        ts=session.relay.stamp(),
        ac=Action.BAD_COMMAND,
        mo=_modifiers(session),
        sc=session.client.channel,
        de=line[:256].decode("utf-8", "replace"),
        ss=session.source,
        pi=session.relay.log.process,
        di=f"smtp;{reply}",
        co=reply.code,
        en=reply.enhanced,
        tx=reply.text,
    )


def logged_in(session: "EnvelopeSession", outcome: Outcome) -> Record:
    """U: somebody has logged in; A: it was refused. The password is nowhere."""
    return Record(
        ts=session.relay.stamp(),
        ac=Action.LOGGED_IN if outcome.user else Action.LOGIN_REFUSED,
        mo=_modifiers(session),
        sc=session.client.channel,
        dc="+",
        us=outcome.user or outcome.name[:256],
        pi=session.relay.log.process,
        ss=session.source,
        re=outcome.reason,
        di=f"smtp;{outcome.status}",
        tr=session.transport_name,
        ap="SMTP",
        co=outcome.status.code,
        en=outcome.status.enhanced,
        tx=outcome.status.text,
    )


def connection(session: "EnvelopeSession", action: Action) -> Record:
    """O and C."""
    return Record(
        ts=session.relay.stamp(),
        ac=action,
        sc=session.client.channel,
        dc="+",
        pi=session.relay.log.process,
        tr=session.transport_name,
        ap="SMTP",
    )
