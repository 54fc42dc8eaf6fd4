"""Reads an instance's configuration for a command; a bad one ends the command with 78 and every fault on stderr."""

import sys
from collections.abc import Iterable

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance

BAD_CONFIGURATION = 78


def load_or_exit(instance: Instance) -> Configuration:
    """The configuration.

    Raises:
        SystemExit: 78, after the faults were printed.
    """
    try:
        return load(instance)
    except ConfigurationError as error:
        raise exit_with(error.faults) from None


def exit_with(faults: Iterable[Fault]) -> SystemExit:
    """Print the faults; the exit with 78 to raise."""
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return SystemExit(BAD_CONFIGURATION)
