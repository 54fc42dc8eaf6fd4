"""Regular expressions by RE2, whose time is linear in the text whatever the expression; without it there are none.

POSIX extended syntax, the leftmost and longest match counts, as the Sieve regex draft wants it. RE2's memory is bounded too:
an expression that would need more is refused when the script is compiled. How long a search takes for each character depends
on the expression's size, which is told.
"""

from collections.abc import Callable
from typing import NamedTuple

_MEMORY = 1 << 20
_LEAST = 100
_USUAL = 400
"""larger ones may have to be searched for in steps that look at every instruction"""


class Expression(NamedTuple):
    """A compiled one."""

    search: Callable[[str], tuple[str, ...] | None]
    """the groups of a match, the whole first, or None"""
    size: int
    """in instructions"""

    @property
    def cost(self) -> int:
        """What a search is charged with, for each group of octets."""
        return 10 + max(0, self.size - _USUAL) // 4


def compile_expression(key: str, *, any_case: bool) -> Expression:
    """Compile one.

    Raises:
        ValueError: it is no regular expression, or too large a one.
    """
    import re2

    options = re2.Options()
    options.posix_syntax = True
    options.longest_match = True
    options.perl_classes = True
    options.word_boundary = True
    options.case_sensitive = not any_case
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(key, options)
    except re2.error as bad:
        raise ValueError(_reason(bad)) from None

    def search(text: str) -> tuple[str, ...] | None:
        found = compiled.search(text)
        return None if found is None else (found[0], *(group or "" for group in found.groups()))

    return Expression(search, max(_LEAST, compiled.programsize))


def _reason(bad: Exception) -> str:
    """What RE2 says, which may be octets."""
    said = bad.args[0] if bad.args else bad
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
