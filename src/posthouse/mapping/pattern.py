"""Patterns of mapping entries: compiled once, matched against whole strings, case ignored (mappings.md 2).

    %  $A% $[a-z]%     one character                 $_  the next wildcard takes as little as possible
    *  $A* $[a-z]*     any number, as many as can    $@ $^  do not / do save the next wildcard
    $(10.0.0.0/8) ${2001:db8::/32} $<10.0.0.0/24>    an address inside the block, as far as address characters go
    $n*                what saved wildcard n matched

Time: a pattern of m parts on n characters takes at most m*n steps, because a part that failed at a place is not tried there
again. With back references that does not hold, there 20,000 steps are the limit and a string that needs more does not match.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from posthouse.mapping.block import Block, block4, block6
from posthouse.mapping.error import SyntaxFault

MAX_STEPS = 20_000
"""of a pattern with back references"""
_CLASSES = {"A": "a-z", "B": "01", "D": "0-9", "H": "0-9a-f", "X": "0-9a-f", "O": "0-7", "S": "a-z0-9_$", "T": " \t"}
_ONES = "%*"
_STAR = "\0"


@dataclass(frozen=True, slots=True)
class Literal:
    """Exactly this text, folded."""

    text: str


@dataclass(frozen=True, slots=True)
class One:
    """One character of a set; None is any."""

    chars: re.Pattern[str] | None
    saved: bool


@dataclass(frozen=True, slots=True)
class Many:
    """Any number of characters of a set; None is any."""

    chars: re.Pattern[str] | None
    saved: bool
    lazy: bool


@dataclass(frozen=True, slots=True)
class Back:
    """The text of a saved wildcard again."""

    number: int


Part = Literal | One | Many | Back | Block


def fold(text: str) -> str:
    """Lower case, of the same length as the text."""
    low = text.lower()
    if len(low) == len(text):
        return low
    return "".join(char if len(char.lower()) != 1 else char.lower() for char in text)


class _Reader:
    """Takes a pattern apart."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.parts: list[Part] = []
        self.lazy = False
        self.saved = True
        self.count = 0

    def read(self) -> tuple[Part, ...]:
        plain: list[str] = []
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            literal = char
            if char == "$":
                found = self._dollar()
                if found is None:
                    continue
                literal = found
            elif char in _ONES:
                self._wild(char, None)
                continue
            if self.parts and isinstance(self.parts[-1], Literal) and plain:
                plain.append(fold(literal))
                self.parts[-1] = Literal("".join(plain))
            else:
                plain = [fold(literal)]
                self.parts.append(Literal(plain[0]))
        if self.lazy or not self.saved:
            raise SyntaxFault("$_ or $@ without a wildcard after it")
        return tuple(self.parts)

    def _dollar(self) -> str | None:
        """What follows a dollar: a literal character, or None when it was a wildcard or a modifier."""
        char = self.text[self.at : self.at + 1]
        self.at += 1
        upper = char.upper()
        if not char:
            raise SyntaxFault("$ at the end of the pattern")
        if char == "_":
            self.lazy = True
        elif char in "@^":
            self.saved = char == "^"
        elif upper in _CLASSES and self.text[self.at : self.at + 1] in {"%", "*"}:
            self.at += 1
            self._wild(self.text[self.at - 1], f"[{_CLASSES[upper]}]")
        elif char.isdecimal() and char.isascii():
            self._back(int(char))
        elif char == "[":
            self._set()
        elif char in "({<":
            self._block(char)
        else:
            return char
        return None

    def _wild(self, kind: str, chars: str | None) -> None:
        compiled = re.compile(chars + "*" if kind == "*" else chars) if chars else None
        self.parts.append(Many(compiled, self.saved, self.lazy) if kind == "*" else One(compiled, self.saved))
        self._counted()

    def _counted(self) -> None:
        self.count += self.saved
        self.lazy, self.saved = False, True

    def _back(self, number: int) -> None:
        if self.text[self.at : self.at + 1] != "*":
            raise SyntaxFault(f"${number} in a pattern must be followed by *")
        if number >= self.count:
            raise SyntaxFault(f"${number}* refers to a wildcard that is not saved before it")
        self.at += 1
        self.parts.append(Back(number))

    def _set(self) -> None:
        end = self.text.find("]", self.at + 1)
        kind = self.text[end + 1 : end + 2]
        if end < 0 or kind not in {"%", "*"}:
            raise SyntaxFault("$[ without ]% or ]*")
        inside = fold(self.text[self.at : end].replace("$ ", " ").replace("$\t", "\t"))
        ranges = re.findall(r"(?s).-.|.", inside)
        if any(len(item) == 3 and item[0] > item[2] for item in ranges):
            raise SyntaxFault(f"$[{inside}] has a range that runs backwards")
        escaped = "".join("-".join(map(re.escape, item[::2] if len(item) == 3 else item)) for item in ranges)
        self.at = end + 2
        self._wild(kind, f"[{escaped}]")

    def _block(self, opening: str) -> None:
        closing = {"(": ")", "{": "}", "<": ">"}[opening]
        end = self.text.find(closing, self.at)
        if end < 0:
            raise SyntaxFault(f"${opening} without {closing}")
        inside = self.text[self.at : end]
        self.at = end + 1
        if opening == "{":
            self.parts.append(block6(inside, self.saved))
        else:
            self.parts.append(block4(inside, self.saved, ignored=opening == "<"))
        self._counted()


