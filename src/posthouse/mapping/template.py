r"""Templates of mapping entries, taken apart once (mappings.md 3).

    $0..$9 saved wildcards      $$ `$ ` literal          $\ $^ $_  lower, upper, unchanged for what follows
    $=   quote for LDAP         ${key} general database  $|table;arg| another table   $]url[  $}domain,attribute{
    $?x? in x percent           $:f $;f input flag set, not set     $[image,routine,arg] site routine
    $C $L $R $E what comes next                          any other letter, `<` and `>`: a flag

    $#file|radix|width|modulus#     sequence number: none is kept, so such an entry always fails

Arguments may hold $0..$9, literals and case codes.
"""

from dataclasses import dataclass
from enum import Enum

from posthouse.mapping.error import SyntaxFault

CONTROLS = "CLRE"


class Case(Enum):
    """What happens to the case of what follows."""

    LOWER = "\\"
    UPPER = "^"
    KEEP = "_"


@dataclass(frozen=True, slots=True)
class Wildcard:
    """$n."""

    number: int


@dataclass(frozen=True, slots=True)
class QuoteLdap:
    """$=."""


@dataclass(frozen=True, slots=True)
class General:
    """${key}."""

    key: "Steps"


@dataclass(frozen=True, slots=True)
class Table:
    """$|table;arg|."""

    name: str
    argument: "Steps"


@dataclass(frozen=True, slots=True)
class Url:
    """$]url[."""

    url: "Steps"


@dataclass(frozen=True, slots=True)
class Domain:
    """$}domain,attribute{."""

    domain: "Steps"
    attribute: "Steps"


@dataclass(frozen=True, slots=True)
class Routine:
    """$[image,routine,arg]; only conn_throttle is built in."""

    image: str
    routine: str
    argument: "Steps"


@dataclass(frozen=True, slots=True)
class Number:
    """$#...#; none is kept."""


@dataclass(frozen=True, slots=True)
class Percent:
    """$?x?."""

    chance: float
    """0 to 1"""


@dataclass(frozen=True, slots=True)
class InputFlag:
    """$:f and $;f."""

    flag: str
    wanted: bool


Step = str | Wildcard | Case | QuoteLdap | General | Table | Url | Domain | Routine | Number | Percent | InputFlag
Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """One compiled template."""

    steps: Steps
    flags: frozenset[str]
    control: str
    """C, L, R, E or empty; E always counts, else the last one written"""
    text: str | None
    """the output when it is always the same"""


class _Reader:
    """Takes a template apart."""

    def __init__(self, text: str, saved: int) -> None:
        self.text = text
        self.saved = saved
        self.at = 0
        self.flags: set[str] = set()
        self.control = ""

    def steps(self, closing: str = "") -> Steps:
        """Steps up to the closing character, which is passed over; inside an argument only simple codes are codes."""
        found: list[Step] = []
        while True:
            char = self.text[self.at : self.at + 1]
            self.at += 1
            if char == closing:
                return tuple(found)
            if not char:
                raise SyntaxFault(f"{closing} is missing in the template")
            step: Step | None = char
            if char == "$":
                step = self._dollar(inside=bool(closing))
            if isinstance(step, str) and found and isinstance(found[-1], str):
                found[-1] += step
            elif step is not None:
                found.append(step)

    def _dollar(self, *, inside: bool) -> Step | None:
        char = self.text[self.at : self.at + 1]
        self.at += 1
        if not char:
            raise SyntaxFault("$ at the end of the template")
        if char in "\\^_":
            return Case(char)
        if char.isascii() and char.isdecimal():
            if int(char) >= self.saved:
                raise SyntaxFault(f"${char}: the pattern saves {self.saved} wildcards, numbered from 0")
            return Wildcard(int(char))
        if not inside:
            if char in "{|]}[":
                return self._call(char)
            if char in "?:;=#":
                return self._condition(char)
            if (char.isascii() and char.isalpha()) or char in "<>":
                self._letter(char.upper())
                return None
        return char

    def _letter(self, letter: str) -> None:
        if letter in CONTROLS:
            self.control = "E" if self.control == "E" else letter
        else:
            self.flags.add(letter)

    def _call(self, char: str) -> Step:
        if char == "{":
            return General(self.steps("}"))
        if char == "]":
            return Url(self.steps("["))
        if char == "|":
            name = self._word(";,", "$|table;argument|")
            return Table(name, self.steps("|"))
        if char == "}":
            return Domain(self.steps(","), self.steps("{"))
        image = self._word(",", "$[image,routine,argument]")
        routine = self._word(",", "$[image,routine,argument]")
        return Routine(image.replace(":", "/").rpartition("/")[2].lower(), routine.lower(), self.steps("]"))

    def _word(self, ends: str, form: str) -> str:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ends:
            self.at += 1
        if self.at == len(self.text):
            raise SyntaxFault(f"expected {form}")
        self.at += 1
        return self.text[start : self.at - 1].strip()

    def _condition(self, char: str) -> Step:
        if char == "=":
            return QuoteLdap()
        if char == "#":
            self._word("#", "$#file|radix|width|modulus#")
            return Number()
        if char == "?":
            number = self._word("?", "$?percent?")
            try:
                return Percent(float(number) / 100)
            except ValueError:
                raise SyntaxFault(f"$?{number}? is no percentage") from None
        flag = self.text[self.at : self.at + 1].upper()
        if not flag:
            raise SyntaxFault(f"${char} without a flag")
        self.at += 1
        return InputFlag(flag, wanted=char == ":")


def compile_template(text: str, saved: int) -> Template:
    """A template for a pattern that saves so many wildcards.

    Raises:
        SyntaxFault: it is no template.
    """
    reader = _Reader(text, saved)
    steps = reader.steps()
    fixed: str | None = None
    if not steps:
        fixed = ""
    elif len(steps) == 1 and isinstance(steps[0], str):
        fixed = steps[0]
    return Template(steps, frozenset(reader.flags), reader.control, fixed)
