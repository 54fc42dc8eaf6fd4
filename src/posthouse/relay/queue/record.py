"""A message's record as the relay writes it: the envelope is ours, and a slot stands for each of its recipients."""

import msgspec

from posthouse.journal.segment import CorruptRecord, RecordRef
from posthouse.mail.envelope import Envelope, decode_envelope


def envelope_of(ref: RecordRef, octets: bytes) -> Envelope:
    """The envelope of a record.

    Raises:
        CorruptRecord: the octets are no envelope, or recipients and slots do not agree.
    """
    try:
        envelope = decode_envelope(octets)
    except msgspec.DecodeError:
        raise CorruptRecord(f"{ref.segment}: unreadable envelope at {ref.offset}") from None
    if [each.id for each in envelope.recipients] != list(range(ref.slots)):
        raise CorruptRecord(f"{ref.segment}: recipients and slots do not agree at {ref.offset}")
    return envelope
