"""`posthouse sieve check SCRIPT` and `posthouse sieve test SCRIPT MESSAGE`: its faults, what it would do, and why.

    check   one line for each fault, `SCRIPT:LINE: reason`; exit 0 without one, 65 with any
    test    every step the script takes with its line, then the actions; changes nothing and sends nothing. Exit 0;
            65 when the script has a fault, also one that only shows when it runs (the message would be kept)

`-` is standard input. A message with LF line ends is read as if it had CRLF. 66 when a file cannot be read.
"""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from cyclopts import App, Parameter

from posthouse.cli.json_output import Json, print_json
from posthouse.cli.moment import moment
from posthouse.relay.filtering.actions import Action, Discard, FileInto, Keep, Outcome, Redirect, Reject, Vacation
from posthouse.relay.filtering.address_list import addresses
from posthouse.relay.filtering.commands import describe
from posthouse.relay.filtering.compiler import Script, compile_script
from posthouse.relay.filtering.fault import Problem, ScriptError
from posthouse.relay.filtering.message import Envelope, Message
from posthouse.relay.filtering.run import Surroundings

app = App(name="sieve", help="Check and try Sieve scripts.")
_DATA, _NO_INPUT, _USAGE = 65, 66, 64
Readable: TypeAlias = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""a file, or `-`"""


@app.command
def check(script: Readable, /, *, as_json: Json = False) -> None:
    """Find every fault of a script.

    Args:
        script: its file.
        as_json: print one JSON object.
    """
    compiled = _compiled(script, explain=False)
    problems = () if isinstance(compiled, Script) else compiled.problems
    if as_json:
        requires = sorted(compiled.required) if isinstance(compiled, Script) else []
        print_json({"ok": not problems, "faults": _faults(problems), "requires": requires})
    else:
        _print_faults(script, problems)
    raise SystemExit(_DATA if problems else 0)


@app.command(name="test")
def try_script(
    script: Readable,
    message: Readable,
    /,
    *,
    sender: Annotated[str | None, Parameter(name="--from")] = None,
    recipient: Annotated[str | None, Parameter(name="--to")] = None,
    auth: str = "",
    at: Annotated[str, Parameter(name="--time")] = "",
    mailbox: Annotated[list[str] | None, Parameter(negative=())] = None,
    as_json: Json = False,
) -> None:
    """Show what a script does with a message, step by step.

    Args:
        script: its file.
        message: the message's file.
        sender: envelope From, "" for the null sender; without it the address in From.
        recipient: envelope To; without it the first address in To.
        auth: who has authenticated.
        at: the time it is, as Unix seconds or ISO 8601; without it now.
        mailbox: a folder there is (again for more); without any, every folder is there.
        as_json: print one JSON object.
    """
    if script == message == "-":
        sys.stderr.write("posthouse sieve: only one of script and message can be standard input\n")
        raise SystemExit(_USAGE)
    compiled = _compiled(script, explain=True)
    octets = _message(message)
    mail = Message(octets, len(octets))
    if not isinstance(compiled, Script):
        if as_json:
            print_json({"ok": False, "faults": _faults(compiled.problems), "steps": [], "actions": [_shape(Keep())]})
        else:
            _print_faults(script, compiled.problems)
            sys.stdout.write("keep (implicit: the script has a fault)\n")
        raise SystemExit(_DATA)
    envelope = Envelope(_first(mail, "from") if sender is None else sender, recipient or _first(mail, "to"), auth)
    now = _time(at)
    zone = time.localtime(now).tm_gmtoff // 60
    outcome = compiled.evaluate(mail, envelope, Surroundings(now, zone, frozenset(mailbox) if mailbox else None))
    if as_json:
        print_json(_outcome(outcome))
    else:
        _print(outcome)
    raise SystemExit(_DATA if outcome.error else 0)


def _compiled(path: str, *, explain: bool) -> Script | ScriptError:
    try:
        return compile_script(_read(path).decode(), explain=explain)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        return ScriptError([Problem(line, "the script is not UTF-8")])
    except ScriptError as error:
        return error


def _read(path: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        sys.stderr.write(f"posthouse sieve: {path}: {error.strerror}\n")
        raise SystemExit(_NO_INPUT) from None


def _message(path: str) -> bytes:
    octets = _read(path)
    return octets if b"\r\n" in octets else octets.replace(b"\n", b"\r\n")


def _first(message: Message, name: str) -> str:
    found = [each.raw for raw in message.raws(name) for each in addresses(raw) if each.local]
    return found[0] if found else ""


def _time(text: str) -> float:
    if not text:
        return time.time()
    try:
        return moment(text)
    except ValueError:
        sys.stderr.write(f"posthouse sieve: --time {text}: give Unix seconds or ISO 8601, e.g. 2026-11-23T10:00:00Z\n")
        raise SystemExit(_USAGE) from None


def _faults(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [{"line": each.line, "reason": each.reason} for each in problems]


def _print_faults(script: str, problems: tuple[Problem, ...]) -> None:
    for each in problems:
        sys.stdout.write(f"{script}:{each.line}: {each.reason}\n")


def _shape(action: Action) -> dict[str, Any]:
    match action:
        case Keep():
            return {"action": "keep", "folder": "INBOX", "flags": list(action.flags)}
        case FileInto():
            return {"action": "fileinto", "folder": action.folder, "flags": list(action.flags), "create": action.create}
        case Redirect():
            return {"action": "redirect", "address": action.address}
        case Discard():
            return {"action": "discard"}
        case Reject():
            return {"action": "ereject" if action.extended else "reject", "reason": action.reason}
        case Vacation():
            return {
                "action": "vacation", "reason": action.reason, "seconds": action.seconds, "subject": action.subject,
                "from": action.sender, "addresses": list(action.addresses), "mime": action.mime, "handle": action.handle,
            }  # fmt: skip


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "ok": not outcome.error,
        "error": outcome.error or None,
        "implicit_keep": outcome.implicit_keep,
        "actions": [_shape(action) for action in outcome.actions],
        "steps": [{"line": step.line, "text": step.text} for step in outcome.steps],
        "work": outcome.work,
    }


def _print(outcome: Outcome) -> None:
    out = sys.stdout.write
    for step in outcome.steps:
        out(f"line {step.line}: {step.text}\n")
    if outcome.error:
        out(f"error: {outcome.error}\n")
    for place, action in enumerate(outcome.actions):
        implicit = outcome.implicit_keep and place == len(outcome.actions) - 1
        out(f"=> {describe(action)}{' (implicit)' if implicit else ''}\n")
