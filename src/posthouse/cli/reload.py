"""`posthouse reload`: have every process read again what can be read without a restart.

The files are checked first; with a fault nothing is changed anywhere, the faults are printed and the exit code is 78.
Warnings are printed as `posthouse check` prints them, and change nothing.
What has changed in dispatcher.cnf and imta_tailor needs a restart, and is named. Exit 69 when the instance is not running, 75
when nobody could be told: it starts, stops, or a part of it hangs.
"""

import sys

from cyclopts import App

from posthouse.cli.check import CHECKS
from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.supervisor_call import ask_supervisor
from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError, Fault, Severity
from posthouse.dispatcher import lock

app = App(name="reload", help="Read the configuration again.")
EX_UNAVAILABLE, EX_TEMPFAIL, EX_CONFIG = 69, 75, 78


@app.default
def reload(*, instance: InstanceOption = None) -> None:
    """Reload it.

    Args:
        instance: the instance's folder.
    """
    place = here(instance)
    warnings: tuple[Fault, ...] = ()
    try:
        warnings = load(place, *CHECKS).warnings
        answer = ask_supervisor(place, "reload", 60.0)
    except ConfigurationError as error:
        warnings = tuple(fault for fault in error.faults if fault.severity is Severity.WARNING)
        answer = {"faults": [fault for fault in error.faults if fault.severity is Severity.ERROR]}
    sys.stderr.write("".join(f"{warning}\n" for warning in warnings))
    again = None if answer is None else answer.get("again")
    if answer is None and lock.is_held(place.data / "lock"):
        again = "it does not answer"
    if again is not None:
        sys.stderr.write(f"not reloaded, try again: {again}\n")
        raise SystemExit(EX_TEMPFAIL)
    if answer is None:
        sys.stderr.write("not running\n")
        raise SystemExit(EX_UNAVAILABLE)
    faults = answer.get("faults", [])
    sys.stderr.write("".join(f"{line}\n" for line in (*faults, *answer.get("notes", ()))))
    if faults:
        raise SystemExit(EX_CONFIG)
