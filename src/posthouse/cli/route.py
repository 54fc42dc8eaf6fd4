"""`posthouse route ADDRESS`: where mail for an address would go; changes nothing.

Every intermediate address of source-routes 3 with the file and line that made it (--explain), what groups and forwards expand
to, and what the reprocess channel would make of addresses that are put off to it, as far as the message does not decide.
Exit 0 when it would be taken, 67 when refused for good, 75 when refused for now, 64 for a time that is none.
"""

import asyncio
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.loading import exit_with, load_or_exit
from posthouse.cli.moment import moment
from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError
from posthouse.mail.status import Status
from posthouse.mail.task import Refused, decode_task
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.drive import drive
from posthouse.relay.directory.open import open_directory
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.routing.access import check_sender
from posthouse.relay.routing.connect import connect_host, wire_address
from posthouse.relay.routing.inquiry import Inquiry, NoAnswer
from posthouse.relay.routing.result import Accepted, Rejected, Routed, RouteRequest, Step
from posthouse.relay.routing.reversal import kept, reversed_sender
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.switch import switched
from posthouse.relay.routing.target import without_own_route
from posthouse.relay.routing.user_filter import UserFilter

if TYPE_CHECKING:
    from posthouse.relay.routing.rules import Rules

app = App(name="route", help="Show where mail for an address would go.")
REFUSED, DEFERRED, EX_USAGE = 67, 75, 64
_LATER = "reprocess"


@app.default
def route(
    address: str,
    /,
    *,
    instance: InstanceOption = None,
    sender: Annotated[str, Parameter(name="--from")] = "",
    at: str = "",
    source: str = "192.0.2.1",
    channel: str = "tcp_local",
    explain: Annotated[bool, Parameter(negative=())] = False,
    as_json: Json = False,
) -> None:
    """Print it.

    Args:
        address: as it would stand in RCPT TO.
        instance: the instance's folder.
        sender: envelope From; empty is the null sender.
        at: the moment to decide for, e.g. 2026-07-10, 2026-07-10T12:00Z, 20260710120000Z or Unix seconds; now by default.
        source: the client's IP address, for the access tables and `switchchannel`.
        channel: the channel the mail would come in on.
        explain: show every step.
        as_json: print one JSON object, steps included.
    """
    configuration = load_or_exit(here(instance))
    if address.startswith("<") and address.endswith(">"):
        address = address[1:-1]
    try:
        rules = routing_rules.compile(configuration, chance=random.random, clock=time.time)
        request = RouteRequest(
            sender=sender,
            recipient=address,
            source_channel=_source_channel(configuration, rules, channel, source),
            port_probe=f"TCP|127.0.0.1|25|{source}|40000",
            app_info="SMTP/route.invalid",
            now=_moment(at),
            flags=frozenset("E"),
            unique="ROUTE",
            explain=True,
        )
        request, routed, later = asyncio.run(_ask(configuration, rules, request))
    except ConfigurationError as error:
        raise exit_with(error.faults) from None
    facts = _facts(rules, address, routed, later)
    if request.sender != sender:
        facts["sender"] = request.sender
    if as_json:
        print_json(_shape(facts))
    else:
        _print(facts, explain=explain)
    raise SystemExit({"deliver": 0, "refuse": REFUSED, "defer": DEFERRED}[facts["result"]])


def _source_channel(configuration: Configuration, rules: "Rules", channel: str, source: str) -> str:
    known = configuration.imta.channels.get(channel)
    return switched(rules, known, source) if known is not None and known.has("switchchannel") else channel


def _moment(text: str) -> float:
    """Unix seconds of --at."""
    if not text:
        return time.time()
    try:
        return moment(text)
    except ValueError:
        sys.stderr.write(f"--at {text}: give a time such as 2026-07-10T12:00Z\n")
        raise SystemExit(EX_USAGE) from None


async def _ask(
    configuration: Configuration, rules: "Rules", request: RouteRequest
) -> tuple[RouteRequest, Routed, dict[str, Routed]]:
    """The request with the sender that counts, the decision about its recipient, and what the reprocess channel would come to.

    The last by the addresses it is given.
    """
    directory = open_directory(configuration)
    await directory.start()
    found: dict[str, Routed] = {}
    try:
        given, sender = request.sender, await drive(reversed_sender(rules, request.sender), directory)
        request = msgspec.structs.replace(request, sender=sender)
        checked = await _sender_checked(rules, request, directory)
        if isinstance(checked, Rejected):
            return request, checked, found
        request = checked
        routed = await drive(route_recipient(rules, request), directory)
        for target in routed.recipients if isinstance(routed, Accepted) else ():
            if target.channel == _LATER and target.task:
                refused = decode_task(target.task)
                assert isinstance(refused, Refused)
                found[target.address] = Rejected(Status(550, refused.enhanced, refused.text), "a member or forwarding address")
            elif target.channel == _LATER:
                hosts = rules.imta.channels[_LATER].hosts
                again = msgspec.structs.replace(
                    request, recipient=without_own_route(target.address, hosts), sender=target.sender or request.sender,
                    from_reprocess=True, header=b"", approved="",
                )  # fmt: skip
                found[target.address] = await drive(route_recipient(rules, again), directory)
        if rules.reversal is not None and given != sender == request.sender and isinstance(routed, Accepted):
            routed = replace(routed, recipients=kept(rules.reversal, given, routed.recipients))
        return request, routed, found
    finally:
        await directory.close()


