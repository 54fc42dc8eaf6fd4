"""What routing is asked and what it says: requests, targets, results, and the steps shown by `posthouse route --explain`."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from posthouse.mail.status import Status
from posthouse.relay.directory.question import Answer, Question
from posthouse.relay.routing.list_edit import ListEdit
from posthouse.relay.routing.user_filter import UserFilter

T = TypeVar("T")


class RouteRequest(msgspec.Struct, frozen=True):
    """One RCPT TO to be decided.

    Args:
        sender: envelope From without brackets, "" for the null sender.
        recipient: the path of RCPT TO without brackets, exactly as given.
        source_channel: name of the channel the message came in on.
        port_probe: the five fields of the PORT_ACCESS probe.
        app_info: `SMTP/helo-name`, with TLS `SMTP/tls-info/helo-name`.
        now: Unix time in seconds, for vacation dates.
        flags: of A (authenticated), T (TLS), E (ESMTP), L (LMTP).
        size: octets announced by SIZE=, or None.
        lines: of the message where it is at hand and a channel limits them, or None.
        from_reprocess: the message comes from the reprocess channel: nothing is put off any more.
        streaming: targets are handed over as they are found, see `Batch`, and questions told of ahead, see `Ahead`.
        authenticated: who the client is by SMTP AUTH, or empty.
        header: the message's header where it is known, for groups; None at RCPT TO.
        approved: the value of its `Approved:` field; None where the header is not known.
        original: ORCPT address, appended to access probes when ACCESS_ORCPT is 1; "" for none.
        unique: text for `$W`, never used twice; "" makes rules with `$W` fail.
        explain: whether steps are recorded.
        redirected: a user's script sends the message on to the recipient, as a forward would.
        at_home: only where the user's own mail goes is asked, not where he forwards it.
    """

    sender: str
    recipient: str
    source_channel: str
    port_probe: str = ""
    app_info: str = ""
    now: float = 0.0
    flags: frozenset[str] = frozenset()
    size: int | None = None
    from_reprocess: bool = False
    streaming: bool = False
    authenticated: str = ""
    header: bytes | None = None
    approved: str | None = None
    original: str = ""
    unique: str = ""
    explain: bool = False
    redirected: bool = False
    at_home: bool = False
    lines: int | None = None


ON_HOLD = "held: its recipient is on hold"
HELD_BY_TABLE = "held: an access table wants it"


class Target(msgspec.Struct, frozen=True):
    """One final recipient address and the channel it waits on."""

    channel: str
    address: str
    """active address, e.g. @store1.example.com.lmtp:jdoe@lmtpcs-daemon"""
    host: str
    """destination host: the first host of the address, lower case"""
    quota: str = ""
    """XQUOTA `size,number` of the user, or empty: no user of ours"""
    flags: int = 0
    """XDFLG value"""
    intermediate: str = ""
    """the address that entered alias expansion, or empty"""
    held: bool = False
    """its copy is to be held"""
    blocklimit: int = 0
    """largest message in octets, 0 for no limit; a larger one is refused for the recipient it came of, with all others of his"""
    sender: str = ""
    """envelope From of its copy, or empty for the message's own"""
    answers: bool = False
    """the owner's vacation answer is due"""
    filter: UserFilter | None = None
    """the owner's Sieve script decides about this address"""
    task: str = ""
    """what the job is to do with it (mail/task.py), or empty"""
    imap_flags: str = ""
    """XFLAGS value the owner's script has set, or empty"""
    own_limit: int = 0
    """one of several: largest message in octets for this one alone, who is put off when it is larger; 0 for no limit"""
    edit: ListEdit | None = None
    """what a group changes in the message; only where the message is at hand (`RouteRequest.header`)"""
    shown: str = ""
    """the recipient in the eyes of `sender`, where that is not who the client named"""
    listed: bool = False
    """it comes out of a group: who is told of its success is the group's affair (list_success.py)"""
    repeat: int = 0
    """how many of the same channel and address stand before it: a group may want one copy for each time somebody is named"""
    why: str = ""
    """why it is held, where that is not its owner's status"""

    @property
    def why_held(self) -> str:
        """Why its copy is to be held; empty when it is not."""
        return (self.why or ON_HOLD) if self.held else ""


class Batch(msgspec.Struct, frozen=True):
    """Targets found so far: yielded by a streaming decision that goes on when any answer is sent."""

    targets: tuple[Target, ...]


class Ahead(msgspec.Struct, frozen=True):
    """Questions that come next: yielded by a streaming decision, so that their answers are on the way while it goes on."""

    questions: tuple[Question, ...]


Streaming: TypeAlias = Generator[Question | Batch | Ahead, Answer, T]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of source-routes 3.

    Args:
        step: number of the step there.
        address: the address after the step.
        channel: the channel it leads to, or empty.
        file: where the rule, clause or table stands, or empty.
        line: line in that file, 0 where there is none.
        text: what happened, in words.
        level: how many owners the address has come through.
    """

    step: int
    address: str
    channel: str = ""
    file: str = ""
    line: int = 0
    text: str = ""
    level: int = 0


class Noted(NamedTuple):
    """What access tables want done beside accepting a recipient."""

    header: tuple[str, ...]
    """lines to be put before the message's header"""
    log: tuple[str, ...]
    """texts for the process log"""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The recipient is taken, as these targets; never empty, unless others were handed over before."""

    recipients: tuple[Target, ...]
    hold: bool = False
    """an access table wants the message held"""
    delay: float = 0.0
    """seconds an access table wants the reply delayed"""
    steps: tuple[Step, ...] = field(default=(), compare=False)
    noted: Noted | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The recipient is refused for now (4yz) or for good (5yz)."""

    status: Status
    reason: str
    """for the log: never sent to the client"""
    delay: float = 0.0
    """seconds an access table wants the reply delayed"""
    steps: tuple[Step, ...] = field(default=(), compare=False)


Routed: TypeAlias = Accepted | Rejected
