"""Values as the option files write them: integers `base%digits`, yes and no, spans of time."""

import re

_INTEGER = re.compile(r"(-?)(?:(\d{1,2})%)?([0-9A-Za-z]{1,40})")
_SPAN = re.compile(r"(-?\d{1,12}(?:\.\d{1,6})?)\s*([smhdSMHD]?)")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(
    r"P(?:(\d{1,6})Y)?(?:(\d{1,6})M)?(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?",
    re.IGNORECASE,
)
_SECONDS = (365 * 86400, 30 * 86400, 7 * 86400, 86400, 3600, 60, 1)
_YES = frozenset({"1", "yes", "on", "true"})
_NO = frozenset({"0", "no", "off", "false"})


def names(text: str) -> frozenset[str]:
    """A set of words written with blanks between them."""
    return frozenset(text.split())


class BadValueError(ValueError):
    """The text is not such a value; the message is fit for a fault."""


def integer(text: str) -> int:
    """A whole number: decimal, or digits in a base from 2 to 36 (`16%FF`), a minus sign before it.

    Raises:
        BadValueError: it is none.
    """
    match = _INTEGER.fullmatch(text.strip())
    if not match:
        raise BadValueError(f"{text!r} is not an integer")
    base = int(match[2]) if match[2] else 10
    if not 2 <= base <= 36:
        raise BadValueError(f"{text!r}: base {base} is not between 2 and 36")
    try:
        return int(match[1] + match[3], base)
    except ValueError:
        raise BadValueError(
            f"{text!r} is not an integer" if not match[2] else f"{text!r}: a digit is not in base {base}"
        ) from None


def number(text: str) -> float:
    """A number with or without a fraction, or an integer in a base.

    Raises:
        BadValueError: it is none.
    """
    if re.fullmatch(r"-?(?:\d{1,15}\.\d{0,15}|\.\d{1,15})", text.strip()):
        return float(text)
    try:
        return float(integer(text))
    except BadValueError:
        raise BadValueError(f"{text!r} is not a number") from None


def boolean(text: str) -> bool:
    """Yes or no: 1 yes on true, 0 no off false, any case.

    Raises:
        BadValueError: it is neither.
    """
    word = text.strip().lower()
    if word in _YES or word in _NO:
        return word in _YES
    raise BadValueError(f"{text!r} is neither yes nor no")


def span(text: str, unit: str) -> float:
    """A span of time in seconds: a number, in the given unit (s m h d) unless it names its own.

    Raises:
        BadValueError: it is none.
    """
    match = _SPAN.fullmatch(text.strip())
    if not match:
        raise BadValueError(f"{text!r} is not a span of time")
    return float(match[1]) * _UNITS[match[2].lower() or unit]


def duration(text: str) -> float:
    """An ISO 8601 duration in seconds, letters in any case; a year has 365 days, a month 30 (job-controller-cnf 4).

    Raises:
        BadValueError: it is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()) or text.strip()[-1:] in "Tt":
        raise BadValueError(f"{text!r} is not an ISO 8601 duration")
    return float(sum(int(count) * unit for count, unit in zip(match.groups(), _SECONDS, strict=True) if count))
