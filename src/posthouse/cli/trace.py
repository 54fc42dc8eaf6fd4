"""`posthouse trace ID-OR-ADDRESS`: one message's time line from the instance's transaction log (logging.md 5).

Found by our id (the one in the 250), a queue file's name, the Message-ID, or any address. Exit 1 when nothing is known of it,
66 when the log cannot be read.
"""

import sys
from typing import Any

from cyclopts import App

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.rows import show
from posthouse.trace.reader import time_line
from posthouse.trace.record import Action, Record

app = App(name="trace", help="Show one message's time line.")
NO_INPUT = 66
_WORDS = {
    Action.ENQUEUED: "enqueued",
    Action.DEQUEUED: "delivered",
    Action.DEFERRED: "deferred",
    Action.PARTLY: "deferred, others went",
    Action.RETURNED: "returned to the sender",
    Action.DROPPED: "dropped without a notice",
    Action.REFUSED: "refused",
    Action.WARNED: "sender warned of the delay",
    Action.ABORTED: "aborted by the client",
    Action.BAD_COMMAND: "bad command",
    Action.OPENED: "connection opened",
    Action.CLOSED: "connection closed",
    Action.LOGGED_IN: "logged in",
    Action.LOGIN_REFUSED: "login refused",
    Action.REJECTED: "connection refused",
    Action.UNREACHED: "host not reached",
    Action.HELD: "held",
}
_WITHOUT_A_SERVER = {
    "rerouted": "sent elsewhere: an operator rerouted it",
    "re-enqueued": "addressed anew",
    "discarded": "discarded",
}
"""dequeued, and no server has it: our own text up to a semicolon says what became of it"""


@app.default
def trace(wanted: str, /, *, instance: InstanceOption = None, as_json: Json = False) -> None:
    """Print it.

    Args:
        wanted: message id, queue file name, Message-ID, or an address.
        instance: the instance's folder.
        as_json: print a JSON list instead of a table.
    """
    try:
        records = time_line(here(instance).log, wanted)
    except OSError as error:
        sys.stderr.write(f"posthouse trace: {error.filename}: {error.strerror}\n")
        raise SystemExit(NO_INPUT) from None
    if as_json:
        print_json([_fields(record) for record in records])
    elif records:
        _table(records)
    if not records:
        sys.stderr.write(f"posthouse trace: nothing is known of {wanted}\n")
        raise SystemExit(1)


def _fields(record: Record) -> dict[str, Any]:
    reply = {"code": record.co, "enhanced": record.en, "text": record.tx} if record.co else None
    return {
        "time": record.ts,
        "action": str(record.ac),
        "message": record.ei,
        "recipient": record.ri if record.ri >= 0 else None,
        "address": record.de,
        "original": record.od.partition(";")[2],
        "channel": record.dc or record.sc,
        "host": record.ho,
        "reply": reply,
    } | ({"reason": record.re} if record.re else {})


def _table(records: list[Record]) -> None:
    columns = ("time", "what", "message", "recipient", "channel", "host", "reply")
    rows = []
    for record in records:
        reply = f"{record.co} {record.en} {record.tx}".strip() if record.co else record.re
        recipient = record.od.partition(";")[2] or record.so
        rows.append((record.ts, _what(record), record.ei, recipient, record.dc or record.sc, record.ho, reply))
    show(columns, rows)


def _what(record: Record) -> str:
    if record.ac is Action.HELD and record.re == "released":
        return "released"
    if record.ac is Action.DEQUEUED and not record.tr:
        return _WITHOUT_A_SERVER.get(record.tx.partition(";")[0], _WORDS[record.ac])
    return _WORDS[record.ac]
