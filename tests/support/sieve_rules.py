"""The scripts of tests/rules/sieve: a script, `=> ` what it does with message.eml, and where Pigeonhole differs, that.

# requires: nothing          instead of everything in require.txt, other lines to stand before the script
if true { fileinto "x"; }
=> fileinto x                "refused": it does not compile
=> Pigeonhole: keep          2.3.19 and 2.4.1; `=> Pigeonhole 2.4: ` for the later one alone
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
    theirs: dict[str, list[str] | None]
    """by version of Dovecot"""


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
        theirs = {"2.3": ours, "2.4": ours}
        for line in lines[first + 1 :]:
            version, _, actions = line.removeprefix("=> Pigeonhole").partition(": ")
            theirs |= dict.fromkeys([version.strip()] if version else theirs, _actions(actions))
        found.append(Case(requires + "\n".join(lines[:first]), ours, theirs))
    return found