class Pattern:
    """One compiled pattern.

    Args:
        text: as in the mappings file.

    Raises:
        SyntaxFault: it is no pattern.
    """

    __slots__ = ("_anchors", "_backs", "_parts", "_prefix", "_saves", "match", "needle", "saved")

    def __init__(self, text: str) -> None:
        reader = _Reader(text)
        parts = reader.read()
        self._parts = parts
        self.saved = reader.count
        """how many wildcards it saves"""
        self._backs = any(isinstance(part, Back) for part in parts)
        self._prefix = parts[0].text if parts and isinstance(parts[0], Literal) else ""
        self._anchors, self._saves = _anchors(parts)
        literals = (part.text for part in parts if isinstance(part, Literal))
        self.needle = max(reversed(list(literals)), key=len, default="")
        """text that every string has that can match, folded; of the longest the last: many entries begin alike"""
        self.match = self._match_anchors if self._anchors else self._match_parts
        """match(text, folded) -> the saved texts, or None"""

    def admits(self, fields: Sequence[str | None]) -> bool:
        """Whether a text of these fields with bars between them may match; None is a field not known yet, and none has a bar.

        A star cannot stand for a bar when all bars of the text are in the pattern.
        """
        wanted = _STAR.join(self._anchors).split("|")
        if not self._anchors or len(wanted) < len(fields):
            return True
        if len(wanted) > len(fields):
            return False
        return all(
            field is None or re.fullmatch(".*".join(map(re.escape, want.split(_STAR))), fold(field), re.DOTALL) is not None
            for want, field in zip(wanted, fields, strict=True)
        )

    def _match_anchors(self, text: str, low: str) -> list[str] | None:
        """Literals with plain stars between them: placing every literal as far right as it goes makes the left stars longest."""
        anchors = self._anchors
        first, last = anchors[0], anchors[-1]
        if self.needle not in low or not low.startswith(first):
            return None
        if len(anchors) == 1:
            return [] if len(low) == len(first) else None
        if not low.endswith(last):
            return None
        start, end = len(first), len(low) - len(last)
        if end < start:
            return None
        found: list[str] = []
        for anchor in anchors[-2:0:-1]:
            at = low.rfind(anchor, start, end)
            if at < 0:
                return None
            found.append(text[at + len(anchor) : end])
            end = at
        found.append(text[start:end])
        found.reverse()
        saves = self._saves
        return found if saves is None else [found[number] for number in saves]

    def _match_parts(self, text: str, low: str) -> list[str] | None:
        if self.needle not in low or not low.startswith(self._prefix):
            return None
        return _Search(self._parts, text, low, self._backs).run()


def _anchors(parts: tuple[Part, ...]) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """The literals between stars, and which stars are saved (None: all); no literals when the pattern has anything else."""
    anchors = [""]
    saves: list[int] = []
    for part in parts:
        if isinstance(part, Literal):
            anchors[-1] += part.text
        elif isinstance(part, Many) and part.chars is None and not part.lazy:
            if part.saved:
                saves.append(len(anchors) - 1)
            anchors.append("")
        else:
            return (), None
    return tuple(anchors), None if len(saves) == len(anchors) - 1 else tuple(saves)


