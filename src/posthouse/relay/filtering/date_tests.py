"""The tests `date` and `currentdate` (RFC 5260 4, 5).

    date [:zone "+0100" / :originalzone] [:index n [:last]] ... FIELD PART KEYS     currentdate [:zone "+0100"] ... PART KEYS

A field's date is what stands behind its last semicolon (`Received:`), else all of it. Without :zone dates are in our own zone,
which is passed in. A field that is missing or no date is false, and so is a part
that there is none of; of a field that is there more than once the first counts, or that of :index.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_tz

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.arguments import INDEX, MATCH, Signature, TagUse, Taken, Want
from posthouse.relay.filtering.context import Context, Test, TestBuilder
from posthouse.relay.filtering.core_tests import selected
from posthouse.relay.filtering.matcher import comparison, matcher
from posthouse.relay.filtering.run import Run, Template, value
from posthouse.relay.filtering.syntax import Node

_ZONE = re.compile(r"([+-])(\d\d)(\d\d)\Z", re.ASCII)
_READING = 100
"""units of work that a date is"""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_JULIAN = 678_576
"""from Python's day numbers to modified Julian days"""
_LONGEST = 1000
_COMMENT = re.compile(r"\([^()]*\)")
_AROUND = re.compile(r"[ \t]*(:)[ \t]*|[ \t]+(?=,)")
"""blanks may stand around colons and before commas (RFC 5322 4.3)"""


def _zone(text: str) -> timezone | None:
    match = _ZONE.match(text)
    if match is None or int(match[3]) > 59 or int(match[2]) > 23:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


def _written(at: datetime) -> str:
    """The zone as +hhmm."""
    offset = at.utcoffset() or timedelta()
    minutes = int(offset.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"


def _iso(at: datetime) -> str:
    zone = _written(at)
    return f"{at.year:04d}-{at:%m-%dT%H:%M:%S}{'Z' if zone == '+0000' else zone[:3] + ':' + zone[3:]}"


def _std11(at: datetime) -> str:
    return f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at.year:04d} {at:%H:%M:%S} {_written(at)}"


PARTS: dict[str, Callable[[datetime], str]] = {
    "year": lambda at: f"{at.year:04d}",
    "month": lambda at: f"{at.month:02d}",
    "day": lambda at: f"{at.day:02d}",
    "date": lambda at: f"{at.year:04d}-{at.month:02d}-{at.day:02d}",
    "julian": lambda at: str(at.toordinal() - _JULIAN),
    "hour": lambda at: f"{at.hour:02d}",
    "minute": lambda at: f"{at.minute:02d}",
    "second": lambda at: f"{at.second:02d}",
    "time": lambda at: f"{at:%H:%M:%S}",
    "iso8601": _iso,
    "std11": _std11,
    "zone": _written,
    "weekday": lambda at: str((at.weekday() + 1) % 7),
}


def field_date(text: str) -> datetime | None:
    """The date in a field's value, in the zone it was written in."""
    written = _COMMENT.sub(" ", (text.rpartition(";")[2] or text)[:_LONGEST]).strip()[:200]
    parsed = parsedate_tz(_AROUND.sub(r"\1", written))
    if parsed is None:
        return None
    try:
        year, month, day, hour, minute, second = parsed[:6]
        return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone(timedelta(seconds=parsed[9] or 0)))
    except (ValueError, OverflowError):
        return None


def _zone_of(context: Context, taken: Taken) -> str | Template | None:
    """What :zone says; None without it."""
    strings = taken.text("zone")
    if strings is None:
        return None
    text = context.one(strings)
    if isinstance(text, str) and _zone(text) is None:
        context.fault(strings.line, f"{text[:20]!r} is no zone such as +0100")
    return text


def _in_zone(run: Run, at: datetime, zone: str | Template | None) -> datetime | None:
    found = timezone(timedelta(minutes=run.around.zone)) if zone is None else _zone(value(zone, run))
    try:
        return at.astimezone(found) if found is not None else None
    except (ValueError, OverflowError):
        return None


def _shown(run: Run, at: datetime | None, part: str | Template) -> list[str]:
    make = PARTS.get(value(part, run).lower())
    return [] if make is None or at is None else [make(at)]


def date(context: Context, node: Node, taken: Taken) -> Test:
    """`date`."""
    name, part = context.one(taken.strings(0)), context.one(taken.strings(1))
    zone, original = _zone_of(context, taken), "zone" in taken.tags and taken.tags["zone"].name == "originalzone"
    select = selected(context, taken, node.line)
    match = matcher(context, comparison(context, taken, node), context.texts(taken.strings(2)))

    def test(run: Run) -> bool:
        wanted = value(name, run).lower()
        run.spend(run.message.seeking((wanted,)), node.line)
        raws = run.message.raws(wanted)
        raws = select(raws) if select else raws
        found: list[str] = []
        for raw in raws[:1]:
            run.spend(_READING + len(raw) // limits.GRAIN, node.line)
            at = field_date(raw)
            if at is not None:
                found += _shown(run, at if original else _in_zone(run, at, zone), part)
        return match(run, found)

    return test


def currentdate(context: Context, node: Node, taken: Taken) -> Test:
    """`currentdate`."""
    part, zone = context.one(taken.strings(0)), _zone_of(context, taken)
    match = matcher(context, comparison(context, taken, node), context.texts(taken.strings(1)))

    def test(run: Run) -> bool:
        now = datetime.fromtimestamp(int(run.around.now), UTC)
        return match(run, _shown(run, _in_zone(run, now, zone), part))

    return test


_ZONE_TAG = {"zone": TagUse("zone", Want.STRING)}
TESTS: dict[str, tuple[Signature, TestBuilder]] = {
    "currentdate": (Signature((Want.STRING, Want.STRINGS), {**MATCH, **_ZONE_TAG}, requires=("date",)), currentdate),
    "date": (
        Signature(
            (Want.STRING, Want.STRING, Want.STRINGS),
            {**MATCH, **_ZONE_TAG, **INDEX, "originalzone": TagUse("zone")},
            requires=("date",),
        ),
        date,
    ),
}
