"""DEBUG: a bit mask of what is told in the process log (dispatcher-cnf.md 3); -1 tells everything.

Bits without a member here are accepted and say nothing. What operators must know is logged whatever the mask is, a
connection that was refused (bit 24) too.
"""

import logging
from enum import IntEnum


class Bit(IntEnum):
    """What a bit of DEBUG switches on."""

    CONFIG = 2
    SERVICE = 4
    PROCESS = 6
    WORKER = 12
    HANDOFF = 14
    STATISTICS = 20


class DebugLog:
    """Tells what the mask asks for."""

    def __init__(self, mask: int, log: logging.Logger) -> None:
        self._mask = mask
        self._log = log

    def wants(self, bit: Bit) -> bool:
        """Whether the mask has the bit."""
        return bool(self._mask >> bit & 1)

    def say(self, bit: Bit, text: str, *values: object) -> None:
        """Log the text if the mask has the bit."""
        if self._mask >> bit & 1:
            self._log.info(text, *values)
