r"""The words of notices, as a site may write them (smtp-relay.md 6): files beside imta.cnf, each of which may be missing.

    return_prefix.txt   return_suffix.txt                         around every text
    return_failed.txt   return_bounced.txt   return_timedout.txt   return_delayed.txt (or return_deferred.txt)
    return_delivered.txt   return_relayed.txt   return_expanded.txt   what is said of each type
    return_option.opt   SUBJECT=text for every type, SUBJECT_FAILED=text ... for one

In a text: %R the recipients with reasons and replies, %H the header fields the sender knows the message by, %D the time now, %C
units the message has waited, %L units left, %F units in all, %U the unit (Hour), %u (hour), %S and %s an `S` or `s` unless the
last number was 1, %% a percent. Anything else behind a % is a fault. UTF-8. Lines `Content-type:` and `Content-language:` atop
return_prefix.txt, closed by an empty line, are header fields: the language is taken of them, the character set is found.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from posthouse.config.source import Source

TYPES = ("failed", "bounced", "timedout", "delayed", "delivered", "relayed", "expanded")
_OTHER_NAMES = {"delayed": "return_deferred.txt"}
_SEQUENCE = re.compile(r"%(.?)", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LANGUAGES = re.compile(r"[A-Za-z0-9-]+(?:[ \t]*,[ \t]*[A-Za-z0-9-]+)*")
_KNOWN = frozenset("RHDCLFUuSs%")
_FIELD = re.compile(r"(content-[a-z-]+):[ \t]*(.*)", re.IGNORECASE)
_OPTION = re.compile(r"\s*(SUBJECT(?:_[A-Z]+)?)\s*=\s*(.*?)\s*", re.IGNORECASE)
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ReturnTexts:
    """What the site has written; what it has not is our own."""

    prefix: str | None = None
    suffix: str = ""
    types: Mapping[str, str] = field(default_factory=lambda: _NONE)
    subjects: Mapping[str, str] = field(default_factory=lambda: _NONE)
    """by type; the empty key is for all"""
    language: str = "EN-US"


OUR_TEXTS = ReturnTexts()
"""nothing is written by the site"""


def read_return_texts(folder: Path, source: Source) -> ReturnTexts:
    """The files of a folder."""
    path = folder / "return_prefix.txt"
    prefix, language = _head(_text(path, source))
    if not _LANGUAGES.fullmatch(language):
        source.faults.error(source.instance.name_of(path), 0, f"Content-language: {language!r} is no language")
    types = {}
    for kind in TYPES:
        text = _text(folder / f"return_{kind}.txt", source)
        if text is None and kind in _OTHER_NAMES:
            text = _text(folder / _OTHER_NAMES[kind], source)
        if text is not None:
            types[kind] = text
    return ReturnTexts(
        prefix, _text(folder / "return_suffix.txt", source) or "", MappingProxyType(types),
        _subjects(folder / "return_option.opt", source), language,
    )  # fmt: skip


def _text(path: Path, source: Source) -> str | None:
    """The file's text with LF line ends; None when there is none, or a fault."""
    source.note(path)
    if not path.exists():
        return None
    name = source.instance.name_of(path)
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError) as error:
        source.faults.error(name, 0, f"cannot be read as UTF-8 text: {error}")
        return None
    if control := _CONTROL.search(text):  # stores and other systems refuse a notice with a NUL or a CR alone
        line = text.count("\n", 0, control.start()) + 1
        source.faults.error(name, line, f"contains the control character {ord(control[0]):#04x}")
    for match in _SEQUENCE.finditer(text):
        if match[1] not in _KNOWN:
            line = text.count("\n", 0, match.start()) + 1
            source.faults.error(name, line, f"unknown sequence %{match[1].strip()}; write %% for a percent")
    return text


def _head(prefix: str | None) -> tuple[str | None, str]:
    """The prefix without the header fields it may begin with, and the language they name."""
    language = "EN-US"
    lines = (prefix or "").split("\n")
    count = 0
    while count < len(lines) and (match := _FIELD.fullmatch(lines[count])):
        if match[1].lower() == "content-language":
            language = match[2].strip()
        count += 1
    if prefix is None or not count or (count < len(lines) and lines[count]):
        return prefix, language if count else "EN-US"
    return "\n".join(lines[count + 1 :]), language


def _subjects(path: Path, source: Source) -> Mapping[str, str]:
    found = {}
    for line in source.lines(path, includes=False):
        if line.blank or line.text.startswith("!"):
            continue
        match = _OPTION.fullmatch(line.text)
        kind = match[1].upper().removeprefix("SUBJECT").removeprefix("_").lower() if match else ""
        if not match or (kind and kind not in TYPES) or not match[2]:
            source.faults.error(line.file, line.line, f"{line.text.strip()[:60]!r} is not SUBJECT=text or SUBJECT_<type>=text")
        else:
            found[kind] = match[2]
    return MappingProxyType(found)
