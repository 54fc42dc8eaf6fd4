"""Asking the supervisor of an instance from a command."""

import sys

from posthouse.config.instance import Instance
from posthouse.dispatcher import control

EX_NOPERM = 77


def ask_supervisor(instance: Instance, op: str, seconds: float = 10.0) -> control.Answer | None:
    """Its answer; None when nobody answers. A socket of another user ends the command with 77."""
    try:
        answer = control.ask(instance.run / control.SUPERVISOR, {"op": op}, seconds)
    except control.NotRunning:
        return None
    except PermissionError as error:
        raise _denied(error.filename or instance.run) from None
    if control.DENIED in answer:
        raise _denied(instance.run / control.SUPERVISOR)
    return answer


def _denied(where: object) -> SystemExit:
    sys.stderr.write(f"{where}: belongs to another user\n")
    return SystemExit(EX_NOPERM)
