"""What a script wants done with a message: values, merged as RFC 5228 2.10.3 wants it."""

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Keep:
    """Into the inbox."""

    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileInto:
    """Into a folder."""

    folder: str
    flags: tuple[str, ...] = ()
    create: bool = False
    """:create was given; here folders are always made"""


@dataclass(frozen=True, slots=True)
class Redirect:
    """On to another address."""

    address: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Away, if nothing else keeps it."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Back to the sender (RFC 5429)."""

    reason: str
    extended: bool = False
    """by `ereject`"""


@dataclass(frozen=True, slots=True)
class Vacation:
    """An answer to the sender, if he is to have one (RFC 5230)."""

    reason: str
    seconds: int
    """no second answer to the same sender and handle in this time"""
    subject: str = ""
    """empty: made of the message's"""
    sender: str = ""
    """empty: the recipient's address"""
    addresses: tuple[str, ...] = ()
    """further addresses of the recipient"""
    mime: bool = False
    """reason is a MIME entity with its header"""
    handle: str = ""
    """names this answer; empty: what it says names it"""


Action: TypeAlias = Keep | FileInto | Redirect | Discard | Reject | Vacation


@dataclass(frozen=True, slots=True)
class Step:
    """One thing the script did, for explanations."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one evaluation."""

    actions: tuple[Action, ...]
    """the implicit keep is among them; empty never: discarding is an action"""
    error: str = ""
    """`line N: reason` when the script failed; then the message is kept and nothing else is done"""
    implicit_keep: bool = False
    """the last action is the implicit one"""
    work: int = 0
    """units of work it took"""
    steps: tuple[Step, ...] = field(default=(), compare=False)
