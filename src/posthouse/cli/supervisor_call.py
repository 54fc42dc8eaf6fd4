"""Asking the supervisor of an instance from a command."""

import sys

from posthouse.config.instance import Instance
from posthouse.dispatcher import control

EX_NOPERM = 77


def ask_supervisor(instance: Instance, op: str, seconds: float = 10.0) -> control.Answer | None:
    """Its answer; None when nobody answers. A socket of another user ends the command with 77."""
    try:
        return control.ask(instance.run / control.SUPERVISOR, {"op": op}, seconds)
    except control.NotRunning:
        return None
    except PermissionError as error:
        sys.stderr.write(f"{error.filename or instance.run}: belongs to another user\n")
        raise SystemExit(EX_NOPERM) from None
