"""The envelope of a queued message: who sent it, how it came, and one entry for each recipient.

An envelope is written once, when the message is accepted, and never changes; a recipient has an id for
life (its place here) and its state is kept elsewhere (DURABILITY 2). On disk it is the msgpack array of
these fields in this order: new fields are only ever added at the end, with a default.
"""

import re
from enum import StrEnum

import msgspec

_XTEXT = re.compile(r"\+([0-9A-F]{2})")


class Priority(StrEnum):
    """From the Priority: header (job-controller-cnf 4)."""

    URGENT = "U"
    NORMAL = "N"
    NON_URGENT = "L"


class Recipient(msgspec.Struct, frozen=True, array_like=True):
    """One active recipient of one message copy."""

    id: int
    """place in the message, from 0: its mark in the journal and its name in results"""
    copy: int
    """number of the message copy it travels in: one copy for each channel and, with single_sys, host"""
    channel: str
    address: str
    """active address, e.g. @store1.example.com.lmtp:jdoe@lmtpcs-daemon"""
    original: str
    """as the client gave it at RCPT TO"""
    host: str = ""
    """destination the copy is grouped by: the first host of the address, lower case"""
    orcpt: str = ""
    """ORCPT as given, `type;address` still in xtext, or empty"""
    notify: str = ""
    """NEVER, or a comma list of SUCCESS,FAILURE,DELAY, or empty for the default"""
    quota: str = ""
    """XQUOTA value `size,number`, or empty"""
    flags: int = 0
    """XDFLG value"""
    intermediate: str = ""
    """the address that entered alias expansion, for the log"""
    held: bool = False
    """the copy is to be held (.HELD) as soon as it is accepted"""
    sender: str = ""
    """envelope From of this recipient's copy (a list's mgrpErrorsTo, SRS), or empty for the message's own"""
    answers: bool = False
    """its owner's vacation answer is due when the copy is swallowed"""
    task: str = ""
    """what the job is to do instead of, or beside, routing the address (mail/task.py), or empty"""
    imap_flags: str = ""
    """XFLAGS value: IMAP flags the message is to have in the mailbox (mail/imap_flags.py), or empty"""
    why: str = ""
    """why the copy is to be held, in words, or empty: nobody said"""

    @property
    def asked(self) -> str:
        """`type;address` for people: the address of ORCPT where there is one, else that of RCPT TO."""
        return unxtext(self.orcpt) if self.orcpt else f"rfc822;{self.original}"


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """One accepted message."""

    id: str
    """message id of ours, 14 or more characters of 0-9A-Z, never used twice"""
    sender: str
    """envelope From, empty for the null sender"""
    source_channel: str
    source: str
    """`name [ip]` of the client, or empty for what we made ourselves"""
    enqueued: int
    """Unix time in milliseconds"""
    size: int
    """octets of the body as stored, CRLF line ends"""
    recipients: tuple[Recipient, ...]
    message_id: str = ""
    """Message-ID header with its angle brackets, or empty"""
    priority: Priority = Priority.NORMAL
    eight_bit: bool = False
    """BODY=8BITMIME was given, or the body has octets above 127"""
    utf8: bool = False
    """SMTPUTF8 was given"""
    envid: str = ""
    """DSN ENVID, xtext as given"""
    ret: str = ""
    """DSN RET: FULL, HDRS or empty"""
    user: str = ""
    wire_growth: int = 0
    """octets dot-stuffing adds on the wire: SIZE= is size + wire_growth"""
    about: str = ""
    """for a notice: the id of the message it is about"""


def as_copy(envelope: Envelope, sender: str) -> Envelope:
    """The envelope as the copies see it whose recipients have a sender of their own.

    A list's copy is a new message in the eyes of RFC 3461 (5.2.7.3): the first sender's ENVID and RET do not go with it. They
    do with a forwarded one, whose sender (SRS) leads back to the first.
    """
    if sender[:3].upper() == "SRS" and sender[3:5] in {"0=", "1="}:
        return msgspec.structs.replace(envelope, sender=sender)
    return msgspec.structs.replace(envelope, sender=sender, envid="", ret="")


def unxtext(text: str) -> str:
    """Xtext decoded (RFC 3461 4); what is no printable ASCII stays as it was written."""
    return _XTEXT.sub(lambda match: chr(int(match[1], 16)) if 0x20 <= int(match[1], 16) < 0x7F else match[0], text)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def encode_envelope(envelope: Envelope) -> bytes:
    """The envelope's octets in a journal record."""
    return _encoder.encode(envelope)


def decode_envelope(octets: bytes | memoryview) -> Envelope:
    """The envelope of a journal record.

    Raises:
        msgspec.DecodeError: the octets are not an envelope.
    """
    return _decoder.decode(octets)
