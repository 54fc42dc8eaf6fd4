"""A moment given to a command: Unix seconds, ISO 8601, or as directories write it (20260710120000Z); without a zone it is UTC.

A length of time: 90s, 30m, 2h, 3d, 1w, or ISO 8601 (pt2h).
"""

import re
from datetime import UTC, datetime

from posthouse.config.value import duration

_SHORT = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?)([smhdw])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SECONDS = re.compile(r"-?\d{1,11}(\.\d+)?")
_DIRECTORY = re.compile(r"\d{14}Z")


def moment(text: str) -> float:
    """Unix seconds.

    Raises:
        ValueError: it is none.
    """
    if _SECONDS.fullmatch(text):
        return float(text)
    at = datetime.strptime(text, "%Y%m%d%H%M%S%z") if _DIRECTORY.fullmatch(text) else datetime.fromisoformat(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def span(text: str) -> float:
    """Seconds.

    Raises:
        BadValueError: it is no length of time.
    """
    match = _SHORT.fullmatch(text.lower())
    return float(match[1]) * _UNITS[match[2]] if match else duration(text)
