"""What one service's dialogue allows and how it speaks: fixed for the life of a worker, shared by its connections.

Sizes are octets. `SMTP` and `LMTP` below are the two complete policies to start from (`dataclasses.replace`).

The seed's dialect (LMTP, LHLO without a domain) and the standard's (LHLO with one) differ in `Words` and in
strictness; `conversation.py` chooses at LHLO.
"""

from dataclasses import dataclass, field
from enum import Enum

from posthouse.mail.status import Status


class Role(Enum):
    """Which protocol is spoken."""

    SMTP = "SMTP"
    LMTP = "LMTP"


class BareLineEnds(Enum):
    """What becomes of a CR or LF that is not part of CRLF in a body; neither ever ends the data."""

    REFUSE = "refuse"
    """read to the true end, `550 5.6.11`, close (SMTP smuggling, LMTP reference 5)"""
    REPORT = "report"
    """hand the body over with the faults named; the session decides"""


@dataclass(frozen=True, slots=True)
class Words:
    """The replies a dialogue gives by itself."""

    mail: Status
    rcpt: Status
    data: Status
    chunk: Status
    reset: Status
    noop: Status
    verify: Status
    quit: Status


_GO = Status(354, "", 'Enter mail, end with a single ".".')
_OK = Status(250, "", "OK")
_OK_200 = Status(250, "2.0.0", "OK")
_VERIFY = Status(252, "2.1.5", "send some mail, I'll try my best")

SMTP_WORDS = Words(
    mail=Status(250, "2.5.0", "Address Ok."),
    rcpt=Status(250, "2.1.5", "OK"),
    data=_GO,
    chunk=Status(250, "2.5.0", "Ok."),
    reset=Status(250, "2.5.0", "Ok."),
    noop=Status(250, "2.5.0", "Ok."),
    verify=_VERIFY,
    quit=Status(221, "2.3.0", "Bye received. Goodbye."),
)
LMTP_WORDS = Words(
    mail=Status(250, "2.1.0", "OK"),
    rcpt=Status(250, "2.1.5", "OK"),
    data=_GO,
    chunk=_OK_200,
    reset=_OK_200,
    noop=_OK_200,
    verify=_VERIFY,
    quit=Status(221, "2.0.0", "OK"),
)
BARE_WORDS = Words(
    mail=_OK, rcpt=_OK, data=_GO, chunk=_OK, reset=_OK, noop=_OK, verify=Status(252, "", "OK"), quit=Status(221, "", "OK")
)

SILENT = Status(421, "4.4.2", "connection timed out")
"""what a session hangs up with at a client's deadline"""
BUSY = Status(421, "4.3.2", "service is shutting down or busy; try again")
PATIENCE = 10.0
"""seconds after which a transaction that stands still counts as idle when all connections are taken"""

ESMTP_MAIL = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"})
ESMTP_RCPT = frozenset({"NOTIFY", "ORCPT"})
LMTP_RCPT = ESMTP_RCPT | {"XQUOTA", "XDFLG", "XQID", "XFLAGS", "IGNOREQUOTA"}


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one service."""

    role: Role
    hostname: str
    greeting: str = ""
    """what follows `220 `; by default host and protocol"""
    extensions: tuple[str, ...] = ()
    """lines of the EHLO or LHLO reply after the host name, as they are sent"""
    list_extensions: bool = True
    """LMTP: false answers every LHLO as the bare one (LHLO_EXTENSIONS=0)"""
    hello_optional: bool = True
    """LMTP: LHLO without a domain is taken, as the chapter prints it"""
    starttls: bool = False
    """STARTTLS is offered: true only of the policy for the time before it (RFC 3207 4.2)"""
    mechanisms: frozenset[str] = frozenset()
    """AUTH mechanisms that are taken now: PLAIN, LOGIN"""
    known_mechanisms: frozenset[str] = frozenset()
    """those that are taken, or would be under TLS"""
    barred: Status | None = None
    """what MAIL is told before TLS, or before a login, where that is wanted"""
    max_size: int = 52_428_800
    """octets of a message; 0 for no limit"""
    spill: int = 262_144
    """a body with more octets on the wire comes in parts; at most 1 MiB"""
    max_swallow: int = 1 << 30
    """SMTP: octets read beyond a limit, or in a chunk that is refused, before the connection is closed instead"""
    max_command_line: int = 4096
    max_recipients: int = 1000
    """accepted in one transaction; the next is told 452 4.5.3"""
    known_mail_params: frozenset[str] = frozenset()
    known_rcpt_params: frozenset[str] = frozenset()
    bare_line_ends: BareLineEnds = BareLineEnds.REPORT
    max_errors: int = 20
    """refused commands since the last message before 421"""
    max_idle_commands: int = 100
    """commands that move nothing (NOOP, RSET, VRFY, ...) since the last message before 421"""
    words: Words = field(default=SMTP_WORDS)
    """the replies after EHLO, HELO or LHLO with a domain"""


def smtp_policy(hostname: str, extensions: tuple[str, ...] = ()) -> Policy:
    """The policy of an SMTP server on the public side."""
    return Policy(
        role=Role.SMTP,
        hostname=hostname,
        greeting=f"{hostname} -- Server ESMTP (Posthouse)",
        extensions=extensions,
        known_mail_params=ESMTP_MAIL,
        known_rcpt_params=ESMTP_RCPT,
        bare_line_ends=BareLineEnds.REFUSE,
        words=SMTP_WORDS,
    )


def lmtp_policy(hostname: str, extensions: tuple[str, ...] = ()) -> Policy:
    """The policy of a store's LMTP server."""
    return Policy(
        role=Role.LMTP,
        hostname=hostname,
        greeting=f"{hostname} LMTP server ready",
        extensions=extensions,
        known_mail_params=ESMTP_MAIL,
        known_rcpt_params=LMTP_RCPT,
        words=LMTP_WORDS,
    )
