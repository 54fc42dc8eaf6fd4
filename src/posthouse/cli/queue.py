"""`posthouse queue list|show|summary|why|hold|release|return|drop|retry FILTER`: what waits on a relay, and acting on it.

The job controller is asked. When none runs, the first four read journal and queue tree themselves, so that an operator finds the
message on a machine that will not start, too; orders start a controller for the occasion (queue_orders.py); `retry` has nobody
to tell and ends with 69: the start tries everything that is due.

    hold      no attempt is made any more until it is released      release   it goes at once, before all others
    return    to the sender, now                                    drop      away, nobody is told
    retry     try it now

Orders and `retry` need a FILTER (64 without one) and say what they would do with `--dry-run`. An order has been carried out and
is durable when the command ends with 0; 75: some copies were being delivered and were left alone; 70: some could not be changed.
"""

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.queue_filter import NO_FILTER, Filter, must_say
from posthouse.cli.queue_orders import NO_INPUT, UNAVAILABLE, ask, order
from posthouse.cli.rows import show as show_rows
from posthouse.config.instance import Instance
from posthouse.relay.job_controller.client import ControllerDown
from posthouse.relay.job_controller.selection import Selection

app = App(name="queue", help="Show what waits; hold, release, return, drop or retry it.")
TEMPORARY, SOFTWARE = 75, 70
Read = TypeVar("Read")
_Json = Annotated[bool, Parameter(name="--json", negative=())]
_DryRun = Annotated[bool, Parameter(name="--dry-run", negative=())]
_WORDS = {"hold": "held", "release": "released", "return": "returned", "drop": "dropped"}


@app.command(name="list")
def list_(*ids: str, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: _Json = False) -> None:
    """Show every copy that waits.

    Args:
        ids: message ids.
        which: only these.
        instance: the instance's folder.
        as_json: print a JSON list.
    """
    waiting = _rows(here(instance), "list", which.selection("list", ids))
    _json(waiting) if as_json else _table(waiting)


@app.command
def show(*ids: str, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: _Json = False) -> None:
    """Show copies whole: header, envelope, recipients, attempts.

    Args:
        ids: message ids.
        which: which copies.
        instance: the instance's folder.
        as_json: print a JSON list.
    """
    from posthouse.cli.queue_show import print_copies, read_copies

    place = here(instance)
    rows = _rows(place, "list", must_say(which.selection("show", ids), "show"))
    copies = read_copies(place, rows)
    _json(copies) if as_json else print_copies(copies)
    if not copies:
        sys.stderr.write("posthouse queue show: no such copy waits\n")
        raise SystemExit(1)


@app.command
def summary(*, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: _Json = False) -> None:
    """Count what waits by channel, host and state.

    Args:
        which: only these.
        instance: the instance's folder.
        as_json: print a JSON object.
    """
    place, selection = here(instance), which.selection("summary")
    try:
        answer = ask(place, "summary", selection)
    except ControllerDown:
        from posthouse.cli.queue_on_disk import summary_from_disk

        answer = _read(lambda: summary_from_disk(place, selection))
    _json(answer) if as_json else _print_summary(answer)


@app.command
def why(*ids: str, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: _Json = False) -> None:
    """Say why copies wait: the last replies, the next attempt, the state of the host.

    Args:
        ids: message ids.
        which: which copies.
        instance: the instance's folder.
        as_json: print a JSON list.
    """
    copies = _rows(here(instance), "why", must_say(which.selection("why", ids), "why"))
    if as_json:
        _json(copies)
    for copy in () if as_json else copies:
        sys.stdout.write(f"{copy['id']} on {copy['channel']} for {copy['host'] or 'no host'}: {copy['why']}\n")
        for each in copy["recipients"]:
            said = each["status"]
            words = f"{said['code']} {said['enhanced']} {said['text']}" if said else "no reply so far"
            sys.stdout.write(f"  {each['original']}: {words}\n")
    if not copies:
        sys.stderr.write("posthouse queue why: no such copy waits\n")
        raise SystemExit(1)


@app.command
def hold(
    *ids: str, which: Filter = NO_FILTER, dry_run: _DryRun = False, instance: InstanceOption = None, as_json: _Json = False
) -> None:
    """Hold copies: nothing is tried any more, nothing is returned for its age, until they are released.

    Args:
        ids: message ids.
        which: which copies.
        dry_run: only say what would be done.
        instance: the instance's folder.
        as_json: print a JSON object.
    """
    _carry_out("hold", which.selection("hold", ids), instance, dry_run=dry_run, as_json=as_json)


@app.command
def release(
    *ids: str, which: Filter = NO_FILTER, dry_run: _DryRun = False, instance: InstanceOption = None, as_json: _Json = False
) -> None:
    """Release held copies: they go at once, before all others.

    Args:
        ids: message ids.
        which: which copies.
        dry_run: only say what would be done.
        instance: the instance's folder.
        as_json: print a JSON object.
    """
    _carry_out("release", which.selection("release", ids), instance, dry_run=dry_run, as_json=as_json)


