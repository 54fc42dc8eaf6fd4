"""`posthouse counters [--channel NAME]`: what was counted of each channel, as `imsimta counters -show` prints it (logging.md 6).

    counters          messages, recipients, blocks: received, stored, delivered, submitted, attempted, rejected, failed, times
    counters clear    shows from now on what comes then; nothing is taken from those who count, and `metrics` goes on as it was

Running or stopped, all is read from `data/counters`. Exit 0; 65 when a file there cannot be read, it is named and the rest is
shown; 66 when `--channel` means no channel that was counted; 77 when the files are another user's. Typed by root, `clear`
writes as the owner of `data/`: what stands below it is his to arrange, links too.
"""

import sys
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.counter_facts import facts, since, table
from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.config.instance import Instance
from posthouse.dispatcher.user import NoSuchUser, become, owner_of
from posthouse.trace.counter_file import read_all, read_cleared, write_cleared
from posthouse.trace.figures import Rows

app = App(name="counters", help="Show what was counted of each channel, or begin anew.")
EX_DATAERR, EX_NOINPUT, EX_IOERR, EX_NOPERM = 65, 66, 74, 77
_Channels = Annotated[tuple[str, ...], Parameter(negative=())]


@app.default
def counters(*, channel: _Channels = (), instance: InstanceOption = None, as_json: Json = False) -> None:
    """Show them.

    Args:
        channel: only this one; may be repeated, `*` and `?` are wildcards.
        instance: the instance's folder.
        as_json: print one JSON object.
    """
    place = here(instance)
    counted, faults = _read(place)
    cleared, when, fault = read_cleared(place.counters)
    faults += (fault,) if fault else ()
    shown = {name: facts(row) for name, row in sorted(since(_meant(counted, channel), cleared).items())}
    moment = datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if when else None
    if as_json:
        print_json({"cleared": moment, "channels": shown, "faults": list(faults)})
    else:
        lines = list(table(shown)) if shown else ["nothing was counted so far"]
        sys.stdout.write("\n".join([*lines, *([f"last cleared {moment}"] if moment else [])]) + "\n")
    _end(faults)


@app.command
def clear(
    *,
    channel: _Channels = (),
    instance: InstanceOption = None,
    dry_run: Annotated[bool, Parameter(name="--dry-run", negative=())] = False,
    as_json: Json = False,
) -> None:
    """Begin anew.

    Args:
        channel: only this one; may be repeated, `*` and `?` are wildcards.
        instance: the instance's folder.
        dry_run: only say what would be done.
        as_json: print one JSON object.
    """
    place = here(instance)
    try:
        owner = owner_of(place.data)
    except NoSuchUser as error:
        sys.stderr.write(f"posthouse counters: {error}\n")
        raise SystemExit(EX_NOPERM) from None
    if owner is not None:
        become(owner)
    counted, faults = _read(place)
    meant = _meant(counted, channel)
    if meant and not dry_run:
        try:
            write_cleared(place.counters, {**read_cleared(place.counters)[0], **meant})
        except OSError as error:
            raise _refused(error, place) from None
    if as_json:
        print_json({"cleared": sorted(meant), "dry_run": dry_run, "faults": list(faults)})
    else:
        sys.stdout.write(f"the counters of {len(meant)} channels {'would ' if dry_run else ''}begin anew\n")
    _end(faults)


def _read(place: Instance) -> tuple[Rows, tuple[str, ...]]:
    try:
        return read_all(place.counters)
    except OSError as error:
        raise _refused(error, place) from None


def _refused(error: OSError, place: Instance) -> SystemExit:
    sys.stderr.write(f"posthouse counters: {error.filename or place.counters}: {error.strerror}\n")
    return SystemExit(EX_NOPERM if isinstance(error, PermissionError) else EX_IOERR)


def _meant(rows: Rows, channels: tuple[str, ...]) -> Rows:
    """The rows of the channels that are named."""
    if not channels:
        return rows
    found = {name: row for name, row in rows.items() if any(fnmatchcase(name, pattern.lower()) for pattern in channels)}
    if not found:
        sys.stderr.write(f"posthouse counters: nothing was counted of {' or '.join(channels)}\n")
        raise SystemExit(EX_NOINPUT)
    return found


def _end(faults: tuple[str, ...]) -> None:
    for fault in faults:
        sys.stderr.write(f"posthouse counters: {fault}\n")
    if faults:
        raise SystemExit(EX_DATAERR)
