"""`posthouse trace ID-OR-ADDRESS...`: messages' time lines from the instance's transaction log (logging.md 5, decision 194).

Found by our id (the one in the 250), a queue file's name, the Message-ID, any address, a login's name or a client's IP address;
of several all must fit. Exit 1 when nothing is known of it, 66 when a log cannot be read or is damaged: what stands in the others
is shown.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.moment import moment, span
from posthouse.cli.rows import show
from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.config.value import BadValueError
from posthouse.trace.record import Action, Record
from posthouse.trace.time_line import time_line

app = App(name="trace", help="Show messages' time lines.")
USAGE = 64
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
def trace(
    *wanted: Annotated[str, Parameter(required=True)],
    since: str = "",
    until: str = "",
    instance: InstanceOption = None,
    as_json: Json = False,
) -> None:
    """Print them.

    Args:
        wanted: message id, queue file name, Message-ID, an address, a login's name, a client's IP address; with several: messages
            that all of them name. By a recipient's address only his part of a message is shown, by its id all of it.
        since: only messages that something of that name was logged of from then on: 2h, 3d, or a time such as 2026-07-10T12:00Z.
        until: the same, up to then.
        instance: the instance's folder.
        as_json: print a JSON list instead of a table.
    """
    place = here(instance)
    first, last = _moment("--since", since) or 0.0, _moment("--until", until)
    unread: dict[str, str] = {}
    records = time_line(
        place.log, *wanted, since=first, until=last, bare=_bare_domain(place),
        unread=lambda error: unread.update({str(error.filename): str(error.strerror)}),
    )  # fmt: skip
    if as_json:
        print_json([_fields(record) for record in records])
    elif records:
        _table(records)
    for name, why in unread.items():
        sys.stderr.write(f"posthouse trace: {name}: {why}\n")
    if not records:
        where = " in what could be read" if unread else ""
        sys.stderr.write(f"posthouse trace: nothing is known of {' with '.join(wanted)}{where}\n")
    if unread or not records:
        raise SystemExit(NO_INPUT if unread else 1)


def _moment(option: str, text: str) -> float | None:
    if not text:
        return None
    try:
        return time.time() - span(text)
    except BadValueError:
        try:
            return moment(text)
        except ValueError:
            sys.stderr.write(f"posthouse trace: {option} {text}: not a time; write e.g. 2h, 3d or 2026-07-10T12:00Z\n")
            raise SystemExit(USAGE) from None


def _bare_domain(place: Instance) -> str:
    """The domain that a store's log leaves out of its users' addresses; empty on a relay, and where a file is bad by now."""
    try:
        return load(place).store.defaultdomain
    except ConfigurationError:
        return ""


def _fields(record: Record) -> dict[str, Any]:
    reply = {"code": record.co, "enhanced": record.en, "text": record.tx} if record.co else None
    facts = {
        "time": record.ts,
        "action": str(record.ac),
        "message": record.ei,
        "message_id": record.mi,
        "from": record.so,
        "client": record.ss,
        "user": record.us,
        "recipient": record.ri if record.ri >= 0 else None,
        "address": record.de,
        "original": record.od.partition(";")[2],
        "channel": record.dc or record.sc,
        "host": record.ho,
        "file": record.fi,
        "reply": reply,
    }
    return facts | ({"reason": record.re} if record.re else {})


def _table(records: list[Record]) -> None:
    columns = ("time", "what", "message", "from", "recipient", "channel", "where", "reply")
    rows = []
    for record, what in _without_repeats(records):
        channel = record.dc.strip("+-") or record.sc
        cells = (_sender(record), _recipient(record), channel, _where(record), _reply(record))
        rows.append((record.ts, what, record.ei, *cells))
    show(columns, rows)


def _without_repeats(records: list[Record]) -> Iterator[tuple[Record, str]]:
    """Records and what they are called; of the same delay of a recipient again and again the first and the last."""

    def same(record: Record) -> tuple[str, int, str, str]:
        return (record.ei, record.ri, record.de, _reply(record))

    tries = Counter(same(record) for record in records if record.ac is Action.DEFERRED)
    seen: Counter[tuple[str, int, str, str]] = Counter()
    for record in records:
        if record.ac is not Action.DEFERRED:
            yield record, _what(record)
            continue
        seen[same(record)] += 1
        if (number := seen[same(record)]) == 1:
            yield record, _what(record)
        elif number == tries[same(record)]:
            yield record, f"{_what(record)}, {number} times"


def _sender(record: Record) -> str:
    return record.so or ("<>" if record.ei and record.od else record.us)


def _recipient(record: Record) -> str:
    """As the sender named him; where a group, a forward or a script put another in his place, that one first."""
    given = record.od.partition(";")[2]
    now = record.ia or ("" if record.de.startswith(("@", "user/")) else record.de)
    return f"{now} ({given})" if now and given and now.lower() != given.lower() else given or now


def _where(record: Record) -> str:
    """The next system; of what came by SMTP and was refused, the client; on a store, the mailbox."""
    return record.ho or record.ss or (record.de if record.de.startswith("user/") else "")


def _reply(record: Record) -> str:
    """The answer, and in brackets what else is known: why, or the name of the file in a mailbox."""
    answer = f"{record.co} {record.en} {record.tx}".strip() if record.co else ""
    more = record.re or (record.fi if record.de.startswith("user/") else "")
    return f"{answer} ({more})" if answer and more and more not in answer else answer or more


def _what(record: Record) -> str:
    if record.ac is Action.HELD and record.re == "released":
        return "released"
    if record.ac is Action.RETURNED and "; only the postmaster is told: " in record.re:
        return "returned to the postmaster"
    if record.ac is Action.DEQUEUED and not record.tr:
        return _WITHOUT_A_SERVER.get(record.tx.partition(";")[0], _WORDS[record.ac])
    return _WORDS[record.ac]
