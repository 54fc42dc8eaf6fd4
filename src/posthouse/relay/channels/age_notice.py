"""Copies that have become old: the sender is warned, and at the last age the message is returned (job-controller-cnf 5).

A warning changes nothing of the copy; it is durable before the controller counts it as given. A return is a failure of every
recipient still to do, with the reason that the time has passed and the last known diagnostic; the same order holds as for any
failure: the notice first, then the mark. The null sender and NOTIFY without DELAY or FAILURE get no notice.
"""

from collections.abc import Callable

from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.telling import policy_of, tell
from posthouse.relay.channels.workshop import Workshop, copy_path
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.protocol import Lease, Result, own_replies
from posthouse.relay.notices.dsn import Kind, Report, wants
from posthouse.relay.queue.open_copy import OpenCopy
from posthouse.trace.record import Action, Record


def warn(shop: Workshop, lease: Lease, opened: OpenCopy, ended: Callable[[], None]) -> None:
    """Tell the sender that delivery is delayed."""
    envelope = opened.envelope
    last, own = Status(lease.code, lease.enhanced, lease.text), own_replies(lease)
    told = [recipient for recipient in opened.recipients if envelope.sender and wants(recipient, Kind.DELAYED)]

    def done(error: OSError | None) -> None:
        opened.close()
        if error is not None:
            shop.alarm(f"a notice could not be enqueued: {error}")
            shop.tell(Result(lease.key, Verdict.DEFERRED, file=lease.file))
        else:
            shop.note(_warned(recipient) for recipient in told)
            shop.tell(Result(lease.key, Verdict.AGAIN, file=lease.file))
        ended()

    def _warned(recipient: Recipient) -> Record:
        said = own.get(recipient.id, last)
        return Record(
            ts=shop.stamp(), ac=Action.WARNED, sc=lease.channel, sz=-(-envelope.size // 1024), so=envelope.sender,
            od=recipient.asked, de=recipient.address, ei=envelope.id, ri=recipient.id,
            mi=envelope.message_id, pi=shop.log.process, di=f"smtp;{said}" if said.code else "", ho=recipient.host,
            qt=shop.now() - envelope.enqueued / 1000, at=lease.attempts, fi=copy_path(shop, lease, envelope.id),
            co=said.code, en=said.enhanced, tx=said.text, ia=recipient.intermediate, ab=envelope.about,
        )  # fmt: skip

    posted = opened.recipients if policy_of(shop, lease.channel).wants(Kind.DELAYED, envelope.sender) else ()
    if not told and not posted:
        done(None)
        return
    block = shop.configuration.imta.channels.get(lease.channel)
    remote = last.code and (block is None or block.is_smtp or block.is_lmtp)  # else nobody's server is to blame
    reports, copies = (
        [Report(each, own.get(each.id, last), each.host if remote else "") for each in about] for about in (told, posted)
    )
    until = _given_up(shop, lease.channel, envelope)
    tell(shop, Kind.DELAYED, envelope, tuple(opened.parts()), lease.channel, reports, copies, done, until)


def _given_up(shop: Workshop, channel: str, envelope: Envelope) -> float:
    """Unix time at which the message is returned."""
    block = shop.configuration.imta.channels.get(channel)
    if block is None:
        return 0.0
    return envelope.enqueued / 1000 + block.notices(envelope.priority)[-1] * shop.configuration.notice_unit


def return_copy(shop: Workshop, attempt: Attempt, opened: OpenCopy) -> None:
    """Return the message to its sender: every recipient still to do has failed."""
    del shop
    lease, recipients = attempt.lease, opened.recipients
    attempt.kind = Kind.TIMED_OUT
    if lease.code:
        last = Status(lease.code, lease.enhanced, lease.text)
        attempt.diagnostics = {recipient.id: last for recipient in recipients} | own_replies(lease)
    for recipient in recipients:
        said = attempt.diagnostics.get(recipient.id)
        text = f"delivery time expired; last reply: {said}" if said else "delivery time expired"
        attempt.result(recipient, Status(550, "5.4.7", text))
    attempt.end()
