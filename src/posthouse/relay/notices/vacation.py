"""Vacation answers (RFC 5230, RFC 3834, directory.md 10): whether one may be given, and its octets. Pure.

Promise: nobody is answered who is not a person writing to this user. `silence` names the reason why not:

* the sender is null, the user himself, or by its local part a program or list: `owner-*`, `*-request`, `mailer-daemon`,
  `postmaster`, `listserv`, `majordomo`;
* `Auto-Submitted:` other than `no`, any `List-*` field, `Precedence:` bulk, list or junk, `X-Auto-Response-Suppress:` all or
  oof (with which Exchange asks for silence; its autoreply is for all answers but those of people who are away);
* none of the user's addresses stands in To, Cc, Bcc, Resent-To, Resent-Cc or Resent-Bcc.

An answer has the null sender in its envelope, `Auto-Submitted: auto-replied`, In-Reply-To and References. Texts that are not
ASCII, or have long lines, go as quoted-printable UTF-8. Line ends from outside never reach a header field.
"""

import quopri
import re
from dataclasses import dataclass
from email.utils import getaddresses

from posthouse.mail.subject import echoed
from posthouse.relay.notices.dsn import rfc_date
from posthouse.relay.notices.field_text import decoded, one_line, phrase, words

_PROGRAMS = re.compile(r"owner-.*|.*-request|mailer-daemon|postmaster|listserv|majordomo", re.IGNORECASE)
_ADDRESSED = frozenset({"to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"})
_SUPPRESSED = frozenset({"all", "oof"})
_LONGEST_LINE = 900
_MAX_REFERENCES = 20
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,250}>")


@dataclass(frozen=True, slots=True)
class Vacation:
    """One answer a user wants given, whoever wrote it down: his entry's attributes or his Sieve script.

    Args:
        owner: names the user in the memory of answers: `uid`, or `uid@domain` of a hosted domain.
        mail: address the answer comes from.
        addresses: the user's own, lower case, `mail` among them.
        text: with LF line ends; with `mime` a whole entity: header fields, empty line, content.
        subject: empty for `Re: ` and the message's own.
        seconds: between two answers to the same sender.
        handle: tells different answers of one user apart (RFC 5230 4.2); empty where there is only one.
        personal: the name in From:.
        echo: the message is added as a further part.
        mime: see text.
    """

    owner: str
    mail: str
    addresses: frozenset[str]
    text: str
    subject: str = ""
    seconds: float = 604_800.0
    handle: str = ""
    personal: str = ""
    echo: bool = False
    mime: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """The message an answer is given to."""

    sender: str
    header: bytes
    """with or without its empty line"""
    whole: bytes | None = None
    """the message with its header, for `echo`; None: its header alone goes back"""


def fields(header: bytes) -> list[tuple[str, str]]:
    """The header's fields in order: name in lower case, value unfolded, as text."""
    found = []
    for line in re.sub(rb"\r?\n(?=[ \t])", b"", header).split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and name and not name[:1].isspace():
            found.append((name.strip().decode("ascii", "replace").lower(), value.strip().decode("utf-8", "replace")))
    return found


def silence(vacation: Vacation, asked: Asked) -> str:
    """Why this message is not answered, or empty."""
    sender = asked.sender.lower()
    if not sender:
        return "null sender"
    if sender in vacation.addresses:
        return "the sender is the user himself"
    if _PROGRAMS.fullmatch(sender.rpartition("@")[0] or sender):
        return "the sender is a program or a list"
    named = False
    for name, value in fields(asked.header):
        word = value.partition(";")[0].strip().lower()
        if name == "auto-submitted" and word != "no":
            return "Auto-Submitted"
        if name.startswith("list-"):
            return "a List- field"
        if name == "precedence" and word in {"bulk", "list", "junk"}:
            return f"Precedence: {word}"
        if name == "x-auto-response-suppress" and not _SUPPRESSED.isdisjoint(part.strip().lower() for part in value.split(",")):
            return "X-Auto-Response-Suppress"
        if name in _ADDRESSED and not named:
            named = any(address.lower() in vacation.addresses for _, address in getaddresses([value]))
    return "" if named else "the message names no address of the user"


def original_field(header: bytes, name: str) -> str:
    """The first field of this lower-case name on one line, encoded words decoded; empty for none."""
    value = next((value for found, value in fields(header) if found == name), "")
    return " ".join(decoded(value).split())


def answer_octets(vacation: Vacation, asked: Asked, message_id: str, now: float) -> bytes:
    """The answer, CRLF line ends.

    Args:
        vacation: what to say.
        asked: to whom and to what.
        message_id: of the answer, with angle brackets.
        now: Unix seconds.
    """
    subject = vacation.subject or echoed(f"Re: {original_field(asked.header, 'subject')}".rstrip())
    sender = f"{phrase(decoded(vacation.personal))} <{vacation.mail}>" if vacation.personal else vacation.mail
    lines = [
        f"From: {sender}",
        f"To: {one_line(asked.sender)}",
        f"Subject: {words(subject, 'Subject')}",
        f"Date: {rfc_date(now)}",
        f"Message-ID: {message_id}",
        "Auto-Submitted: auto-replied",
        *_thread(asked.header),
        "MIME-Version: 1.0",
    ]
    content = _entity(vacation.text) if vacation.mime else _text_entity(vacation.text)
    if vacation.echo:
        content = _with_original(content, asked, message_id)
    return "\r\n".join(lines).encode() + b"\r\n" + content


def _thread(header: bytes) -> list[str]:
    found = dict(reversed(fields(header)))
    answered = _MESSAGE_ID.findall(found.get("message-id", ""))[:1]
    if not answered:
        return []
    before = _MESSAGE_ID.findall(found.get("references", "") or found.get("in-reply-to", ""))
    references = [*before[:1], *before[1:][-(_MAX_REFERENCES - 2) :], *answered] if before else answered
    return [f"In-Reply-To: {answered[0]}", "References: " + "\r\n ".join(dict.fromkeys(references))]


def _text_entity(text: str) -> bytes:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    octets = "\r\n".join(lines).rstrip("\r\n").encode("utf-8", "replace") + b"\r\n"
    charset = "us-ascii" if octets.isascii() else "utf-8"
    if octets.isascii() and all(len(line) <= _LONGEST_LINE for line in lines) and b"\0" not in octets:
        return f"Content-Type: text/plain; charset={charset}\r\n\r\n".encode() + octets
    coded = quopri.encodestring(octets.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    kind = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    return kind.encode() + coded


def _entity(text: str) -> bytes:
    """An entity as given, CRLF line ends."""
    octets = text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "replace")
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def _with_original(content: bytes, asked: Asked, message_id: str) -> bytes:
    boundary = f"Boundary_(ID_{re.sub('[^A-Za-z0-9]', '', message_id)})"
    original = asked.whole if asked.whole is not None else asked.header.rstrip(b"\r\n") + b"\r\n"
    kind = "message/rfc822" if asked.whole is not None else "text/rfc822-headers"
    coding = "" if original.isascii() else "Content-Transfer-Encoding: 8bit\r\n"
    return b"".join((
        f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n--{boundary}\r\n'.encode(), content,
        f"--{boundary}\r\nContent-Type: {kind}\r\n{coding}\r\n".encode(), original, f"\r\n--{boundary}--\r\n".encode(),
    ))  # fmt: skip
