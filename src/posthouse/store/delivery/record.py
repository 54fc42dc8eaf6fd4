"""What a journal record of the store says besides the message's octets: the places it goes to.

The msgpack array of these fields; new fields are only added at the end, with a default. The record's body is the
file's octets exactly as placed, so that a replay can write them again (DURABILITY 3.R). Slot n of the record is
recipient n.
"""

import msgspec


class Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One name of the file."""

    owner: str
    directory: str
    """the folder's directory below the owner's root, "" for the INBOX"""
    base: str
    """base name"""
    xqid: bytes = b""
    """the relay's delivery id, if one was sent and is to be remembered (`seen`)"""
    marks: str = ""
    """`:2,` and letters, for a message that comes with flags and has its name in `cur/`; empty: its name is in `new/`"""


class Placement(msgspec.Struct, frozen=True, array_like=True):
    """All names of one file."""

    partition: str
    places: tuple[Place, ...]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Placement)


def encode_placement(placement: Placement) -> bytes:
    """The octets of a record's envelope."""
    return _encoder.encode(placement)


def decode_placement(octets: bytes) -> Placement:
    """The placement of a record.

    Raises:
        msgspec.DecodeError: the octets are none.
    """
    return _decoder.decode(octets)
