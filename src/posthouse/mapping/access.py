"""What the result of an access table means: PORT_ACCESS, and the tables asked at MAIL FROM and RCPT TO (mappings.md 4, 6).

Arguments are not attached to their flag letters: the output is split at `|` and the pieces are given to the flags that are
present, in a fixed order, J K I(2) < > D T A G S X, and what is left is the text of N or F.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType

from posthouse.mail.status import Status
from posthouse.mapping.table import Result

_ORDER = "JKI<>DTAGSX"
_PIECES = {"I": 2}
_STATUS = re.compile(r"([45]\d\d) ([45]\.\d{1,3}\.\d{1,3})(?: |\Z)(.*)", re.DOTALL)
_ENHANCED = re.compile(r"[45]\.\d{1,3}\.\d{1,3}")
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PortAccess:
    """What becomes of a connection."""

    allowed: bool
    text: str
    """sent to a refused client, CRLF added; empty: nothing is sent"""
    log: str = ""
    """`$<` text, or `$>` text of a refusal"""
    record: bool = False
    """a T record goes to the connection log"""


@dataclass(frozen=True, slots=True)
class Access:
    """What becomes of a sender or recipient."""

    allowed: bool
    status: Status | None = None
    """of a refusal; its text is empty when the table gave none"""
    bitbucket: bool = False
    hold: bool = False
    sender: str | None = None
    """new envelope From ($J)"""
    header_sender: str | None = None
    """new Sender: ($K)"""
    log: str = ""
    """`$<` text, or `$>` text of a refusal"""
    delay: float = 0.0
    """seconds to wait before the reply ($D)"""
    header: str = ""
    """header line to add ($A)"""
    arguments: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """every flag's argument, for the flags without a field"""


ALLOWED = Access(allowed=True)
PORT_ALLOWED = PortAccess(allowed=True, text="")


def decide(result: Result | None) -> Access:
    """What FROM_ACCESS, ORIG_SEND_ACCESS, SEND_ACCESS, ORIG_MAIL_ACCESS or MAIL_ACCESS says; None (no match) allows."""
    if result is None or (not result.text and result.flags <= {"Y"}):
        return ALLOWED
    arguments, text = _arguments(result, _ORDER)
    refused = bool(result.flags & {"N", "F"})
    log = arguments.get("<", "")
    if refused and ">" in arguments:
        log = arguments[">"]
    delay = arguments.get("D", "").strip()
    return Access(
        allowed=not refused,
        status=_status(text, arguments.get("X", "")) if refused else None,
        bitbucket="B" in result.flags,
        hold="H" in result.flags,
        sender=arguments.get("J"),
        header_sender=arguments.get("K"),
        log=log,
        delay=int(delay[:6]) / 100 if delay.isascii() and delay.isdecimal() else 0.0,
        header=arguments.get("A", ""),
        arguments=arguments,
    )


def decide_port(result: Result | None) -> PortAccess:
    """What PORT_ACCESS says; None (no match, no table) allows. The text is sent as it stands."""
    if result is None:
        return PORT_ALLOWED
    refused = bool(result.flags & {"N", "F"})
    if not refused and not result.flags & {"<", ">"}:
        return PORT_ALLOWED
    arguments, text = _arguments(result, "<>")
    log = arguments.get(">", "") if refused and ">" in arguments else arguments.get("<", "")
    return PortAccess(not refused, text if refused else "", log, record=refused and "T" in result.flags)


def _arguments(result: Result, order: str) -> tuple[dict[str, str], str]:
    """The pieces by flag, and the text that is left."""
    pieces = result.text.split("|")
    found: dict[str, str] = {}
    for flag in order:
        if flag in result.flags:
            count = _PIECES.get(flag, 1)
            found[flag] = "|".join(pieces[:count])
            pieces = pieces[count:]
    return found, "|".join(pieces)


def _status(text: str, enhanced: str) -> Status:
    """550 5.7.1 with the text; codes in the text count, then the enhanced code of `$X`."""
    match = _STATUS.fullmatch(text)
    if match and match[1][0] == match[2][0]:
        return Status(int(match[1]), match[2], match[3])
    if _ENHANCED.fullmatch(enhanced.strip()):
        code = enhanced.strip()
        return Status(550 if code[0] == "5" else 450, code, text)
    return Status(550, "5.7.1", text)


def canonical_address(text: str) -> str:
    """An IP address in its one text form; an IPv4-mapped IPv6 address is the IPv4 address. Other text is returned unchanged."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)


def port_probe(server: tuple[str, int], client: tuple[str, int]) -> str:
    """The string PORT_ACCESS is asked about: `TCP|server-address|server-port|client-address|client-port`."""
    return f"TCP|{canonical_address(server[0])}|{server[1]}|{canonical_address(client[0])}|{client[1]}"


def send_probe(source: str, sender: str, destination: str, recipient: str, original: str | None = None) -> str:
    """The string (ORIG_)SEND_ACCESS is asked about.

    Args:
        source: source channel.
        sender: envelope From, empty for the null sender.
        destination: destination channel.
        recipient: full address without brackets.
        original: the recipient as it came, with ACCESS_ORCPT=1.
    """
    probe = f"{source}|{sender}|{destination}|{recipient}"
    return probe if original is None else f"{probe}|{original}"


def mail_probe(port: str, application: str, send: str) -> str:
    """The string (ORIG_)MAIL_ACCESS is asked about: port probe, application (`SMTP/helo-name`), MAIL, send probe."""
    return f"{port}|{application}|MAIL|{send}"


def from_probe(port: str, application: str, source: str, sender: str, authenticated: str = "") -> str:
    """The string FROM_ACCESS is asked about."""
    return f"{port}|{application}|MAIL|{source}|{sender}|{authenticated}"
