"""The octets of a delivery status notification (RFC 3464, 6522, 6533; smtp-relay.md 6). Pure: values in, octets out.

    multipart/report: text for people, message/delivery-status, then the message (RET=FULL) or its header (RET=HDRS)

* Kinds: failed (`failed`), timed out (`failed`, 5.4.7), delayed (`delayed`), and where NOTIFY=SUCCESS asks for it delivered,
  relayed (RFC 3461 4.1: to a system without DSN) and expanded (RFC 3461 5.2.7: by a group). One notice for all recipients of
  a copy.
* Final-Recipient is the address as the sender gave it, without the route by which a relay sends it to a whole MTA
  (`@mailhost:user@domain`, LMTP chapter 16.2). Internal forms (`@host.lmtp:user@lmtpcs-daemon`, `x.lmtp`) never
  leave: they are taken out of reply texts and host names too. Code and text of a reply are otherwise kept as they came.
* Without RET the message itself comes back with a failure and its header with a delay; over `content_limit` blocks of
  1024 octets (0 = no limit) the header only, unless RET=FULL was asked for. A delay or success never carries the message.
* The words for people are the site's own where it has written some (config/return_texts.py).
* A notice for the postmaster (`to`) says the same; it may be about the null sender's mail.
* Addresses outside ASCII: `message/global-delivery-status` and `utf-8;` as RFC 6533 has it. Reply texts outside ASCII are no
  reason for it where the message was not sent by SMTPUTF8: senders' programs would not read it. People see them as they came.
* The null sender gets nothing: `build` refuses it, as it refuses a notice about nobody.
"""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime
from enum import Enum

from posthouse.config.return_texts import OUR_TEXTS, ReturnTexts
from posthouse.mail.address import AddressError, parse_address
from posthouse.mail.envelope import Envelope, Recipient, unxtext
from posthouse.mail.status import Status
from posthouse.relay.notices.field_text import phrase

BLOCK = 1024
MAX_LINE = 998
_ROUTED = re.compile(r"@[^\s<>:,()]+(?:,@[^\s<>:,()]+)*:[^\s<>()]+@[\w.-]+", re.IGNORECASE)
_TAGGED = re.compile(r"[^\s<>()@:,;]+@[\w.-]*-daemon\b", re.IGNORECASE)
_LMTP_HOST = re.compile(r"(?<=[\w-])\.lmtp(?![\w-])", re.IGNORECASE)
_DAEMON = re.compile(r"@?[\w.-]*-daemon\b", re.IGNORECASE)
_QUOTED_HEADERS = (b"message-id", b"date", b"from", b"to", b"subject")
_SEQUENCE = re.compile(r"%([RHDCLFUuSs%])")
_UNITS = {86400.0: "Day", 3600.0: "Hour", 1.0: "Second"}


class Kind(Enum):
    """Subject and opening words of each kind."""

    FAILED = (
        "Delivery Notification: Delivery has failed",
        "Your message cannot be delivered to the following recipients:",
        "failed",
    )
    TIMED_OUT = (
        "Delivery Notification: Delivery has timed out and failed",
        "Your message cannot be delivered to the following recipients: the time allowed for it has passed.",
        "failed",
    )
    RETURNED = (
        "Delivery Notification: Delivery has been manually aborted",
        "Your message has been returned by the postmaster. It was not delivered to the following recipients:",
        "failed",
    )
    DELAYED = (
        "Delivery Notification: Delivery has been delayed",
        "Your message is still waiting for the following recipients. You need not do anything: it will be tried again.",
        "delayed",
    )
    DELIVERED = (
        "Delivery Notification: Delivery has been successful",
        "Your message has been successfully delivered to the following recipients:",
        "delivered",
    )
    RELAYED = (
        "Delivery Notification: Delivery has been successful",
        "Your message has been relayed to the following recipients. The next system may send no further notices:",
        "relayed",
    )

    EXPANDED = (
        "Delivery Notification: Delivery has been successful",
        "Your message has been taken by the following lists, which send it on to their members:",
        "expanded",
    )

    @property
    def is_success(self) -> bool:
        """Whether it tells of mail that arrived, or went on (RFC 3464 2.3.3)."""
        return self in {Kind.DELIVERED, Kind.RELAYED, Kind.EXPANDED}

    @property
    def subject(self) -> str:
        """The Subject: field."""
        return self.value[0]

    @property
    def opening(self) -> str:
        """What stands above the recipients."""
        return self.value[1]

    @property
    def file(self) -> str:
        """What the site's own text is called: return_<file>.txt."""
        return _FILES[self]

    @property
    def action(self) -> str:
        """The Action: field."""
        return self.value[2]


