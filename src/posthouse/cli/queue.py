"""`posthouse queue list|retry`: what waits on a relay, and trying it again now.

The job controller is asked. When it is not running, `list` reads journal and queue tree itself, so an operator finds the
message on a machine that will not start, too; `retry` then has nobody to tell and ends with 69.
"""

import json
import sys
from typing import Annotated, Any

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.rows import show
from posthouse.config.instance import Instance
from posthouse.relay.job_controller.client import ControllerDown, request

app = App(name="queue", help="Show and retry what waits.")
UNAVAILABLE, TEMPORARY, USAGE, NO_INPUT = 69, 75, 64, 66


@app.command(name="list")
def list_(*, instance: InstanceOption = None, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> None:
    """Show every copy that waits.

    Args:
        instance: the instance's folder.
        as_json: print a JSON list.
    """
    place = here(instance)
    try:
        waiting = _answer(request(place.run / "job_controller.sock", "list"))["copies"]
    except ControllerDown:
        waiting = _from_disk(place)
    if as_json:
        sys.stdout.write(json.dumps(waiting, ensure_ascii=False) + "\n")
    else:
        _table(waiting)


@app.command
def retry(
    *ids: str,
    instance: InstanceOption = None,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Make copies due now.

    Args:
        ids: message ids.
        instance: the instance's folder.
        every: all that waits; without it and without ids nothing is done.
        as_json: print a JSON object with the number of copies.
    """
    if bool(ids) == every:
        sys.stderr.write("posthouse queue retry: give message ids, or --all\n")
        raise SystemExit(USAGE)
    try:
        answer = _answer(request(here(instance).run / "job_controller.sock", "retry", all=every, ids=list(ids)))
    except ControllerDown:
        sys.stderr.write("posthouse queue retry: the job controller is not running; its start tries everything that is due\n")
        raise SystemExit(UNAVAILABLE) from None
    sys.stdout.write(json.dumps(answer) + "\n" if as_json else f"{answer['retried']} copies are due now\n")


def _answer(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        sys.stderr.write(f"posthouse queue: {answer['error']}\n")
        raise SystemExit(TEMPORARY)
    return answer


def _from_disk(place: Instance) -> list[dict[str, Any]]:
    from posthouse.cli.queue_on_disk import list_from_disk

    try:
        return list_from_disk(place)
    except FileNotFoundError as error:
        sys.stderr.write(f"posthouse queue: {error.filename}: {error.strerror}\n")
        raise SystemExit(NO_INPUT) from None


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
    show(columns, rows)
