"""What becomes of a copy that is not what was accepted: kept for a person, never sent, bounced or deleted (DURABILITY 4.10).

A record is copied to journal/aside and its open slots are marked V; a queue file becomes `.HELD`. Either way an alarm, a
record `H` in the transaction log, and the copy leaves the schedule.
"""

import msgspec

from posthouse.journal.segment import CorruptRecord, JournalError
from posthouse.mail.envelope import decode_envelope
from posthouse.relay.channels.workshop import Workshop, message_of, ref_of
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.protocol import Lease, Result
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.open_copy import OpenCopy, open_copy, set_aside
from posthouse.relay.queue.queue_file import hold_damaged
from posthouse.relay.queue.queue_format import DamagedQueueFile
from posthouse.trace.record import Action, Record


def open_leased(shop: Workshop, lease: Lease) -> OpenCopy | None:
    """The copy, opened and checked; None: what is wrong with it was reported already."""
    try:
        opened = open_copy(shop.places, ref_of(lease), lease.record, lease.open)
    except (CorruptRecord, DamagedQueueFile, JournalError) as fault:
        give_up(shop, lease, str(fault))
    except FileNotFoundError:
        shop.tell(Result(lease.key, Verdict.GONE))
    except OSError as error:
        shop.alarm(f"a queued message cannot be read: {error}")
        shop.tell(Result(lease.key, Verdict.DEFERRED, (), 451, "4.3.0", str(error), lease.file))
    else:
        if lease.some:
            opened.narrow(lease.open)
        return opened
    return None


def give_up(shop: Workshop, lease: Lease, reason: str) -> None:
    """Set the copy aside and report it."""
    file = lease.file
    try:
        ref = ref_of(lease)
        if isinstance(ref, FileCopy):
            file = hold_damaged(shop.places.tree, ref).path
        else:
            assert lease.record is not None
            file = set_aside(shop.places, ref, lease.record.slots, lease.record.first_slot)
    except OSError as error:
        shop.alarm(f"{lease.file or lease.channel}: {reason}; it cannot even be set aside: {error}")
        shop.tell(Result(lease.key, Verdict.DEFERRED, (), 451, "4.3.0", reason, lease.file))
        return
    shop.alarm(f"{file}: {reason}; kept for a person")
    record = Record(
        ts=shop.stamp(), ac=Action.HELD, sc=lease.channel, fi=f"{shop.wording.queue_folder}/{file}" if lease.file else file,
        ei=message_of(file) or _message_id(shop, lease), pi=shop.log.process, re=reason, ho=lease.host, at=lease.attempts,
    )  # fmt: skip
    shop.note((record,))
    shop.tell(Result(lease.key, Verdict.HELD, (), 0, "", reason, file))


def _message_id(shop: Workshop, lease: Lease) -> str:
    """The id in a damaged record, where its envelope can still be read: for `posthouse trace` only."""
    if lease.record is None:
        return ""
    try:
        return decode_envelope(shop.places.segment(lease.record.segment).read_envelope(lease.record)).id
    except (OSError, JournalError, CorruptRecord, msgspec.DecodeError):
        return ""
