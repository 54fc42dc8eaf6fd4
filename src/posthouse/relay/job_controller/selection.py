"""Which copies, and which of their recipients, an operator means: the FILTER of `posthouse queue` (queue.md 6).

    ids          message ids (also with a queue file's prefix, copy number and type around them)
    channels     patterns        hosts    patterns; `.lmtp` at the end of a host need not be written
    senders      patterns; `<>` is the null sender
    recipients   patterns: as given at RCPT TO, with or without its source route (a relay sends `@store:user@domain` to a
                 whole MTA), as a group or a forward named him, or the active address
    states       journal, file, held, waiting (journal or file)
    statuses     patterns for the last reply's code or enhanced code: `452`, `4.2.*`
    older, newer seconds since acceptance: at least, less than

In a pattern `*` stands for any text and `?` for one character; case does not count. Values of one kind are alternatives, kinds
must all agree. `recipients` and `statuses` are asked of each recipient: what is done is done to those only, but a hold or a
release, which has a whole copy. A selection that says nothing selects nothing. Pure.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

from posthouse.mail.address import Address, AddressError, parse_address
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status

STATES = ("journal", "file", "held", "waiting")
_FILE_NAME = re.compile(r"(?:.*/)?[0-9A-Z]{2}([0-9A-Z]{14,200})[0-9A-Z]{4}\.(?:00|HELD)")


class Selection(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the operator has written."""

    ids: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    older: float = 0.0
    newer: float = 0.0
    every: bool = False
    """all copies: needed where nothing else is said"""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return self == Selection()


class Matcher:
    """A selection, ready to be asked.

    Args:
        selection: what is meant.
        now: Unix seconds.
    """

    def __init__(self, selection: Selection, now: float) -> None:
        self._selection = selection
        self._ids = frozenset(_identity(each) for each in selection.ids)
        self._channels = _pattern(selection.channels)
        self._hosts = _pattern(selection.hosts)
        self._senders = _pattern("" if each == "<>" else each for each in selection.senders)
        self._recipients = _pattern(selection.recipients)
        self._statuses = _pattern(selection.statuses)
        self._before = now - selection.older if selection.older else None
        self._after = now - selection.newer if selection.newer else None

    def copy(self, identity: str, channel: str, host: str, state: str, enqueued: float) -> bool:
        """Whether the copy agrees, as far as that is known without its envelope's addresses.

        Args:
            identity: message id.
            channel: where it waits.
            host: what it is grouped by.
            state: journal, file or held.
            enqueued: Unix seconds.
        """
        wanted = self._selection
        if wanted.is_empty or (self._ids and identity not in self._ids):
            return False
        if wanted.states and state not in wanted.states and (state == "held" or "waiting" not in wanted.states):
            return False
        if self._channels and not self._channels(channel):
            return False
        if self._hosts and not (self._hosts(host) or self._hosts(host.removesuffix(".lmtp"))):
            return False
        if self._before is not None and enqueued > self._before:
            return False
        return self._after is None or enqueued > self._after

    def people(
        self, envelope: Envelope, recipients: Iterable[Recipient], reply: Callable[[int], Status | None]
    ) -> tuple[int, ...]:
        """Ids of the recipients that agree; none when the sender does not.

        Args:
            envelope: of the message.
            recipients: of the copy, still to do.
            reply: the last reply a recipient had.
        """
        found = []
        for each in recipients:
            if self._senders and not self._senders(each.sender or envelope.sender):
                continue
            if self._recipients and not any(map(self._recipients, _names(each))):
                continue
            if self._statuses and not _said(self._statuses, reply(each.id)):
                continue
            found.append(each.id)
        return tuple(found)

    @property
    def asks_people(self) -> bool:
        """Whether sender, recipients or replies matter."""
        return bool(self._senders or self._recipients or self._statuses)


def missing(selection: Selection, found: Iterable[str]) -> tuple[str, ...]:
    """The ids that were written and are not among the message ids found."""
    known = set(found)
    return tuple(each for each in selection.ids if _identity(each) not in known)


def _names(recipient: Recipient) -> tuple[str, ...]:
    given = recipient.original
    own = recipient.intermediate or given
    if not given.startswith("@"):
        return given, recipient.address, own
    try:
        address = parse_address(given)
    except AddressError:
        return given, recipient.address, own
    return given, recipient.address, own, str(Address((), address.local, address.domain))


def _identity(text: str) -> str:
    match = _FILE_NAME.fullmatch(text)
    return match[1] if match else text


def _said(statuses: Callable[[str], object], status: Status | None) -> bool:
    return status is not None and bool(statuses(str(status.code)) or statuses(status.enhanced))


def _pattern(texts: Iterable[str]) -> Callable[[str], object] | None:
    alternatives = [_expression(text) for text in texts]
    return re.compile("|".join(alternatives), re.IGNORECASE | re.DOTALL).fullmatch if alternatives else None


def _expression(text: str) -> str:
    """What stands between two wildcards is taken where it is first found, and never sought again: any pattern is quick."""
    first, *rest = (re.escape(part).replace(r"\?", ".") for part in text.split("*"))
    if not rest:
        return first
    between = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return f"{first}{between}.*{rest[-1]}"
