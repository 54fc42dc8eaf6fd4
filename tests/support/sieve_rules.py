"""The scripts of tests/rules/sieve: a script, `=> ` what it does with message.eml, and where Pigeonhole 2.3.19 differs, that.

    # requires: nothing          instead of everything in require.txt, other lines to stand before the script
    if true { fileinto "x"; }
    => fileinto x                "refused": it does not compile
"""

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "rules" / "sieve"
MESSAGE = (FOLDER / "message.eml").read_bytes()
REQUIRE = (FOLDER / "require.txt").read_text(encoding="utf-8").strip() + "\n"


class Case(NamedTuple):
    """One script."""

    script: str
    ours: list[str] | None
    theirs: list[str] | None


def _actions(text: str) -> list[str] | None:
    return None if text == "refused" else sorted(text.split("; "))


def cases(name: str) -> list[Case]:
    """All of one file."""
    found = []
    for block in (FOLDER / name).read_text(encoding="utf-8").split("\n\n"):
        lines = block.strip("\n").split("\n")
        if lines == [""]:
            continue
        first = next(place for place, line in enumerate(lines) if line.startswith("=> "))
        requires = REQUIRE
        if lines[0].startswith("# requires: "):
            requires = lines[0].removeprefix("# requires: ").replace("nothing", "") + "\n"
            lines, first = lines[1:], first - 1
        ours = _actions(lines[first].removeprefix("=> "))
        theirs = _actions(lines[first + 1].removeprefix("=> Pigeonhole: ")) if len(lines) > first + 1 else ours
        found.append(Case(requires + "\n".join(lines[:first]), ours, theirs))
    return found