async def _sender_checked(rules: "Rules", request: RouteRequest, directory: Directory) -> RouteRequest | Rejected:
    """The request as FROM_ACCESS lets it pass, with the sender it wants; or what MAIL FROM would be told."""
    try:
        verdict = await drive(check_sender(rules, Inquiry(), request, ""), directory)
    except NoAnswer as silence:
        return Rejected(Status(451, "4.3.0", "temporary error while the sender was checked"), str(silence))
    if verdict.rejected is None:
        return request if verdict.sender is None else msgspec.structs.replace(request, sender=verdict.sender)
    file, line = rules.table_places.get("FROM_ACCESS", ("", 0))
    steps = tuple(Step(1, request.sender, request.source_channel, file, line, text) for text in verdict.explained)
    return Rejected(verdict.rejected, verdict.log or "FROM_ACCESS refuses the sender", steps=steps)


def _facts(rules: "Rules", address: str, routed: Routed, later: Mapping[str, Routed]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "address": address,
        "steps": [asdict(step) for step in routed.steps],
        "recipients": [],
        "reply": None,
    }
    if not isinstance(routed, Accepted):
        status = routed.status
        facts["result"] = "refuse" if status.is_permanent else "defer"
        facts["reply"] = {"code": status.code, "enhanced": status.enhanced, "text": status.text}
        facts["reason"] = routed.reason
        return facts
    facts["result"] = "deliver"
    for target in routed.recipients:
        channel = rules.imta.channels[target.channel]
        remote = channel.is_lmtp or channel.is_smtp
        facts["recipients"].append(
            {
                "channel": target.channel,
                "address": target.address,
                "connect": f"{connect_host(rules, channel, target.address)}:{channel.port}" if remote else "",
                "wire": wire_address(rules, channel, target.address) if remote else "",
                "held": target.held or routed.hold,
                "sender": target.sender,
                "answers": target.answers,
                "later": _facts(rules, target.address, later[target.address], {}) if target.address in later else None,
                "script": _script(target.filter),
            }
        )
    return facts


def _script(user: UserFilter | None) -> str:
    """Which script decides about an address, and what is wrong with it."""
    if user is None:
        return ""
    lines = user.script.rstrip("\n").count("\n") + 1
    said = f"the Sieve script of {user.owner} decides (mailSieveRuleSource, {lines} line{'s' * (lines > 1)})"
    try:
        compile_script(user.script, joined=user.joined)
    except ScriptError as error:
        return f"{said}, which has a fault and keeps everything: {error.problems[0]}"
    return said


def _shape(facts: dict[str, Any]) -> dict[str, Any]:
    """What --json shows: the keys that are promised; `sender` and `later` where there is one."""
    steps = ("step", "address", "channel", "file", "line")
    shown = {
        "address": facts["address"],
        "result": facts["result"],
        "steps": [{key: step[key] for key in steps} for step in facts["steps"]],
        "recipients": [_shape_recipient(target) for target in facts["recipients"]],
        "reply": facts["reply"],
    }
    return {**shown, "sender": facts["sender"]} if "sender" in facts else shown


def _shape_recipient(target: dict[str, Any]) -> dict[str, Any]:
    shown = {key: target[key] for key in ("channel", "address", "connect", "wire")}
    if target["sender"]:
        shown["sender"] = target["sender"]
    if target["later"]:
        shown["later"] = _shape(target["later"])
    return shown


def _print(facts: dict[str, Any], *, explain: bool, indent: str = "") -> None:
    def out(text: str) -> None:
        sys.stdout.write(f"{indent}{text}\n")

    if "sender" in facts:
        out(f"envelope From becomes {facts['sender']}")
    for step in facts["steps"] if explain else ():
        where = f"  ({step['file']}:{step['line']})" if step["file"] else ""
        channel = f"  [{step['channel']}]" if step["channel"] else ""
        out(f"{step['step']}  {'  ' * step['level']}{step['address']}{channel}  {step['text']}{where}")
    for target in facts["recipients"]:
        held = ", held" if target["held"] else ""
        away = ", vacation answer" if target["answers"] else ""
        out(f"{target['channel']}  {target['address']}{held}{away}")
        if target["sender"]:
            out(f"    envelope From {target['sender']}")
        if target["connect"]:
            out(f"    connect to {target['connect']}, RCPT TO:<{target['wire']}>")
        if target["script"]:
            out(f"    {target['script']}")
        if target["later"]:
            out("    then, in the reprocess channel:")
            _print(target["later"], explain=explain, indent=indent + "    ")
    if facts["reply"]:
        reply = facts["reply"]
        out(f"{facts['result']}: {reply['code']} {reply['enhanced']} {reply['text']}")
        if explain and facts["reason"]:
            out(f"    because: {facts['reason']}")
