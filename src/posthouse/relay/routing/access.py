"""The access tables of the mappings file at RCPT TO and MAIL FROM (mappings.md 6).

    FROM_ACCESS                            port-probe|app-info|MAIL|src-channel|from|auth-from
    ORIG_SEND_ACCESS, SEND_ACCESS          src-channel|from|dst-channel|to
    ORIG_MAIL_ACCESS, MAIL_ACCESS          port-probe|app-info|MAIL|src-channel|from|dst-channel|to

Tables that do not exist are not asked; the first rejection decides. ACCESS_ORCPT=1 appends `|original-recipient` to the
recipient tables. A `|` inside a field that a client chooses becomes `?`: nobody can write himself another field.
A rejection reads `550 5.7.1 text: address`, unless the text begins with codes of its own; without a text it is the
unknown-alias reply, or with ACCESS_ERRORS=1 "you are not allowed to send to this address".
Acted on: Y N F B H D X, the log texts `<` `>`, A (a header line) and S (the largest size in blocks: of the message at MAIL FROM,
for this recipient at RCPT TO); of FROM_ACCESS J (another envelope From) and K (the Sender: field), too. What is no address,
header line or number there has no effect. A line that a recipient's entry adds is in the message, whoever reads it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from posthouse.mail.address import AddressError, parse_address
from posthouse.mail.status import Status
from posthouse.mapping.access import decide, from_probe, mail_probe, send_probe
from posthouse.mapping.table import Result
from posthouse.relay.routing.inquiry import Asking, Inquiry
from posthouse.relay.routing.refusal import Refusal, reply
from posthouse.relay.routing.result import RouteRequest
from posthouse.relay.routing.rules import Rules


class AccessProbe(NamedTuple):
    """One recipient address about to be asked about."""

    request: RouteRequest
    channel: str
    """destination channel"""
    address: str


_NUMBER = re.compile(r"\s*(\d{1,9})")
_HEADER = re.compile(r"[!-9;-~]+:[ -~]*")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tables asked say together."""

    rejected: Status | None = None
    hold: bool = False
    bitbucket: bool = False
    allowed_by_table: bool = False
    """a table said `$Y`; without any match mail is allowed, too"""
    delay: float = 0.0
    """seconds to wait before the reply"""
    log: str = ""
    """text of `$<` or `$>`"""
    explained: tuple[str, ...] = ()
    sender: str | None = None
    """FROM_ACCESS: the envelope From to go on with"""
    header: str = ""
    """lines to be put before the message's header, CRLF between them"""
    header_sender: str = ""
    """FROM_ACCESS: the address of the Sender: field"""
    size: int = 0
    """octets the message may have, 0 for no limit"""


_NOTHING = Verdict()
_NO_MATCH = {
    name: Verdict(explained=(f"{name}: no match",))
    for name in ("FROM_ACCESS", "ORIG_SEND_ACCESS", "ORIG_MAIL_ACCESS", "SEND_ACCESS", "MAIL_ACCESS")
}


def check_access(rules: Rules, inquiry: Inquiry, probe: AccessProbe, names: Sequence[str]) -> Asking[Verdict]:
    """Ask the tables, which exist, in order about one recipient address.

    Raises:
        NoAnswer: a table's directory call-out has no answer.
    """
    if not names:
        return _NOTHING
    request, channel, address = probe
    original = _field(request.original or request.recipient) if rules.access_orcpt else None
    text = send_probe(request.source_channel, _field(request.sender), channel, _field(address), original)
    verdicts: list[Verdict] = []
    for name in names:
        asked = text if name.endswith("SEND_ACCESS") else mail_probe(request.port_probe, _field(request.app_info), text)
        result = yield from inquiry.mapping(rules.tables, name, asked, request.flags)
        verdicts.append(_verdict(rules, name, result, request.recipient))
        if verdicts[-1].rejected is not None:
            break
    return _together(verdicts)


def check_sender(rules: Rules, inquiry: Inquiry, request: RouteRequest, authenticated: str) -> Asking[Verdict]:
    """Ask FROM_ACCESS about the sender of a request; its recipient is not looked at.

    Raises:
        NoAnswer: the table's directory call-out has no answer.
    """
    if "FROM_ACCESS" not in rules.tables:
        return _NOTHING
    application, sender = _field(request.app_info), _field(request.sender)
    text = from_probe(request.port_probe, application, request.source_channel, sender, authenticated)
    result = yield from inquiry.mapping(rules.tables, "FROM_ACCESS", text, request.flags)
    verdict = _verdict(rules, "FROM_ACCESS", result, request.sender)
    if result is None or not result.flags & {"J", "K"}:
        return verdict
    access = decide(result)
    other = access.sender if access.sender is not None and _is_sender(access.sender) else None
    field = access.header_sender if access.header_sender and _is_sender(access.header_sender) else ""
    return replace(verdict, sender=other, header_sender=field)


def _is_sender(text: str) -> bool:
    if not text:
        return True
    try:
        return bool(parse_address(text).domain)
    except AddressError:
        return False


def _field(text: str) -> str:
    return text.replace("|", "?") if "|" in text else text


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    if len(verdicts) == 1:
        return verdicts[0]
    return Verdict(
        rejected=verdicts[-1].rejected,
        hold=any(verdict.hold for verdict in verdicts),
        bitbucket=any(verdict.bitbucket for verdict in verdicts),
        allowed_by_table=any(verdict.allowed_by_table for verdict in verdicts),
        delay=max(verdict.delay for verdict in verdicts),
        log="; ".join(verdict.log for verdict in verdicts if verdict.log),
        explained=tuple(text for verdict in verdicts for text in verdict.explained),
        header="\r\n".join(dict.fromkeys(verdict.header for verdict in verdicts if verdict.header)),
        size=min((verdict.size for verdict in verdicts if verdict.size), default=0),
    )


def _verdict(rules: Rules, name: str, result: Result | None, given: str) -> Verdict:
    """What one table's result means for the address as given."""
    if result is None:
        return _NO_MATCH[name]
    access = decide(result)
    explained = (f"{name}: ${''.join(sorted(result.flags))} {result.text}".rstrip(),)
    rejected = None if access.status is None else _reply(rules, access.status, given)
    by_table = access.allowed and "Y" in result.flags
    number = _NUMBER.match(access.arguments.get("S", ""))
    return Verdict(
        rejected, access.hold, access.bitbucket, by_table, access.delay, access.log, explained,
        header=access.header if _HEADER.fullmatch(access.header) else "",
        size=int(number[1]) * rules.block_size if number is not None else 0,
    )  # fmt: skip


def _reply(rules: Rules, status: Status, given: str) -> Status:
    text = " ".join(status.text.split())
    if not text:
        refusal = Refusal.ACCESS_FAILURE if rules.access_errors else Refusal.UNKNOWN_ALIAS
        return rules.refusals.status(refusal, given)
    return reply(status.code, status.enhanced, text, given)