class _Search:
    """One match in progress: parts in order, a stack of the stars that can still give way."""

    __slots__ = ("backs", "ends", "low", "parts", "runs", "seen", "stack", "starts", "steps", "text")

    def __init__(self, parts: tuple[Part, ...], text: str, low: str, backs: bool) -> None:
        self.parts, self.text, self.low, self.backs = parts, text, low, backs
        self.starts = [0] * len(parts)
        self.ends = [0] * len(parts)
        self.stack: list[tuple[int, int, int]] = []
        """part number of a star, lowest and highest end still to be tried"""
        self.seen: dict[tuple[int, int], int] = {}
        """(star, end of the run it stood in) to the leftmost place from which it failed"""
        self.runs: dict[int, tuple[int, int]] = {}
        """the run each star of a set last stood in"""
        self.steps = 0

    def run(self) -> list[str] | None:
        at = 0
        number = 0
        while True:
            if number == len(self.parts):
                end = at if at == len(self.text) else -1
            else:
                self.starts[number] = at
                end = self._fit(self.parts[number], number, at)
            while end < 0:
                if not self.stack:
                    return None
                number, low, high = self.stack.pop()
                end = self._next(number, low, high)
            if number == len(self.parts):
                return self._saved()
            self.ends[number] = end
            at = end
            number += 1
            self.steps += 1
            if self.backs and self.steps > MAX_STEPS:
                return None

    def _fit(self, part: Part, number: int, at: int) -> int:
        """Where the part ends when it begins here, -1 when it does not fit."""
        low = self.low
        if isinstance(part, Literal):
            return at + len(part.text) if low.startswith(part.text, at) else -1
        if isinstance(part, Many):
            return self._star(part, number, at)
        if isinstance(part, One):
            if at < len(low) and (part.chars is None or part.chars.match(low, at)):
                return at + 1
            return -1
        if isinstance(part, Back):
            text = self._saved_one(part.number)
            return at + len(text) if low.startswith(text, at) else -1
        return part.end(low, at)

    def _star(self, part: Many, number: int, at: int) -> int:
        high = len(self.low) if part.chars is None else self._run_end(part.chars, number, at)
        if number == len(self.parts) - 1:
            return high if high == len(self.low) else -1
        low, top = at, high
        if not self.backs:
            failed = self.seen.get((number, high), high + 1)
            top = min(high, failed - 1)
            self.seen[number, high] = min(failed, at)
        return self._next(number, low, top)

    def _run_end(self, chars: re.Pattern[str], number: int, at: int) -> int:
        """Where the characters of the set end; the same for every place in one run, so it is looked for once."""
        start, end = self.runs.get(number, (0, -1))
        if not start <= at <= end:
            match = chars.match(self.low, at)
            end = match.end() if match else at
            self.runs[number] = (at, end)
        return end

    def _next(self, number: int, low: int, high: int) -> int:
        """The best end from low to high at which the next part can begin; the rest goes back on the stack."""
        if low > high:
            return -1
        part = self.parts[number]
        follower = self.parts[number + 1]
        text = follower.text if isinstance(follower, Literal) else ""
        if isinstance(part, Many) and part.lazy:
            end = self.low.find(text, low, high + len(text))
            if end >= 0 and end < high:
                self.stack.append((number, end + 1, high))
            return end
        end = self.low.rfind(text, low, high + len(text))
        if end > low:
            self.stack.append((number, low, end - 1))
        return end

    def _saved(self) -> list[str]:
        return [self.text[self.starts[number] : self.ends[number]] for number, part in enumerate(self.parts) if _is_saved(part)]

    def _saved_one(self, wanted: int) -> str:
        """What a saved wildcard matched, folded."""
        numbers = [number for number, part in enumerate(self.parts) if _is_saved(part)]
        number = numbers[wanted]
        return self.low[self.starts[number] : self.ends[number]]


def _is_saved(part: Part) -> bool:
    return isinstance(part, One | Many | Block) and part.saved
