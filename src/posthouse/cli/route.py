"""`posthouse route ADDRESS`: where mail for an address would go; changes nothing.

Every intermediate address of source-routes 3 with the file and line that made it (--explain). Exit 0 when it would be taken,
67 when refused for good, 75 when refused for now.
"""

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.loading import exit_with, load_or_exit
from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError
from posthouse.relay.directory.drive import drive
from posthouse.relay.directory.open import open_directory
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.routing.connect import connect_host, wire_address
from posthouse.relay.routing.result import Accepted, Routed, RouteRequest
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.user_filter import UserFilter

if TYPE_CHECKING:
    from posthouse.relay.routing.rules import Rules

app = App(name="route", help="Show where mail for an address would go.")
REFUSED, DEFERRED = 67, 75


@app.default
def route(
    address: str,
    /,
    *,
    instance: InstanceOption = None,
    sender: Annotated[str, Parameter(name="--from")] = "",
    source: str = "192.0.2.1",
    channel: str = "tcp_local",
    explain: Annotated[bool, Parameter(negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Print it.

    Args:
        address: as it would stand in RCPT TO.
        instance: the instance's folder.
        sender: envelope From; empty is the null sender.
        source: the client's IP address, for the access tables.
        channel: the channel the mail would come in on.
        explain: show every step.
        as_json: print one JSON object, steps included.
    """
    configuration = load_or_exit(here(instance))
    if address.startswith("<") and address.endswith(">"):
        address = address[1:-1]
    try:
        rules = routing_rules.compile(configuration, chance=random.random, clock=time.time)
    except ConfigurationError as error:
        raise exit_with(error.faults) from None
    request = RouteRequest(
        sender=sender,
        recipient=address,
        source_channel=channel,
        port_probe=f"TCP|127.0.0.1|25|{source}|40000",
        app_info="SMTP/route.invalid",
        now=time.time(),
        flags=frozenset("E"),
        unique="ROUTE",
        explain=True,
    )
    try:
        routed = asyncio.run(_ask(configuration, rules, request))
    except ConfigurationError as error:
        raise exit_with(error.faults) from None
    facts = _facts(rules, address, routed)
    if as_json:
        sys.stdout.write(json.dumps(_shape(facts), ensure_ascii=False) + "\n")
    else:
        _print(facts, explain=explain)
    raise SystemExit({"deliver": 0, "refuse": REFUSED, "defer": DEFERRED}[facts["result"]])


async def _ask(configuration: Configuration, rules: "Rules", request: RouteRequest) -> Routed:
    directory = open_directory(configuration)
    await directory.start()
    try:
        return await drive(route_recipient(rules, request), directory)
    finally:
        await directory.close()


def _facts(rules: "Rules", address: str, routed: Routed) -> dict[str, Any]:
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
    """What --json shows: the keys that are promised, no others."""
    steps, recipients = ("step", "address", "channel", "file", "line"), ("channel", "address", "connect", "wire")
    return {
        "address": facts["address"],
        "result": facts["result"],
        "steps": [{key: step[key] for key in steps} for step in facts["steps"]],
        "recipients": [{key: target[key] for key in recipients} for target in facts["recipients"]],
        "reply": facts["reply"],
    }


def _print(facts: dict[str, Any], *, explain: bool) -> None:
    out = sys.stdout.write
    for step in facts["steps"] if explain else ():
        where = f"  ({step['file']}:{step['line']})" if step["file"] else ""
        channel = f"  [{step['channel']}]" if step["channel"] else ""
        out(f"{step['step']}  {step['address']}{channel}  {step['text']}{where}\n")
    for target in facts["recipients"]:
        held = ", held" if target["held"] else ""
        out(f"{target['channel']}  {target['address']}{held}\n")
        if target["connect"]:
            out(f"    connect to {target['connect']}, RCPT TO:<{target['wire']}>\n")
        if target["script"]:
            out(f"    {target['script']}\n")
    if facts["reply"]:
        reply = facts["reply"]
        out(f"{facts['result']}: {reply['code']} {reply['enhanced']} {reply['text']}\n")
