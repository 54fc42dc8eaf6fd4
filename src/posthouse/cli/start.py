"""`posthouse start`: run an instance in the foreground.

This process becomes the supervisor (the program is replaced, the pid stays), so that it holds no command line machinery:
see `dispatcher.supervisor` for what it promises. One line `ready` on stdout when every listener accepts.
"""

import os
import signal
import sys

from cyclopts import App

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.dispatcher.command_line import ROOM

app = App(name="start", help="Run an instance until it is stopped; prints `ready`.")


@app.default
def start(*, instance: InstanceOption = None) -> None:
    """Start it.

    Args:
        instance: the instance's folder.
    """
    sys.stdout.flush()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # no file has been read yet; the supervisor hears it from its first line on
    root = str(here(instance).root)
    command = [sys.executable, "-m", "posthouse.dispatcher.supervisor", "--instance", root]
    os.execv(sys.executable, [*command, *[""] * ROOM])  # noqa: S606 - ours
