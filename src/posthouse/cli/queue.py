"""`posthouse queue list|show|summary|why FILTER`: what waits on a relay. Acting on it: queue_change.py.

The job controller is asked. When none runs, these commands read journal and queue tree themselves, so that an operator finds the
message on a machine that will not start, too. Queue files beyond MAX_MESSAGES, which a running controller knows by the disk only,
are read from there as well; `summary` counts them apart. `show` and `why` end with 66 when nothing that waits is meant. A store
that only hears LMTP has no queue, and says so.
"""

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from cyclopts import App

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.queue_change import add_orders
from posthouse.cli.queue_filter import NO_FILTER, Filter, must_say
from posthouse.cli.queue_none import NO_QUEUE, has_no_queue
from posthouse.cli.queue_orders import NO_INPUT, ask
from posthouse.cli.queue_table import table
from posthouse.cli.rows import show as show_rows
from posthouse.config.instance import Instance
from posthouse.relay.job_controller.client import ControllerDown
from posthouse.relay.job_controller.selection import Selection

app = App(name="queue", help="Show what waits; hold, release, return, drop, reroute or retry it.")
Read = TypeVar("Read")


@app.command(name="list")
def list_(*ids: str, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: Json = False) -> None:
    """Show every copy that waits.

    Args:
        ids: message ids.
        which: only these.
        instance: the instance's folder.
        as_json: print a JSON list.
    """
    selection = which.selection("list", ids)
    waiting = _rows(here(instance), "list", selection)
    nothing = "nothing waits" if selection.is_empty or selection.every else "no copy that waits is meant"
    if not waiting and not as_json and has_no_queue(here(instance)):
        nothing = NO_QUEUE
    print_json(waiting) if as_json else table(waiting, nothing)


@app.command
def show(*ids: str, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: Json = False) -> None:
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
    print_json(copies) if as_json else print_copies(copies)
    _must_be(copies, "show", place)


@app.command
def summary(*, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: Json = False) -> None:
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
    if as_json:
        print_json(answer)
    elif not answer["groups"] and has_no_queue(place):
        sys.stdout.write(f"{NO_QUEUE}\n")
    else:
        _print_summary(answer)


@app.command
def why(*ids: str, which: Filter = NO_FILTER, instance: InstanceOption = None, as_json: Json = False) -> None:
    """Say why copies wait: the last replies, the next attempt, the state of the host.

    Args:
        ids: message ids.
        which: which copies.
        instance: the instance's folder.
        as_json: print a JSON list.
    """
    place = here(instance)
    copies = _rows(place, "why", must_say(which.selection("why", ids), "why"))
    if as_json:
        print_json(copies)
    for copy in () if as_json else copies:
        sys.stdout.write(f"{copy['id']} on {copy['channel']} for {copy['host'] or 'no host'}: {copy['why']}\n")
        for each in copy["recipients"]:
            said = each["status"]
            words = f"{said['code']} {said['enhanced']} {said['text']}" if said else "no reply so far"
            sys.stdout.write(f"  {each['original']}: {words}\n")
    _must_be(copies, "why", place)


add_orders(app)


def _rows(place: Instance, op: str, selection: Selection) -> list[dict[str, Any]]:
    from posthouse.cli.queue_on_disk import beyond_on_disk, list_from_disk

    try:
        answer = ask(place, op, selection)
    except ControllerDown:
        return _read(lambda: list_from_disk(place, selection))
    rows: list[dict[str, Any]] = answer["copies"]
    if answer["beyond"]:
        rows += _read(lambda: beyond_on_disk(place, selection, rows))
    return rows


def _must_be(copies: list[dict[str, Any]], command: str, place: Instance) -> None:
    if not copies:
        reason = NO_QUEUE if has_no_queue(place) else "no copy that waits is meant"
        sys.stderr.write(f"posthouse queue {command}: {reason}\n")
        raise SystemExit(NO_INPUT)


def _read(reading: Callable[[], Read]) -> Read:
    try:
        return reading()
    except FileNotFoundError as error:
        sys.stderr.write(f"posthouse queue: {error.filename}: {error.strerror}\n")
        raise SystemExit(NO_INPUT) from None


def _print_summary(answer: dict[str, Any]) -> None:
    columns = ("channel", "host", "state", "copies", "recipients", "octets", "oldest")
    if answer["groups"]:
        show_rows(columns, [tuple(str(group[name]) for name in columns) for group in answer["groups"]])
    total, overdue = answer["total"], answer["overdue"]
    sizes = f"{total['copies']} copies, {total['octets']} octets"
    sys.stdout.write(f"{sizes}; {total['held']} held, {total['damaged']} cannot be read\n")
    if answer.get("beyond"):
        sys.stdout.write(f"{answer['beyond']} queue files more are known by the disk only (MAX_MESSAGES) and not counted here\n")
    if overdue and overdue["copies"]:
        late = round(overdue["oldest_seconds"])
        sys.stdout.write(f"{overdue['copies']} should have been returned for their age, the oldest {late} seconds ago\n")
