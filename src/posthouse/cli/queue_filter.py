"""FILTER of the `posthouse queue` commands: options that say which copies are meant (relay.job_controller.selection).

A time is an ISO 8601 duration (`pt2h`) or a number with `s`, `m`, `h`, `d` or `w` behind it.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from posthouse.cli.moment import span
from posthouse.config.value import BadValueError
from posthouse.relay.job_controller.selection import STATES, Selection

USAGE = 64
_Many = Annotated[tuple[str, ...], Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which copies.

    Args:
        id: message id, or a queue file's name; may be repeated, as all of these.
        channel: where it waits; `*` and `?` are wildcards, here and below.
        host: next system.
        from_: envelope From; `<>` is the null sender.
        to: recipient as it was given, as a group or a forward named him, or the active address.
        state: journal, file, held, or waiting (not held).
        older: waits at least so long, e.g. 2h or 3d.
        newer: waits less than so long.
        status: last reply, code or enhanced code, e.g. 452 or 4.2.*
        all: all copies.
    """

    id: Annotated[tuple[str, ...], Parameter(name="--id", negative=())] = ()
    channel: _Many = ()
    host: _Many = ()
    from_: Annotated[tuple[str, ...], Parameter(name="--from", negative=())] = ()
    to: _Many = ()
    state: _Many = ()
    older: str | None = None
    newer: str | None = None
    status: _Many = ()
    all: Annotated[bool, Parameter(name="--all", negative=())] = False

    def selection(self, command: str, ids: tuple[str, ...] = ()) -> Selection:
        """What is meant.

        Args:
            command: for the message, e.g. `hold`.
            ids: ids given without an option.

        Raises:
            SystemExit: 64, something is no filter.
        """
        named = {"--id": (*self.id, *ids), "--channel": self.channel, "--host": self.host, "--from": self.from_, "--to": self.to}
        for option, texts in (named | {"--status": self.status}).items():
            if "" in texts:  # a variable of a shell that is not set, and "" is the null sender
                raise refuse(command, f"{option} is empty" + ("; the null sender is <>" if option == "--from" else ""))
        for state in self.state:
            if state not in STATES:
                raise refuse(command, f"--state {state}: one of {', '.join(STATES)}")
        return Selection(
            (*self.id, *ids), self.channel, self.host, self.from_, self.to, self.state, self.status,
            _seconds(command, "--older", self.older), _seconds(command, "--newer", self.newer), every=self.all,
        )  # fmt: skip


NO_FILTER = Filter()


def refuse(command: str, text: str) -> SystemExit:
    """Say what is wrong; the exit with 64 to raise."""
    sys.stderr.write(f"posthouse queue {command}: {text}\n")
    return SystemExit(USAGE)


def must_say(selection: Selection, command: str) -> Selection:
    """The selection, if it says something: a command that changes mail does nothing without being told to what.

    Raises:
        SystemExit: 64.
    """
    if selection.is_empty:
        raise refuse(
            command,
            "say which copies: --id ID, --channel NAME, --host NAME, --from ADDRESS, --to ADDRESS, --state STATE, --older TIME, "
            "--newer TIME, --status CODE, or --all\n"
            f"usage: posthouse queue {command} [ID...] [FILTER...] [--dry-run] [--json] [--instance DIR]",
        )
    return selection


def _seconds(command: str, option: str, text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        seconds = span(text)
    except BadValueError:
        raise refuse(command, f"{option} {text}: not a time; write e.g. 90s, 30m, 2h, 3d or pt2h") from None
    if seconds <= 0.0:
        raise refuse(command, f"{option} {text}: must be more than nothing")
    return seconds
