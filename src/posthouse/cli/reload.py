"""`posthouse reload`: have every process read again what can be read without a restart.

The files are checked first; with a fault nothing is changed anywhere, the faults are printed and the exit code is 78.
Ports, images and limits of dispatcher.cnf need a restart. Exit 69 when the instance is not running.
"""

import sys

from cyclopts import App

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.dispatcher import control

app = App(name="reload", help="Read the configuration again.")
EX_UNAVAILABLE, EX_CONFIG = 69, 78


@app.default
def reload(*, instance: InstanceOption = None) -> None:
    """Reload it.

    Args:
        instance: the instance's folder.
    """
    try:
        answer = control.ask(here(instance).run / control.SUPERVISOR, {"op": "reload"}, 60.0)
    except (control.NotRunning, OSError) as error:
        sys.stderr.write(f"not running: {error}\n")
        raise SystemExit(EX_UNAVAILABLE) from None
    faults = answer.get("faults", [])
    sys.stderr.write("".join(f"{fault}\n" for fault in faults))
    if faults:
        raise SystemExit(EX_CONFIG)
