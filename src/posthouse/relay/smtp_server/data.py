"""The final dot: from a transaction and a body to an envelope in the journal (smtp-relay.md 4 and 5).

The body is kept octet for octet; in front of it one `Received:` field is put, and at its end at most the line ends a store
would miss. A message that has come through too many hops is taken and held, never bounced: a bounce could loop too.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from posthouse.dialogue.event import Fault, Message, MessageEnd
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.partial import FRAGMENT, fragment_of
from posthouse.mail.status import Status
from posthouse.mail.task import is_quiet
from posthouse.relay.routing.copies import assign_copies
from posthouse.relay.routing.detour import detour
from posthouse.relay.routing.fan_out import put_off
from posthouse.relay.routing.list_success import of_member, told_of, wants_success
from posthouse.relay.routing.result import HELD_BY_TABLE
from posthouse.relay.routing.size_limit import block_over, is_too_long, line_over
from posthouse.relay.scripts.decisions import has_script
from posthouse.relay.smtp_server.backward import keep_sender
from posthouse.relay.smtp_server.content import mended, mending, message_id_and_priority, refusal
from posthouse.relay.smtp_server.filter import run_scripts
from posthouse.relay.smtp_server.received import Hop, looping, protocol_name, received_line
from posthouse.relay.smtp_server.relay import NO_ROOM, Relay
from posthouse.relay.smtp_server.transaction import TakenRecipient, Transaction
from posthouse.trace.record import A_LIST

if TYPE_CHECKING:
    from posthouse.relay.routing.result import Target
    from posthouse.relay.smtp_server.session import SmtpSession


class Double(NamedTuple):
    """A recipient without mail of its own: it leads where one before it leads already, or is a list whose members are named."""

    original: str
    recipient: int
    """id of the first"""
    why: str = "same as"


class Taken(NamedTuple):
    """A message that can be accepted."""

    envelope: Envelope
    parts: list[bytes]
    """the body, or what is missing at a streamed one's end"""
    doubles: tuple[Double, ...]


_NO_SPACE = Status(452, "4.3.1", "insufficient system storage; try again later")
_DISK_FAULT = Status(451, "4.3.0", "message could not be made safe; try again later")


def received(relay: Relay, session: "SmtpSession", transaction: Transaction) -> bytes:
    """The trace field for this message."""
    client = session.client
    protocol = protocol_name(esmtp=client.esmtp, utf8=transaction.utf8, tls=bool(client.tls), user=bool(client.user))
    only = transaction.recipients[0].original if len(transaction.recipients) == 1 else ""
    hop = Hop(client.helo, session.connection.peer[0], relay.host, protocol, relay.product)
    return received_line(hop, transaction.message_id, only, relay.date()) + transaction.added


def accept(
    relay: Relay, session: "SmtpSession", transaction: Transaction, whole: bytes | None, event: Message | MessageEnd
) -> Taken | Status:
    """What is to be journalled, or the reply that refuses the message.

    Args:
        relay: what the worker's sessions share.
        session: where it came.
        transaction: what MAIL and RCPT said.
        whole: the body, or None when it was streamed to the transaction's body file.
        event: what the dialogue found out about the body.
    """
    faults: Collection[Fault] = mended(event.faults, whole) if event.faults else event.faults
    size, start = (event.size, transaction.start) if isinstance(event, MessageEnd) else (len(event.data), event.data)
    refused = _refusal(relay, transaction, faults, size + min(0, transaction.removed), whole)  # what we put in is not theirs
    if refused is not None:
        return refused
    if whole is None:
        line, tail = transaction.received, mending(faults, size, transaction.rest)
        parts = [tail] if tail else []
    else:
        line, tail = received(relay, session, transaction), mending(faults, size, whole[-2:])
        parts = [line, whole, tail] if tail else [line, whole]
    targets = [target for taken in transaction.recipients for target in taken.targets]
    if has_script(transaction.rules, session.client.channel, targets):
        refused = run_scripts(relay, transaction, start, size, event.header_end, session.client)
        if refused is not None:
            return refused
    if transaction.given_sender:  # behind the scripts: they know the primary address, and send on
        keep_sender(transaction)
    header = start[: event.header_end]
    low = b"\n" + header.lower()
    message_id, priority = message_id_and_priority(header, low)
    why = _held(relay, session, transaction, looping(header, low, relay.host, relay.limits.loops))
    if transaction.rules.joined_channels and FRAGMENT in low and fragment_of(header) is not None:
        _detour(transaction)
    recipients, doubles = _recipients(transaction, why)
    client = session.client
    envelope = Envelope(
        id=transaction.message_id,
        sender=transaction.sender,
        source_channel=client.channel,
        source=session.source,
        enqueued=int(relay.now() * 1000),
        size=len(line) + size + len(tail),
        recipients=recipients,
        message_id=message_id or transaction.given_id,
        priority=priority,
        user=client.user,
        eight_bit=transaction.eight_bit or (whole is not None and not whole.isascii()),
        utf8=transaction.utf8,
        envid=transaction.envid,
        ret=transaction.ret,
        wire_growth=event.growth,
    )
    return Taken(envelope, parts, doubles)


def _refusal(
    relay: Relay, transaction: Transaction, faults: Collection[Fault], size: int, whole: bytes | None
) -> Status | None:
    """What refuses the message before anybody's script is asked."""
    refused = transaction.refused or refusal(faults)
    if refused is not None:
        return refused
    if transaction.failed is not None:
        failed = disk_reply(transaction.failed)
        relay.troubles.refused(transaction.failed, failed)
        return failed
    over = _too_large(transaction, size)
    if over is None and transaction.rules.line_limits:
        over = _too_long(transaction, transaction.lines if whole is None else whole.count(b"\n"))
    return over