@app.command(name="return")
def return_(
    *ids: str, which: Filter = NO_FILTER, dry_run: _DryRun = False, instance: InstanceOption = None, as_json: _Json = False
) -> None:
    """Return copies to their senders now. With --to or --status: only those recipients.

    Args:
        ids: message ids.
        which: which copies.
        dry_run: only say what would be done.
        instance: the instance's folder.
        as_json: print a JSON object.
    """
    _carry_out("return", which.selection("return", ids), instance, dry_run=dry_run, as_json=as_json)


@app.command
def drop(
    *ids: str, which: Filter = NO_FILTER, dry_run: _DryRun = False, instance: InstanceOption = None, as_json: _Json = False
) -> None:
    """Drop copies: nobody is told. With --to or --status: only those recipients.

    Args:
        ids: message ids.
        which: which copies.
        dry_run: only say what would be done.
        instance: the instance's folder.
        as_json: print a JSON object.
    """
    _carry_out("drop", which.selection("drop", ids), instance, dry_run=dry_run, as_json=as_json)


@app.command
def retry(
    *ids: str, which: Filter = NO_FILTER, dry_run: _DryRun = False, instance: InstanceOption = None, as_json: _Json = False
) -> None:
    """Make copies due now, and look for queue files put back by hand.

    Args:
        ids: message ids.
        which: which copies.
        dry_run: only say what would be done.
        instance: the instance's folder.
        as_json: print a JSON object with the number of copies.
    """
    selection = must_say(which.selection("retry", ids), "retry")
    try:
        answer = ask(here(instance), "retry", selection, dry_run=dry_run)
    except ControllerDown:
        sys.stderr.write("posthouse queue retry: the job controller is not running; its start tries everything that is due\n")
        raise SystemExit(UNAVAILABLE) from None
    if as_json:
        _json(answer)
    else:
        sys.stdout.write(f"{answer['retried']} copies {'would be' if dry_run else 'are'} due now\n")


def _carry_out(op: str, selection: Selection, instance: InstanceOption, *, dry_run: bool, as_json: bool) -> None:
    answer = order(here(instance), op, must_say(selection, op), dry_run=dry_run)
    if as_json:
        _json(answer)
    elif dry_run:
        _table(answer["would"])
        sys.stdout.write(f"{len(answer['would'])} copies would be {_WORDS[op]}\n")
    else:
        sys.stdout.write(f"{answer['done']} copies {_WORDS[op]}\n")
    for fault in answer["faults"]:
        sys.stderr.write(f"posthouse queue {op}: {fault}\n")
    if answer.get("error"):
        sys.stderr.write(f"posthouse queue {op}: {answer['error']}\n")
        raise SystemExit(SOFTWARE)
    if answer["failed"]:
        raise SystemExit(SOFTWARE)
    if answer["busy"]:
        sys.stderr.write(f"posthouse queue {op}: {answer['busy']} copies were being delivered and were left alone; try again\n")
        raise SystemExit(TEMPORARY)


def _rows(place: Instance, op: str, selection: Selection) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = ask(place, op, selection)["copies"]
    except ControllerDown:
        from posthouse.cli.queue_on_disk import list_from_disk

        rows = _read(lambda: list_from_disk(place, selection))
    return rows


def _read(reading: Callable[[], Read]) -> Read:
    try:
        return reading()
    except FileNotFoundError as error:
        sys.stderr.write(f"posthouse queue: {error.filename}: {error.strerror}\n")
        raise SystemExit(NO_INPUT) from None


def _json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def _print_summary(answer: dict[str, Any]) -> None:
    columns = ("channel", "host", "state", "copies", "recipients", "octets", "oldest")
    if answer["groups"]:
        show_rows(columns, [tuple(str(group[name]) for name in columns) for group in answer["groups"]])
    total, overdue = answer["total"], answer["overdue"]
    sizes = f"{total['copies']} copies, {total['octets']} octets"
    sys.stdout.write(f"{sizes}; {total['held']} held, {total['damaged']} cannot be read\n")
    if overdue and overdue["copies"]:
        late = round(overdue["oldest_seconds"])
        sys.stdout.write(f"{overdue['copies']} should have been returned for their age, the oldest {late} seconds ago\n")


def _table(waiting: list[dict[str, Any]]) -> None:
    if not waiting:
        sys.stdout.write("nothing waits\n")
        return
    columns = ("id", "state", "channel", "host", "tries", "next try", "size", "sender", "recipient", "status")
    rows = []
    for copy in waiting:
        for recipient in copy["recipients"]:
            status = recipient["status"]
            words = f"{status['code']} {status['enhanced']} {status['text']}" if status else ""
            rows.append((
                copy["id"], copy["state"], copy["channel"], copy["host"], str(copy["attempts"]), copy["next_try"] or "",
                str(copy["size"]), copy["sender"] or "<>", recipient["original"], copy.get("reason") or words,
            ))  # fmt: skip
        if not copy["recipients"]:  # a file that cannot be read
            rows.append((copy["id"], copy["state"], copy["channel"], copy["file"], "", "", str(copy["size"]), "", "",
                         copy.get("reason", "")))  # fmt: skip
    show_rows(columns, rows)
