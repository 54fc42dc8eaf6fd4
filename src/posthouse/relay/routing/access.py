"""The access tables of the mappings file at RCPT TO and MAIL FROM (mappings.md 6).

    FROM_ACCESS                            port-probe|app-info|MAIL|src-channel|from|auth-from
    ORIG_SEND_ACCESS, SEND_ACCESS          src-channel|from|dst-channel|to
    ORIG_MAIL_ACCESS, MAIL_ACCESS          port-probe|app-info|MAIL|src-channel|from|dst-channel|to

Tables that do not exist are not asked; the first rejection decides. ACCESS_ORCPT=1 appends `|original-recipient` to the
recipient tables. A rejection reads `550 5.7.1 text: address`, unless the text begins with codes of its own; without a text it
is the unknown-alias reply, or with ACCESS_ERRORS=1 "you are not allowed to send to this address".
Acted on: Y N F B H X and the log text `<` `>`. J K D A S and the ignored I T G are left for their own issues.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from posthouse.mail.status import Status
from posthouse.mapping.table import Result
from posthouse.relay.routing.inquiry import Asking, Inquiry
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.result import RouteRequest
from posthouse.relay.routing.rules import Rules

_ORDER = "JK<>DTAGSX"
_CODES = re.compile(r"([45]\d\d)(?: +([45]\.\d{1,3}\.\d{1,3}))? +(\S.*)", re.DOTALL)
_ENHANCED = re.compile(r"[45]\.\d{1,3}\.\d{1,3}")


class AccessProbe(NamedTuple):
    """One recipient address about to be asked about."""

    request: RouteRequest
    channel: str
    """destination channel"""
    address: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tables asked say together."""

    rejected: Status | None = None
    hold: bool = False
    bitbucket: bool = False
    allowed_by_table: bool = False
    """a table said `$Y`; without any match mail is allowed, too"""
    log: str = ""
    """text of `$<` or `$>`"""
    explained: tuple[str, ...] = ()


_NOTHING = Verdict()


def check_access(rules: Rules, inquiry: Inquiry, probe: AccessProbe, names: Sequence[str]) -> Asking[Verdict]:
    """Ask the tables, in order, about one recipient address.

    Raises:
        NoAnswer: a table's directory call-out has no answer.
    """
    present = [name for name in names if name in rules.tables]
    if not present:
        return _NOTHING
    request, channel, address = probe
    text = f"{request.source_channel}|{request.sender}|{channel}|{address}"
    if rules.access_orcpt:
        text += f"|{request.original or request.recipient}"
    given = request.recipient
    verdicts: list[Verdict] = []
    for name in present:
        asked = text if name.endswith("SEND_ACCESS") else f"{request.port_probe}|{request.app_info}|MAIL|{text}"
        result = yield from inquiry.mapping(rules.tables, name, asked, request.flags)
        verdicts.append(judge(rules, name, result, given))
        if verdicts[-1].rejected is not None:
            break
    return _together(verdicts)


def check_sender(rules: Rules, inquiry: Inquiry, request: RouteRequest, auth_from: str) -> Asking[Verdict]:
    """Ask FROM_ACCESS about the sender of a request; its recipient is not looked at.

    Raises:
        NoAnswer: the table's directory call-out has no answer.
    """
    if "FROM_ACCESS" not in rules.tables:
        return _NOTHING
    text = f"{request.port_probe}|{request.app_info}|MAIL|{request.source_channel}|{request.sender}|{auth_from}"
    result = yield from inquiry.mapping(rules.tables, "FROM_ACCESS", text, request.flags)
    return judge(rules, "FROM_ACCESS", result, request.sender)


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    if len(verdicts) == 1:
        return verdicts[0]
    return Verdict(
        rejected=verdicts[-1].rejected,
        hold=any(verdict.hold for verdict in verdicts),
        bitbucket=any(verdict.bitbucket for verdict in verdicts),
        allowed_by_table=any(verdict.allowed_by_table for verdict in verdicts),
        log="; ".join(verdict.log for verdict in verdicts if verdict.log),
        explained=tuple(text for verdict in verdicts for text in verdict.explained),
    )


def judge(rules: Rules, name: str, result: Result | None, given: str) -> Verdict:
    """What one table's result means for the address as given."""
    if result is None:
        return Verdict(explained=(f"{name}: no match",))
    flags = result.flags
    rejects = "N" in flags or "F" in flags
    arguments = _arguments(result, rejects=rejects)
    log = arguments.get("<", "") or (arguments.get(">", "") if rejects else "")
    explained = (f"{name}: ${''.join(sorted(flags))} {result.text}".rstrip(),)
    if not rejects:
        return Verdict(None, "H" in flags, "B" in flags, "Y" in flags, log, explained)
    return Verdict(rejected=_rejection(rules, arguments, given), log=log, explained=explained)


def _arguments(result: Result, *, rejects: bool) -> dict[str, str]:
    """The pieces of the output text, given to the flags present in their fixed order."""
    pieces = result.text.split("|")
    found: dict[str, str] = {}
    for letter in _ORDER:
        if letter in result.flags and pieces:
            found[letter] = pieces.pop(0)
    if rejects:
        found["N"] = "|".join(pieces)
    return found


def _rejection(rules: Rules, arguments: dict[str, str], given: str) -> Status:
    text = " ".join(arguments.get("N", "").split())
    if not text:
        refusal = Refusal.ACCESS_FAILURE if rules.access_errors else Refusal.UNKNOWN_ALIAS
        return rules.refusals.status(refusal, given)
    code, enhanced = 550, "5.7.1"
    own = _CODES.fullmatch(text)
    if own:
        code, enhanced, text = int(own[1]), own[2] or f"{own[1][0]}.7.1", own[3]
    wanted = arguments.get("X", "").strip()
    if _ENHANCED.fullmatch(wanted):
        enhanced = wanted
        if not own:
            code = 550 if wanted.startswith("5") else 450
    return Status(code, enhanced, f"{text}: {given}")