def message_id_of(transaction: Transaction, event: Message | MessageEnd) -> str:
    """The Message-ID of a message that was refused, for the log."""
    header = (event.data if isinstance(event, Message) else transaction.start)[: event.header_end]
    return message_id_and_priority(header, b"\n" + header.lower())[0]


def _held(relay: Relay, session: "SmtpSession", transaction: Transaction, loop: str) -> str:
    """Why the whole message waits for the operator, or nothing; `loop` says why it goes in circles, or nothing."""
    if loop:
        relay.report(f"message {transaction.message_id} is held: {loop}")
        return f"held: mail loop, {loop}"
    recipients = transaction.recipients
    beyond = session.way_in.limits.hold_beyond
    if len(recipients) > beyond:
        return f"held: {len(recipients)} recipients, over holdlimit {beyond}"
    return HELD_BY_TABLE if transaction.hold or any(recipient.hold for recipient in recipients) else ""


def _too_large(transaction: Transaction, size: int) -> Status | None:
    """The refusal when the message is larger than its sender may send or a recipient get, whatever SIZE= had said.

    One of several that a recipient stands for refuses nobody but himself: he is put off.
    """
    if transaction.largest and size > transaction.largest:
        return Status(552, "5.3.4", "message size exceeds the limit")
    small = False
    for taken in transaction.recipients:
        for target in taken.targets:
            if target.blocklimit and size > target.blocklimit:
                return block_over(transaction.rules, target, taken.original)
            if target.own_limit and size > target.own_limit:
                small = True
    if small:
        _put_off_small(transaction, size)
    return None


def _too_long(transaction: Transaction, lines: int) -> Status | None:
    """The refusal when the message has more lines than a recipient's channel takes; one of several channels is put off."""
    rules = transaction.rules
    for place, taken in enumerate(transaction.recipients):
        over = [target for target in taken.targets if is_too_long(rules, target, lines)]
        if over and len(over) == len(taken.targets):
            return line_over(rules, over[0], taken.original)
        if over:
            kept = tuple([put_off(rules, one) if one in over else one for one in taken.targets])
            transaction.recipients[place] = msgspec.structs.replace(taken, targets=kept)
    return None


def _put_off_small(transaction: Transaction, size: int) -> None:
    """Members and forwarding addresses that take no message as large as this are refused by reprocess, with a notice."""
    rules = transaction.rules
    transaction.recipients[:] = [
        msgspec.structs.replace(
            taken, targets=tuple([put_off(rules, one) if 0 < one.own_limit < size else one for one in taken.targets])
        )
        for taken in transaction.recipients
    ]


def _detour(transaction: Transaction) -> None:
    """A part of a message waits for the others, on its way to channels that want it so."""
    channels = transaction.rules.joined_channels
    transaction.recipients[:] = [
        msgspec.structs.replace(taken, targets=detour(channels, taken.targets)) for taken in transaction.recipients
    ]


def _recipients(transaction: Transaction, why: str) -> tuple[tuple[Recipient, ...], tuple[Double, ...]]:
    """Everybody who gets the message, each final address on a channel once, in the order of RCPT; and who does not again."""
    taken = transaction.recipients[0]
    if len(transaction.recipients) == len(taken.targets) == 1 and not taken.targets[0].listed:
        return (_recipient(0, 0, taken, taken.targets[0], why),), ()
    chosen: dict[tuple[str, str, str, int], tuple[int, TakenRecipient, Target]] = {}
    doubles: list[Double] = []
    for taken in transaction.recipients:
        before = len(chosen)
        for target in taken.targets:
            chosen.setdefault((target.channel, target.address, target.task, target.repeat), (len(chosen), taken, target))
        if len(chosen) == before:
            first = taken.targets[0]
            doubles.append(Double(taken.original, chosen[first.channel, first.address, first.task, first.repeat][0]))
        elif taken.targets[0].shown:
            doubles.append(Double(taken.original, before, A_LIST))
        told = told_of(transaction.rules, taken.original, taken.targets) if wants_success(taken.notify) else None
        if told is not None:
            chosen.setdefault((told.channel, told.address, told.task, 0), (len(chosen), taken, told))
    ordered = list(chosen.values())
    copies = assign_copies(transaction.rules.imta.channels, [target for _, _, target in ordered])
    recipients = [_recipient(number, copies[number], taken, target, why) for number, taken, target in ordered]
    return tuple(recipients), tuple(doubles)


def _recipient(number: int, copy: int, taken: TakenRecipient, target: "Target", why: str) -> Recipient:
    return Recipient(
        id=number,
        copy=copy,
        channel=target.channel,
        address=target.address,
        original=target.shown or taken.original,
        host=target.host,
        quota=target.quota,
        flags=target.flags,
        intermediate=target.intermediate,
        held=bool(why) or target.held,
        sender=target.sender,
        answers=target.answers,
        orcpt="" if target.shown else taken.orcpt,
        notify=_notify(taken, target),
        task=target.task,
        imap_flags=target.imap_flags,
        why=why or target.why_held,
    )


def _notify(taken: TakenRecipient, target: "Target") -> str:
    if target.answers or (target.task and is_quiet(target.task)):
        return "NEVER"
    if target.shown:
        return ""
    return of_member(taken.notify) if target.listed else taken.notify


def disk_reply(error: OSError) -> Status:
    """452 when there is no room, 451 for every other failure of the disk (DESIGN 6)."""
    return _NO_SPACE if error.errno in NO_ROOM else _DISK_FAULT


def reply(envelope: Envelope, error: OSError | None) -> Status:
    """The answer to the final dot."""
    if error is not None:
        return disk_reply(error)
    return Status(250, "2.5.0", f"Ok, envelope id {envelope.id}")
