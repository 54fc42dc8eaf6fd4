"""Lists for people on stdout: aligned columns, one line for each row however long, so that `grep` and a pipe see whole rows.

Each column is as wide as its longest cell; characters that take two places on a terminal count as two.
"""

import sys
import unicodedata
from collections.abc import Iterable, Sequence


def show(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a head line and the rows; control characters show as `?`."""
    lines = [columns, *[[_printable(cell) for cell in row] for row in rows]]
    widths = [max(_width(line[number]) for line in lines) for number in range(len(columns))]
    for line in lines:
        padded = (cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _printable(cell: str) -> str:
    return cell if cell.isprintable() else "".join(each if each.isprintable() else "?" for each in cell)


def _width(cell: str) -> int:
    if cell.isascii():
        return len(cell)
    wide = sum(unicodedata.east_asian_width(each) in {"W", "F"} for each in cell)
    return len(cell) + wide - sum(unicodedata.combining(each) > 0 for each in cell)
