"""A moment given to a command: Unix seconds, ISO 8601, or as directories write it (20260710120000Z); without a zone it is UTC."""

import re
from datetime import UTC, datetime

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
