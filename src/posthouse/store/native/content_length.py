r"""An entry that says how long its body is, instead of quoting it (option FORCE_CONTENT_LENGTH, message-store 7).

    From sender@example.com  Mon Nov 23 10:00:00 2026
    Return-Path: <sender@example.com>
    header without the Content-length fields it came with: the sender's word must not say where his message ends
    Content-length: <octets of the body as they follow>

    body as it is, its last line ended
                                                         always one blank line at the end

A header line that begins `From ` is quoted: no length tells a reader that it is not the next entry's first line. Memory is
bounded: a line is taken in pieces.
"""

import re
from collections.abc import Callable
from typing import BinaryIO

_LINE = 65_536
_CHUNK = 1 << 20
_OURS = re.compile(rb"content-length[ \t]*:", re.IGNORECASE)
_FROM = re.compile(rb">*From ")


def put_entry(first: bytes, stored: BinaryIO, put: Callable[[bytes], None]) -> None:
    """Put an entry, piece by piece.

    Args:
        first: the entry's first line.
        stored: the message with LF line ends, from its Return-Path on; can be sought in.
        put: takes the next octets.
    """
    put(first)
    _put_header(stored, put)
    start = stored.tell()
    end = stored.seek(0, 2)
    stored.seek(max(start, end - 1))
    lacking = b"\n" if end > start and stored.read(1) != b"\n" else b""
    stored.seek(start)
    put(b"Content-length: %d\n\n" % (end - start + len(lacking)))
    while part := stored.read(_CHUNK):
        put(part)
    put(lacking + b"\n")


def _put_header(stored: BinaryIO, put: Callable[[bytes], None]) -> None:
    dropping, whole = False, True
    while piece := stored.readline(_LINE):
        if whole:
            if piece == b"\n":
                return
            if piece[:1] not in b" \t":
                dropping = _OURS.match(piece) is not None
            if _FROM.match(piece):
                piece = b">" + piece
        whole = piece.endswith(b"\n")
        if not dropping:
            put(piece)
    if not whole and not dropping:
        put(b"\n")