_FILES = {
    Kind.FAILED: "failed", Kind.TIMED_OUT: "timedout", Kind.RETURNED: "bounced", Kind.DELAYED: "delayed",
    Kind.DELIVERED: "delivered", Kind.RELAYED: "relayed", Kind.EXPANDED: "expanded",
}  # fmt: skip


_SUCCESSES = {
    Kind.DELIVERED: "Delivered", Kind.RELAYED: "Relayed to a system that sends no notices", Kind.EXPANDED: "Sent on by a list",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """One recipient the notice tells of."""

    recipient: Recipient
    status: Status
    """the reply that settled or delayed it"""
    host: str = ""
    """the host that said so, empty when none did"""
    transport: str = ""
    """`TCP|local|port|remote|port`, or empty"""
    banner: str = ""
    """text of the host's greeting"""


@dataclass(frozen=True, slots=True)
class Notice:
    """All a notice is made of.

    Args:
        kind: which one.
        envelope: of the message it is about.
        reports: the recipients, at least one.
        reporter: official name of this relay.
        channel: the channel that failed.
        postmaster: address the notice comes from.
        id: our id for the notice; its Message-ID is `<id@reporter>`.
        now: Unix seconds.
        retry_until: Unix seconds, for a delay; 0 when not known.
        content_limit: CONTENT_RETURN_BLOCK_LIMIT.
        texts: the site's own words.
        unit: seconds in a unit of `notices`.
        to: who else than the sender it is for: the postmaster.
        header_only: the message itself is not part of it.
    """

    kind: Kind
    envelope: Envelope
    reports: Sequence[Report]
    reporter: str
    channel: str
    postmaster: str
    id: str
    now: float
    retry_until: float = 0.0
    content_limit: int = 0
    personal: str = "Internet Mail Delivery"
    texts: ReturnTexts = OUR_TEXTS
    unit: float = 86400.0
    to: str = ""
    header_only: bool = False

    @property
    def whole(self) -> bool:
        """Whether the message itself comes back, not only its header."""
        if self.header_only or self.kind is Kind.DELAYED or self.kind.is_success or self.envelope.ret == "HDRS":
            return False
        return self.envelope.ret == "FULL" or not self.content_limit or -(-self.envelope.size // BLOCK) <= self.content_limit


def wants(recipient: Recipient, kind: Kind) -> bool:
    """Whether the sender asked to hear of this, by NOTIFY or its default FAILURE,DELAY."""
    if kind.is_success:
        return "SUCCESS" in recipient.notify.upper().split(",")
    if not recipient.notify:
        return True
    return ("DELAY" if kind is Kind.DELAYED else "FAILURE") in recipient.notify.upper().split(",")


def scrub(text: str, original: str) -> str:
    """The text without internal addresses and host names."""
    text = _ROUTED.sub(lambda _: original, text)
    text = _TAGGED.sub(lambda _: original, text)
    return _DAEMON.sub("", _LMTP_HOST.sub("", text))


def given(recipient: Recipient) -> str:
    """The address as the sender knows it."""
    try:
        return str(replace(parse_address(recipient.original), route=()))
    except AddressError:
        return recipient.original


def rfc_date(when: float) -> str:
    """A Date: field in UTC."""
    return format_datetime(datetime.fromtimestamp(int(when), UTC))


def build(notice: Notice, header: bytes, body: Sequence[bytes]) -> tuple[bytes, ...]:
    """The notice in pieces, CRLF line ends.

    Args:
        notice: what to say.
        header: the original's header, with or without its empty line.
        body: the whole original in pieces; looked at only when `notice.whole`.

    Raises:
        ValueError: the original has the null sender, or nobody is reported.
    """
    if not (notice.to or notice.envelope.sender) or not notice.reports:
        raise ValueError("no notice for the null sender or about nobody")
    boundary = f"Boundary_(ID_{notice.id})"
    people = _people(notice, header)
    machine = _delivery_status(notice)
    wide = not machine.isascii()
    status_type = "message/global-delivery-status" if wide else "message/delivery-status"
    charset = "us-ascii" if people.isascii() else "utf-8"
    about = f"Content-Type: text/plain; charset={charset}\r\nContent-Language: {notice.texts.language}\r\n"
    about += _encoding(people.encode())
    parts = [
        _top(notice, boundary),
        f"--{boundary}\r\n{about}\r\n{people}\r\n",
        f"--{boundary}\r\nContent-Type: {status_type}\r\n{_encoding(machine.encode())}\r\n{machine}\r\n",
    ]
    head = header.rstrip(b"\r\n") + b"\r\n"
    content = tuple(body) if notice.whole else (head,)
    plain = all(part.isascii() for part in content)
    if notice.whole:
        third = "message/global" if notice.envelope.utf8 else "message/rfc822"
    else:
        third = "message/global-headers" if notice.envelope.utf8 else "text/rfc822-headers"
    intro = f"--{boundary}\r\nContent-Type: {third}\r\n" + ("" if plain else "Content-Transfer-Encoding: 8bit\r\n") + "\r\n"
    return ("".join([*parts, intro]).encode(), *content, f"\r\n--{boundary}--\r\n".encode())


def _top(notice: Notice, boundary: str) -> str:
    return (
        f"From: {phrase(notice.personal)} <{notice.postmaster}>\r\n"
        f"To: {notice.to or notice.envelope.sender}\r\n"
        f"Subject: {_subject(notice)}\r\n"
        f"Date: {rfc_date(notice.now)}\r\n"
        f"Message-ID: <{notice.id}@{notice.reporter}>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"\r\n'
        "\r\n"
    )


def _encoding(part: bytes) -> str:
    return "" if part.isascii() else "Content-Transfer-Encoding: 8bit\r\n"


def _subject(notice: Notice) -> str:
    subjects = notice.texts.subjects
    own = subjects.get(notice.kind.file) or subjects.get("")
    return Header(own, "utf-8" if not own.isascii() else "us-ascii").encode(linesep="\r\n") if own else notice.kind.subject


def _people(notice: Notice, header: bytes) -> str:
    texts = notice.texts
    whose = "a message" if notice.to else "a message you sent"
    ours = f"This report relates to {whose} with the following header fields:\n\n%H\n\n"
    prefix, own = texts.prefix, texts.types.get(notice.kind.file)
    text = (ours if prefix is None else prefix) + (f"{notice.kind.opening}\n\n%R" if own is None else own) + texts.suffix
    fields = "\n".join(f"  {line}" for line in _quoted_header(header))
    return "\r\n".join(piece for line in expand(text, notice, fields, _recipients(notice)).split("\n") for piece in _short(line))


def _short(line: str) -> list[str]:
    """In pieces that every system takes (RFC 5322 2.1.1)."""
    return [line] if len(line.encode()) <= MAX_LINE else textwrap.wrap(line, MAX_LINE // 4, break_on_hyphens=False)


def expand(text: str, notice: Notice, fields: str, recipients: str) -> str:
    """A text with its % sequences replaced (config/return_texts.py)."""
    waited = max(0, int((notice.now - notice.envelope.enqueued / 1000) // notice.unit))
    whole = round((notice.retry_until - notice.envelope.enqueued / 1000) / notice.unit) if notice.retry_until else waited
    unit = _UNITS.get(notice.unit, "Day")
    last = 0
    words = {
        "R": recipients, "H": fields, "D": rfc_date(notice.now), "C": waited, "F": whole, "L": max(0, whole - waited),
        "U": unit, "u": unit.lower(), "%": "%",
    }  # fmt: skip

    def replace(match: re.Match[str]) -> str:
        nonlocal last
        letter = match[1]
        if letter in "Ss":
            return "" if last == 1 else letter
        found = words[letter]
        if isinstance(found, int):
            last = found
        return str(found)

    return _SEQUENCE.sub(replace, text)


def _recipients(notice: Notice) -> str:
    lines = []
    for report in notice.reports:
        original = given(report.recipient)
        lines.append(f"  Recipient address: {original}")
        lines.append(f"  Reason: {reason(notice.kind, report)}")
        if report.status.code:
            lines.append(f"  Diagnostic code: smtp;{scrub(str(report.status), original)}")
        if report.host:
            system = f"  Remote system: dns;{scrub(report.host, '')}"
            system += f" ({report.transport})" if report.transport else ""
            system += f" ({scrub(report.banner, original)})" if report.banner else ""
            lines.append(system)
        lines.append("")
    return "\n".join(lines)


def _quoted_header(header: bytes) -> list[str]:
    """The fields a sender knows the message by, one line each."""
    out = []
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", header)
    for line in unfolded.split(b"\n"):
        name = line.split(b":", 1)[0].strip().lower()
        if name in _QUOTED_HEADERS:
            out.append(line.rstrip(b"\r").decode("utf-8", "replace")[:900])
    return out


def reason(kind: Kind, report: Report) -> str:
    """Why, in words for people; internal addresses taken out."""
    if kind is Kind.TIMED_OUT:
        return "Delivery time expired"
    if kind.is_success:
        return _SUCCESSES[kind]
    if report.host and report.status.code:
        return "Remote SMTP server has rejected address" if kind is Kind.FAILED else "Remote SMTP server cannot take it now"
    return scrub(report.status.text, given(report.recipient)) or "Delivery was not possible"


def _delivery_status(notice: Notice) -> str:
    lines = []
    if notice.envelope.envid:
        lines.append(f"Original-Envelope-Id: {unxtext(notice.envelope.envid)}")
    lines.append(f"Reporting-MTA: dns;{notice.reporter} ({notice.channel})")
    lines.append(f"Arrival-Date: {rfc_date(notice.envelope.enqueued / 1000)}")
    for report in notice.reports:
        lines += ["", *_recipient_fields(notice, report)]
    return "\r\n".join(lines) + "\r\n"


def _recipient_fields(notice: Notice, report: Report) -> list[str]:
    recipient, status = report.recipient, report.status
    original = given(recipient)
    kind, _, asked = recipient.orcpt.partition(";")
    lines = [
        f"Original-Recipient: {kind};{unxtext(asked)}" if asked else f"Original-Recipient: {_typed(original)}",
        f"Final-Recipient: {_typed(original)}",
        f"Action: {notice.kind.action}",
        f"Status: {_enhanced(notice.kind, status)} ({_comment(_machine(notice, reason(notice.kind, report)))})",
    ]
    if report.host:
        lines.append(f"Remote-MTA: dns;{scrub(report.host, '')}")
    if status.code:
        lines.append(f"Diagnostic-Code: smtp;{_machine(notice, scrub(str(status), original))}")
    if notice.kind is Kind.DELAYED and notice.retry_until:
        lines.append(f"Will-Retry-Until: {rfc_date(notice.retry_until)}")
    return ["\r\n ".join(_short(line.replace("\r", " ").replace("\n", " "))) for line in lines]


def _machine(notice: Notice, text: str) -> str:
    """A reply's text in the part for programs."""
    return text if notice.envelope.utf8 else text.encode("ascii", "replace").decode()


def _comment(text: str) -> str:
    """The text inside a comment (RFC 5322 3.2.2)."""
    return re.sub(r"([()\\])", r"\\\1", text)


def _typed(address: str) -> str:
    return f"{'rfc822' if address.isascii() else 'utf-8'};{address}"


def _enhanced(kind: Kind, status: Status) -> str:
    """The server's own enhanced code where its class fits the action."""
    if kind is Kind.TIMED_OUT:
        return "5.4.7"
    wanted = "4" if kind is Kind.DELAYED else "2" if kind.is_success else "5"
    return status.enhanced if status.enhanced.startswith(wanted) else f"{wanted}.0.0"
