"""Reads an instance's configuration for a command; a bad one ends the command with 78 and every fault on stderr."""

import sys

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError
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
        for fault in error.faults:
            sys.stderr.write(f"{fault}\n")
        raise SystemExit(BAD_CONFIGURATION) from None
