"""What `require` may name. `requires` of a language construct is looked up here, so an extension is one line.

regex is accepted only where RE2 is installed: its time is linear in the text, which no backtracking matcher can promise.
"""

from importlib.util import find_spec
from typing import Final

LANGUAGE: Final = frozenset(
    {
        "body", "comparator-i;ascii-casemap", "comparator-i;ascii-numeric", "comparator-i;octet", "copy", "date",
        "encoded-character", "envelope", "environment", "ereject", "fileinto", "ihave", "imap4flags", "index", "mailbox",
        "reject", "relational", "subaddress", "vacation", "vacation-seconds", "variables",
    }
)  # fmt: skip
REGEX: Final = "regex"
LEXICAL: Final = frozenset({"encoded-character", "variables"})
"""they change how the whole script is read, so that `ihave` must neither find nor enable them (RFC 5463 4)"""
HAS_RE2: Final = find_spec("re2") is not None


def is_known(capability: str) -> bool:
    """Whether `require` may name it."""
    return capability in LANGUAGE or (capability == REGEX and HAS_RE2)


def may_be_tried(capability: str) -> bool:
    """Whether `ihave` finds it."""
    return capability not in LEXICAL and is_known(capability)


def why_not(capability: str) -> str:
    """What is wrong with a capability that may not be required."""
    if capability == REGEX:
        return "regex is not available: it needs the package google-re2, whose matching takes linear time"
    return f"unknown extension '{capability}'"
