r"""Flags of imap4flags (RFC 5232 2.1, 5): lists of words, each once, compared in any case.

A flag is one of the five system flags that may be set or a keyword; what is neither is passed over, as the RFC has it.
"""

import re
from collections.abc import Iterable

from posthouse.relay.filtering import limits

SYSTEM = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
_SYSTEM = frozenset(flag.lower() for flag in SYSTEM)
_KEYWORD = re.compile(r"[^\x00-\x20\x7f-\U0010ffff(){%*\"\\\]]+\Z")


def words(texts: Iterable[str]) -> tuple[str, ...]:
    """The valid flags of some strings, each once."""
    found: dict[str, str] = {}
    for text in texts:
        for word in text.split():
            key = word.lower()
            if key in _SYSTEM or _KEYWORD.match(word):
                found.setdefault(key, word)
            if len(found) >= limits.FLAGS:
                return tuple(found.values())
    return tuple(found.values())


def merged(flags: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Both."""
    return words((*flags, *more)) if more else flags


def without(flags: tuple[str, ...], less: tuple[str, ...]) -> tuple[str, ...]:
    """The first without the second."""
    gone = {flag.lower() for flag in less}
    return tuple(flag for flag in flags if flag.lower() not in gone)
