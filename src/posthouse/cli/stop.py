"""`posthouse stop`: drain an instance and wait until all of its processes have ended.

Exit 0 when nothing runs any more, also when nothing did; 75 when something still lives after `--seconds`, with the pids.
"""

import contextlib
import os
import signal
import sys
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.supervisor_call import ask_supervisor
from posthouse.cli.waiting_note import told_when_slow
from posthouse.dispatcher import control, lock

app = App(name="stop", help="Drain an instance and wait for its end.")
EX_TEMPFAIL = 75


@app.default
def stop(*, instance: InstanceOption = None, seconds: Annotated[float, Parameter(name="--seconds")] = 120.0) -> None:
    """Stop it.

    Args:
        instance: the instance's folder.
        seconds: how long to wait.
    """
    place = here(instance)
    path = place.data / "lock"
    if not lock.is_held(path):
        sys.stderr.write("not running\n")
        return
    with told_when_slow("the supervisor does not answer, waiting for it (10 seconds)"):
        answer = ask_supervisor(place, "stop")
    if answer is None:
        _signal(place.run / control.PID_FILE, lock.holders(path))
        sys.stderr.write(f"the supervisor does not answer; waiting for the end of all processes ({seconds:.0f} seconds)\n")
    if not lock.wait_until_free(path, seconds):
        sys.stderr.write(f"processes still end: {', '.join(str(pid) for pid in lock.holders(path))}\n")
        raise SystemExit(EX_TEMPFAIL)


def _signal(path: os.PathLike[str], family: list[int]) -> None:
    """Tell a supervisor that does not answer; its pid counts only if that process holds the lock."""
    with contextlib.suppress(OSError, ValueError), open(path, encoding="ascii") as file:  # noqa: PTH123 - any path
        pid = int(file.read())
        if pid in family:
            os.kill(pid, signal.SIGTERM)
