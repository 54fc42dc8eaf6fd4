"""Backward-pointing addresses of a message's header, and how they are reversed (relay/routing/reversal.py).

    From  Sender  Reply-To  Resent-From  Resent-Sender  Resent-Reply-To  Disposition-Notification-To

Only the octets of an address change, where it stands in one piece: names, comments, folds and all other fields stay octet for
octet. A line that would become longer than a store takes keeps what it has. The first `MOST` addresses of a message are looked
for, and none once the directory is silent or has taken SECONDS: what is left stays as it is written. Pure.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from posthouse.dialogue.event import Message
from posthouse.relay.filtering.address_list import places
from posthouse.relay.routing.inquiry import Asking, Inquiry, NoAnswer
from posthouse.relay.routing.reversal import kept, reversed_address
from posthouse.relay.routing.rules import Rules
from posthouse.relay.smtp_server.transaction import Transaction

MOST = 20
SECONDS = 10.0
"""after which a slow directory is asked no more: the client waits for its answer to the whole message"""
_LONGEST_LINE = 998
_FIELD = re.compile(
    rb"\n(?:(?:resent-)?(?:from|sender|reply-to)|disposition-notification-to)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)(?=\r\n)"
)
"""in lower case, with a line end in front: a pattern that begins with a fixed octet is found ten times as fast"""


class Edit(NamedTuple):
    """Other octets for those of a place in the header."""

    begin: int
    end: int
    octets: bytes


def is_wanted(transaction: Transaction) -> bool:
    """Whether the header is to be looked at: one of the message's channels is without `noreverse`."""
    reversal = transaction.rules.reversal
    return reversal is not None and any(
        target.channel not in reversal.exempt for taken in transaction.recipients for target in taken.targets
    )


def edits(
    rules: Rules, header: bytes, given: Mapping[str, str], late: Callable[[], bool], *, utf8: bool
) -> Asking[tuple[Edit, ...]]:
    """What is to change in a header, in its order.

    Args:
        rules: that count.
        header: its fields with their line ends.
        given: addresses that have been asked about, with their primary ones.
        late: whether it has taken too long by now.
        utf8: the message may have addresses outside ASCII.
    """
    inquiry, known = Inquiry(), dict(given)
    found: list[Edit] = []
    try:
        for begin, end in islice(_written(header), MOST):
            try:
                address = header[begin:end].decode()
            except UnicodeDecodeError:  # a directory has none such, and LDAP could not be asked
                continue
            if address not in known:
                if late():
                    break
                known[address] = yield from reversed_address(rules, inquiry, address, utf8=utf8)
            if known[address] != address:
                found.append(Edit(begin, end, known[address].encode()))
    except NoAnswer:
        pass
    return tuple(edit for edit in found if _fits(header, edit, found))


def _written(header: bytes) -> Iterator[tuple[int, int]]:
    """Where addresses stand, in octets."""
    for field in _FIELD.finditer(b"\n" + header.lower()):
        start, end = field.start(1) - 1, field.end(1) - 1
        value = header[start:end].decode("utf-8", "surrogateescape")
        for place in places(value):
            begin = start + len(value[: place.begin].encode("utf-8", "surrogateescape"))
            yield begin, begin + len(value[place.begin : place.end].encode("utf-8", "surrogateescape"))


def _fits(header: bytes, edit: Edit, every: Sequence[Edit]) -> bool:
    """Whether the line is still short enough with all that changes in it."""
    start, end = header.rfind(b"\n", 0, edit.begin) + 1, header.index(b"\r\n", edit.end)
    longer = sum(len(one.octets) - (one.end - one.begin) for one in every if start <= one.begin < end)
    return longer <= 0 or end - start + longer <= _LONGEST_LINE


def apply(found: Sequence[Edit], octets: bytes) -> bytes:
    """The message with its header edited."""
    parts, at = list[bytes](), 0
    for edit in found:
        parts += (octets[at : edit.begin], edit.octets)
        at = edit.end
    return b"".join((*parts, octets[at:]))


def edited(found: Sequence[Edit], event: Message) -> Message:
    """The same for a whole message."""
    if not found:
        return event
    octets = apply(found, event.data)
    grown = len(octets) - len(event.data)
    return msgspec.structs.replace(event, data=octets, lf=None, header_end=event.header_end + grown)


def keep_sender(transaction: Transaction) -> None:
    """Copies for channels with `noreverse` have the envelope From the client gave."""
    reversal, given = transaction.rules.reversal, transaction.given_sender
    if reversal is not None and reversal.exempt:
        transaction.recipients[:] = [
            msgspec.structs.replace(taken, targets=kept(reversal, given, taken.targets)) for taken in transaction.recipients
        ]
