"""store.conf: settings of the store, `name = value` with `!` comments (message-store.md 4).

Names are the reference's, in any case. A name that does not begin with `store.`, `service.`, `local.` or `native.` gets `store.`
before it.
Times without a unit are hours for the grace period, days for the warning interval; s, m, h, d may follow.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from posthouse.config.source import Line, Source
from posthouse.config.value import BadValueError, boolean, integer, span

QUOTA_MESSAGE = (
    "Subject: Your mailbox is nearly full$$"
    "The mailbox [ID] uses more than [PERCENT] of what it may hold.$$"
    "Octets used: [DISKUSAGE] of [QUOTA]$Messages: [NUMMSG] of [MSGQUOTA]$$"
    "When it is full, mail for it is kept back, and returned to its senders$"
    "after some days. Please delete what you do not need.$"
)
_HEADER_LINE = re.compile(r"[!-9;-~]+:.*|[ \t].+")


@dataclass(frozen=True, slots=True)
class StoreConf:
    """The store's settings. Quotas: octets or messages, -1 unlimited."""

    quotaenforcement: bool = True
    defaultmailboxquota: int = -1
    defaultmessagequota: int = -1
    quotagraceperiod: float = 120 * 3600.0
    """seconds over quota before mail is refused for good; 0 at once, below 0 never"""
    quotaoverdraft: bool = False
    quotawarn: int = 90
    """percent of a limit above which the user is told; with overdraft it is the limit itself"""
    quotanotification: bool = False
    quotaexceededmsg: str = QUOTA_MESSAGE
    """the mail that tells the user: header lines, `$$`, text; `$` ends a line; empty: none is sent"""
    quotaexceededmsginterval: float = 7 * 86400.0
    """seconds between two of them"""
    maxmessagesize: int = 52_428_800
    """octets"""
    autocreate: bool = True
    defaultdomain: str = ""
    """`owner@<this>` is `owner`; lower case"""
    listescape: bool = False
    """folder names with `.` are written as Dovecot's plugin listescape does"""
    defaultpartition: str = "primary"
    """where mailboxes are made: a folder below data/store"""
    partitionof: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """owners whose mailboxes are made elsewhere"""
    dupcheck: bool = True
    """remember relays' delivery ids for 24 hours"""
    header_check: str = "strict"
    """strict or lenient (lmtp.md 5)"""
    hostname: str = ""
    """this store's name in the greeting and in file names; empty: the system's name"""
    nativespool: str = ""
    """folder of the UNIX mailboxes the native service appends to"""
    nativepasswd: str = ""
    """whom it delivers to, in the form of passwd(5); empty: the system's users"""
    nativefiles: str = ""
    """the only folder below which delivery option `file` appends; empty: none"""
    nativequote: str = "mboxrd"
    """how lines that look like the first of a message are quoted: mboxrd, mboxo or none"""
    raw: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """every setting as written, lower-case full name"""


def _size(text: str) -> int:
    """Octets, with k, M or G for powers of 1024."""
    shift = {"k": 10, "m": 20, "g": 30}.get(text[-1:].lower(), 0)
    return integer(text[:-1] if shift else text) << shift


def _notice(text: str) -> str:
    """A mail with `$` for line ends: a header with a Subject, an empty line, a text."""
    head, blank, body = text.partition("$$")
    lines = head.split("$")
    if text and (not blank or not body.strip("$ ")):
        raise BadValueError("needs header lines, $$ and a text")
    if text and not any(line.lower().startswith("subject:") for line in lines):
        raise BadValueError("needs a Subject: line before $$")
    for line in lines if text else ():
        if not _HEADER_LINE.fullmatch(line):
            raise BadValueError(f"{line[:40]!r} is no header line")
    return text


def _word(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in allowed:
            raise BadValueError(f"{text[:40]!r} is not {' or '.join(allowed)}")
        return text.lower()

    return parse


def _partition(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise BadValueError(f"{text[:40]!r} is no name of a partition")
    return text


_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_PARTITION_OF = "store.partitionof."
_SETTINGS: Mapping[str, tuple[str, Callable[[str], Any], float | None]] = {
    "store.quotaenforcement": ("quotaenforcement", boolean, None),
    "store.defaultmailboxquota": ("defaultmailboxquota", _size, -1),
    "store.defaultmessagequota": ("defaultmessagequota", integer, -1),
    "store.quotagraceperiod": ("quotagraceperiod", lambda text: span(text, "h"), None),
    "store.quotaoverdraft": ("quotaoverdraft", boolean, None),
    "local.store.quotaoverdraft": ("quotaoverdraft", boolean, None),
    "store.quotawarn": ("quotawarn", integer, 0),
    "store.quotanotification": ("quotanotification", boolean, None),
    "store.quotaexceededmsg": ("quotaexceededmsg", _notice, None),
    "store.quotaexceededmsginterval": ("quotaexceededmsginterval", lambda text: span(text, "d"), 0),
    "store.maxmessagesize": ("maxmessagesize", _size, 1),
    "store.autocreate": ("autocreate", boolean, None),
    "store.listescape": ("listescape", boolean, None),
    "service.defaultdomain": ("defaultdomain", str.lower, None),
    "store.defaultpartition": ("defaultpartition", _partition, None),
    "store.dupcheck": ("dupcheck", boolean, None),
    "local.hostname": ("hostname", str, None),
    "native.spool": ("nativespool", str, None),
    "native.passwd": ("nativepasswd", str, None),
    "native.files": ("nativefiles", str, None),
    "native.quote": ("nativequote", _word("mboxrd", "mboxo", "none"), None),
    "store.header_check": ("header_check", _word("strict", "lenient"), None),
}
_NO_DIRECTORY = "a store has no directory whose mailUserStatus it could change"
_REFUSED: Mapping[str, str] = {
    "local.store.overquotastatus": _NO_DIRECTORY,
    "store.overquotastatus": _NO_DIRECTORY,
    "store.typequota.enable": "there are no quotas of folders and message types",
}
"""switched on they promise what is not built; why"""


def read_store_conf(path: Path, source: Source) -> StoreConf:
    """The store's settings; a missing file leaves the defaults."""
    raw: dict[str, str] = {}
    fields: dict[str, Any] = {}
    for line in source.lines(path):
        text = line.text.strip()
        if not text or text.startswith("!"):
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.lower()
        if not equals or not name:
            source.faults.error(line.file, line.line, f"{text[:40]!r} is not name = value")
            continue
        if not name.startswith(("store.", "service.", "local.", "native.")):
            name = "store." + name
        raw[name] = value
        _take(name, value, line, source, fields)
    return StoreConf(**fields, raw=MappingProxyType(raw))


def _take(name: str, value: str, line: Line, source: Source, fields: dict[str, Any]) -> None:
    faults = source.faults
    setting = _SETTINGS.get(name)
    try:
        if setting:
            target, parse, least = setting
            parsed = parse(value)
            if least is not None and parsed < least:
                raise BadValueError(f"{value} is below {least:g}")
            fields[target] = parsed
        elif name.startswith(_PARTITION_OF):
            fields.setdefault("partitionof", {})[name.removeprefix(_PARTITION_OF)] = _partition(value)
        elif name not in _REFUSED:
            faults.warn(line.file, line.line, f"unknown setting {name}")
        elif boolean(value):
            faults.error(line.file, line.line, f"{name} must be off: {_REFUSED[name]}")
    except BadValueError as fault:
        faults.error(line.file, line.line, f"{name}: {fault}")
