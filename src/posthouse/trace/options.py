"""Which fields the text log shows: the LOG_ options of option.dat (logging.md 3).

Without an option a field is off in formats 1 to 3 and on in formats 4 and 5, as in the product.
"""

from collections.abc import Callable
from dataclasses import dataclass

_FULL_FORMATS = (4, 5)
CONNECTION_SOURCE = 1
CONNECTION_TRANSPORT = 32
CONNECTION_APPLICATION = 64


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The fields that are on; `connection` is a bit field (LOG_CONNECTION)."""

    format: int = 1
    filename: bool = False
    message_id: bool = False
    envelope_id: bool = False
    username: bool = False
    process: bool = False
    reason: bool = False
    queue_time: bool = False
    intermediate: bool = False
    connection: int = 0

    @classmethod
    def from_options(cls, integer: Callable[[str, int], int]) -> "LogOptions":
        """Read them with a function that gives an option's number or the default, e.g. `OptionFile.integer`."""
        layout = integer("LOG_FORMAT", 1)
        full = int(layout in _FULL_FORMATS)
        return cls(
            format=layout if 1 <= layout <= 5 else 1,
            filename=bool(integer("LOG_FILENAME", full)),
            message_id=bool(integer("LOG_MESSAGE_ID", full)),
            envelope_id=bool(integer("LOG_ENVELOPE_ID", 0)),
            username=bool(integer("LOG_USERNAME", full)),
            process=bool(integer("LOG_PROCESS", full)),
            reason=bool(integer("LOG_REASON", full)),
            queue_time=bool(integer("LOG_QUEUE_TIME", full)),
            intermediate=bool(integer("LOG_INTERMEDIATE", 0)),
            connection=integer("LOG_CONNECTION", 0),
        )
