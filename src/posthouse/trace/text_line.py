"""One record as one line of mail.log_current (logging.md 2 and 3).

    19-Jan-1998 19:16:57.64 l            tcp_local    E 1 adam@sesta.com rfc822;marlowe@siroe.com marlowe@siroe.com

Format 1 standard, 2 empty addresses as `<>`, 3 variable fields with their length in front (`N:text`), 4 XML elements,
5 JSON. Time is local, in hundredths of a second. Control characters are written as backslash, x and two digits, so
that one record is always one line, whatever a client typed.
"""

import re
from datetime import UTC, datetime
from operator import attrgetter

import msgspec

from posthouse.trace.options import CONNECTION_APPLICATION, CONNECTION_SOURCE, CONNECTION_TRANSPORT, LogOptions
from posthouse.trace.record import Action, Record

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONNECTION_ACTIONS = (
    Action.OPENED, Action.CLOSED, Action.REJECTED, Action.UNREACHED, Action.LOGGED_IN, Action.LOGIN_REFUSED
)  # fmt: skip
_json = msgspec.json.Encoder()


_ENQUEUED, _DEQUEUED = Action.ENQUEUED, Action.DEQUEUED
_AT_ENQUEUE = frozenset({"ss", "tr"})
_MARKED = frozenset({"fi", "mi", "us", "ss", "re", "di"})


def _shown(on: LogOptions) -> tuple[str, ...]:
    """The optional fields that are on, in the order in which they stand."""
    fields = {
        "pi": on.process,
        "fi": on.filename,
        "ei": on.envelope_id,
        "mi": on.message_id,
        "us": on.username,
        "ss": bool(on.connection & CONNECTION_SOURCE),
        "ia": on.intermediate,
        "re": on.reason,
        "di": True,
        "tr": bool(on.connection & CONNECTION_TRANSPORT),
        "ap": bool(on.connection & CONNECTION_APPLICATION),
        "qt": on.queue_time,
    }
    return tuple(name for name, shown in fields.items() if shown)


class _Optional:
    """Optional fields: the names they are shown by, their values; `qt`, which is no text, comes last."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        texts = tuple(name for name in fields if name != "qt")
        self.names = tuple("in" if name == "ia" else name for name in texts)
        self.values = attrgetter("ac", *texts)
        self.queue_time = "qt" in fields


class TextLines:
    """Renders records for one log, remembering the local time of the current second.

    Args:
        options: which fields are on.
    """

    def __init__(self, options: LogOptions) -> None:
        shown = _shown(options)
        self._at_enqueue, self._later = _Optional(shown), _Optional(tuple(name for name in shown if name not in _AT_ENQUEUE))
        self._layout = options.format
        self._second = ""
        self._local = ""

    def render(self, record: Record) -> str:
        """The line, with its line end."""
        layout = self._layout
        if layout == 5:
            return _json.encode(record).decode() + "\n"
        when = self._time(record.ts)
        if layout == 4:
            return self._xml(record, when)
        return f"{when} {clean(self._columns(record))}\n"

    def _time(self, stamp: str) -> str:
        if stamp[:19] != self._second:
            self._second = stamp[:19]
            local = datetime.fromisoformat(self._second).replace(tzinfo=UTC).astimezone()
            self._local = f"{local:%d}-{_MONTHS[local.month - 1]}-{local:%Y %H:%M:%S}"
        return f"{self._local}.{stamp[20:22]}"

    def _columns(self, record: Record) -> str:
        if record.ac is not _DEQUEUED and record.ac in _CONNECTION_ACTIONS:  # which compares texts
            rest = " ".join(part for part in (record.tr, record.ap, record.us, record.di) if part)
            return f"{record.sc:<12} {record.dc:<12} {record.ac}{record.mo} {rest}".rstrip()
        out = f"{record.sc:<12} {record.dc:<12} {record.ac}{record.mo} {record.sz} "
        if self._layout == 1:
            fields = self._optional_of(record)
            queued = (f"{record.qt:.2f}",) if fields.queue_time and record.qt >= 0 else ()
            return " ".join((f"{out}{record.so} {record.od} {record.de}", *filter(None, fields.values(record)[1:]), *queued))
        mark = self._variable
        shown = [mark(text) if name in _MARKED else text for name, text in self._optional(record)]
        return " ".join([f"{out}{mark(record.so)} {mark(record.od)} {mark(record.de)}", *shown])

    def _variable(self, text: str) -> str:
        """The field as formats 2 and 3 show it; the length is that of the text with its control characters written out."""
        if self._layout == 2:
            return text or "<>"
        text = clean(text)
        return f"{len(text)}:{text}"

    def _optional_of(self, record: Record) -> _Optional:
        return self._at_enqueue if record.ac is _ENQUEUED else self._later

    def _optional(self, record: Record) -> list[tuple[str, str]]:
        fields = self._optional_of(record)
        found = [pair for pair in zip(fields.names, fields.values(record)[1:], strict=True) if pair[1]]
        if fields.queue_time and record.qt >= 0:
            found.append(("qt", f"{record.qt:.2f}"))
        return found

    def _xml(self, record: Record, when: str) -> str:
        element = "co" if record.ac in _CONNECTION_ACTIONS else "en"
        pairs = [("ts", when), ("sc", record.sc), ("dc", record.dc), ("ac", record.ac + record.mo), ("sz", str(record.sz))]
        pairs += [("so", record.so), ("od", record.od), ("de", record.de), *self._optional(record)]
        return f"<{element} " + " ".join(f"{name}={_quoted(clean(text))}" for name, text in pairs if text) + "/>\n"


def clean(text: str) -> str:
    """The text with control characters written out."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02X}", text) if not text.isprintable() else text


def _quoted(text: str) -> str:
    """An attribute's value in quotes."""
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(sign, entity)
    return f'"{text}"'
