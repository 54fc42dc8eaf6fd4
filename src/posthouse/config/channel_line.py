"""The first line of a channel block, taken apart into keywords and their arguments (imta-cnf 3.1)."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from posthouse.config.fault import Faults
from posthouse.config.keywords import GROUP_OF, LEAST, MOST, TAKES, Takes
from posthouse.config.source import Logical
from posthouse.config.value import BadValueError, duration, integer

_WORD = re.compile(r'"([^"]*)("?)|[^ \t"][^ \t]*')
_HOST = re.compile(r"\[?[0-9A-Fa-f.:]+\]?|[\w-]+(?:\.[\w-]+)+")
_PRIORITIES = ("urgent", "normal", "nonurgent")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of the line, its quotes removed."""

    text: str
    quoted: bool
    file: str
    line: int

    @property
    def keyword(self) -> str | None:
        """The keyword it is, or None."""
        folded = self.text.lower()
        return folded if not self.quoted and folded in TAKES else None


@dataclass(frozen=True, slots=True)
class Setting:
    """One keyword with its arguments."""

    keyword: str
    arguments: tuple[str, ...]


def words(line: Logical, faults: Faults) -> list[Word]:
    """The words of all pieces; a quoted word does not run over a line end."""
    found: list[Word] = []
    for piece in line.pieces:
        for match in _WORD.finditer(piece.text):
            quoted = match[1] is not None
            if quoted and not match[2]:
                faults.error(piece.file, piece.line, f"unfinished quoted argument {match[0][:40]}")
            found.append(Word(match[1] if quoted else match[0], quoted, piece.file, piece.line))
    return found


def settings(rest: Iterable[Word], faults: Faults) -> tuple[list[Setting], list[Word]]:
    """Keywords with their arguments in the order written, and the words that are no keywords."""
    waiting = list(rest)[::-1]
    found: list[Setting] = []
    unknown: list[Word] = []
    while waiting:
        word = waiting.pop()
        keyword = word.keyword
        if keyword is None:
            unknown.append(word)
            continue
        arguments = _arguments(keyword, word, waiting, faults)
        if arguments is not None:
            found.append(Setting(keyword, arguments))
    return found, unknown


def _arguments(keyword: str, at: Word, waiting: list[Word], faults: Faults) -> tuple[str, ...] | None:
    """Takes the keyword's arguments off the waiting words; None when they are faulty."""
    match TAKES[keyword]:
        case Takes.NOTHING:
            return ()
        case Takes.NUMBER:
            return _number(keyword, at, waiting, faults)
        case Takes.TEXT:
            return _text(keyword, at, waiting, faults, 1)
        case Takes.ONE_OR_TWO:
            return _text(keyword, at, waiting, faults, 2)
        case Takes.HOSTS:
            found = _while(waiting, 99, lambda word: bool(_HOST.fullmatch(word.text)))
            return found or _missing(keyword, at, faults)
        case Takes.AGES:
            return _ages(keyword, at, waiting, faults)
        case Takes.DURATIONS:
            return _durations(keyword, at, waiting, faults)


def _missing(keyword: str, at: Word, faults: Faults) -> tuple[str, ...] | None:
    faults.error(at.file, at.line, f"keyword {keyword} lacks its argument")
    return None


def _while(waiting: list[Word], most: int, fits: Callable[[Word], bool]) -> tuple[str, ...]:
    found: list[str] = []
    while waiting and len(found) < most and fits(waiting[-1]):
        found.append(waiting.pop().text)
    return tuple(found)


def _text(keyword: str, at: Word, waiting: list[Word], faults: Faults, most: int) -> tuple[str, ...] | None:
    found = _while(waiting, most, lambda word: word.keyword is None)
    return found or _missing(keyword, at, faults)


def _number(keyword: str, at: Word, waiting: list[Word], faults: Faults) -> tuple[str, ...] | None:
    if not waiting or waiting[-1].keyword:
        return _missing(keyword, at, faults)
    word = waiting.pop()
    try:
        value = integer(word.text)
    except BadValueError as fault:
        faults.error(word.file, word.line, f"keyword {keyword}: {fault}")
        return None
    least, most = LEAST.get(keyword, 0), MOST.get(keyword)
    if value < least or (most is not None and value > most):
        limit = f"{least} to {most}" if most is not None else f"{least} or more"
        faults.error(word.file, word.line, f"keyword {keyword}: {value} is out of range, {limit}")
        return None
    return (str(value),)


def _ages(keyword: str, at: Word, waiting: list[Word], faults: Faults) -> tuple[str, ...] | None:
    found = _while(waiting, 99, lambda word: word.text.isascii() and word.text.lstrip("-").isdigit())
    if not found:
        return _missing(keyword, at, faults)
    ages = [int(text) for text in found]
    if len(ages) > 5 or ages[0] <= 0 or any(second <= first for first, second in pairwise(ages)):
        faults.error(at.file, at.line, f"keyword {keyword} takes one to five increasing positive numbers, not {' '.join(found)}")
        return None
    return found


def _durations(keyword: str, at: Word, waiting: list[Word], faults: Faults) -> tuple[str, ...] | None:
    found = _while(waiting, 8, lambda word: _is_duration(word.text))
    if waiting and (waiting[-1].quoted or (not found and not waiting[-1].keyword)):
        word = waiting.pop()
        faults.error(word.file, word.line, f"keyword {keyword}: {word.text[:40]!r} is not an ISO 8601 duration")
        return None
    return found or _missing(keyword, at, faults)


def _is_duration(text: str) -> bool:
    try:
        duration(text)
    except BadValueError:
        return False
    return True


def resolve(found: Iterable[Setting]) -> dict[str, tuple[str, ...]]:
    """What counts in the end: a later keyword puts out its group, and `notices` the ages of single priorities."""
    result: dict[str, tuple[str, ...]] = {}
    for setting in found:
        out = GROUP_OF.get(setting.keyword, frozenset({setting.keyword}))
        if setting.keyword == "notices":
            out |= {priority + "notices" for priority in _PRIORITIES}
        for keyword in out:
            result.pop(keyword, None)
        result[setting.keyword] = setting.arguments
    return result
