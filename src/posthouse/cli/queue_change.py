"""`posthouse queue hold|release|return|drop|reroute|retry FILTER`: orders (queue.md 6).

    hold      no attempt is made any more until it is released      release   it goes at once, before all others
    return    to the sender, now                                    drop      away, nobody is told
    retry     try it now                                            reroute   where the directory says now

They need a FILTER (64 without one) and say what they would do with `--dry-run`. An order has been carried out and is durable when
the command ends with 0. Otherwise, the first that holds:

    70   some copies could not be changed, or what was done may not be durable
    75   some copies were being delivered, or are known by the disk only (MAX_MESSAGES), and were left alone: try again
    66   nothing that waits is meant, or no copy has an id that was named; `--all` of an empty queue is 0
    69   retry, and the job controller does not answer: its start tries everything that is due
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.queue_filter import NO_FILTER, Filter, must_say
from posthouse.cli.queue_none import NO_QUEUE, has_no_queue
from posthouse.cli.queue_orders import NO_INPUT, TEMPORARY, UNAVAILABLE, ask, order
from posthouse.cli.queue_table import table
from posthouse.relay.job_controller.client import ControllerDown
from posthouse.relay.job_controller.selection import Selection

SOFTWARE = 70
_ORDERS = {
    "hold": ("held", "Hold copies: nothing is tried any more, nothing is returned for its age, until they are released."),
    "release": ("released", "Release held copies: they go at once, before all others."),
    "return": ("returned", "Return copies to their senders now. With --to or --status: only those recipients."),
    "drop": ("dropped", "Drop copies: nobody is told. With --to or --status: only those recipients."),
    "reroute": (
        "rerouted",
        "Ask the directory anew where copies go: their users have moved. With --to or --status: only those recipients.",
    ),
}


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How it is done and told.

    Args:
        dry_run: only say what would be done.
        instance: the instance's folder.
        as_json: print a JSON object.
    """

    dry_run: Annotated[bool, Parameter(name="--dry-run", negative=())] = False
    instance: InstanceOption = None
    as_json: Json = False


AS_USUAL = How()


def add_orders(app: App) -> None:
    """Add the commands."""
    for op, (_, words) in _ORDERS.items():
        app.command(_order(op), name=op, help=words)
    app.command(retry)


def _order(op: str) -> Callable[..., None]:
    def carry_out(*ids: str, which: Filter = NO_FILTER, how: How = AS_USUAL) -> None:
        """Carry out an order.

        Args:
            ids: message ids.
            which: which copies.
            how: how it is done and told.
        """
        selection = must_say(which.selection(op, ids), op)
        answer = order(here(how.instance), op, selection, dry_run=how.dry_run)
        if how.as_json:
            print_json(answer)
        else:
            _say(op, answer, dry_run=how.dry_run)
        _end(op, answer, selection)

    return carry_out


def _say(op: str, answer: dict[str, Any], *, dry_run: bool) -> None:
    done, (past, _) = answer["done"], _ORDERS[op]
    if dry_run:
        past = f"would be {past}"
    if "would" in answer:
        done = len(answer["would"])
        if done:
            table(answer["would"])
    sys.stdout.write(f"{done} copies {past}{_left(op, answer)}\n")
    for reason in answer["stayed"]:
        sys.stdout.write(f"{reason}\n")


def _left(op: str, answer: dict[str, Any]) -> str:
    """How many are left as they are."""
    in_place = answer["in_place"]
    others = "stay" if op == "reroute" else "need not be"
    kinds = ((in_place, "are where the directory says"), (answer["unchanged"] - in_place, others))
    return "".join(f"; {number} {words}" for number, words in kinds if number)


def retry(*ids: str, which: Filter = NO_FILTER, how: How = AS_USUAL) -> None:
    """Make copies due now, and look for queue files put back by hand.

    Args:
        ids: message ids.
        which: which copies.
        how: how it is done and told.
    """
    selection = must_say(which.selection("retry", ids), "retry")
    try:
        answer = ask(here(how.instance), "retry", selection, dry_run=how.dry_run)
    except ControllerDown:
        if has_no_queue(here(how.instance)):
            sys.stderr.write(f"posthouse queue retry: {NO_QUEUE}\n")
            raise SystemExit(NO_INPUT) from None
        sys.stderr.write("posthouse queue retry: the job controller does not answer; its start tries everything that is due\n")
        raise SystemExit(UNAVAILABLE) from None
    if how.as_json:
        print_json(answer)
    else:
        if how.dry_run and answer["would"]:
            table(answer["would"])
        held = f"; {answer['held']} are held: `posthouse queue release`" if answer["held"] else ""
        sys.stdout.write(f"{answer['retried']} copies {'would be' if how.dry_run else 'are'} due now{held}\n")
    _end("retry", answer, selection)


def _end(op: str, answer: dict[str, Any], selection: Selection) -> None:
    """Say what went wrong; end with the code of the first of it."""
    codes = []
    for code, text in _complaints(answer, selection):
        sys.stderr.write(f"posthouse queue {op}: {text}\n")
        codes.append(code)
    if codes:
        raise SystemExit(codes[0])


def _complaints(answer: dict[str, Any], selection: Selection) -> Iterator[tuple[int, str]]:
    for fault in answer.get("faults", ()):
        yield SOFTWARE, fault
    if (others := answer.get("failed", 0) - len(answer.get("faults", ()))) > 0:
        yield SOFTWARE, f"{others} others could not be changed"
    if answer.get("error"):
        yield SOFTWARE, answer["error"]
    if answer.get("busy"):
        yield TEMPORARY, f"{answer['busy']} copies were being delivered and were left alone; try again"
    if answer["beyond"]:
        only = f"{answer['beyond']} queue files are known by the disk only and were not looked at"
        yield TEMPORARY, f"{only}: raise MAX_MESSAGES in job_controller.cnf, or try again when others have gone"
    for each in answer["missing"]:
        yield NO_INPUT, f"{each}: no copy that waits is meant by this id"
    if not (answer["copies"] or answer["missing"] or answer.get("failed") or selection.every):
        yield NO_INPUT, "no copy that waits is meant by this filter"
