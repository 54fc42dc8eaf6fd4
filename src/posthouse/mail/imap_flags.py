r"""IMAP flags a message is to have in the mailbox: how they travel with a recipient, and what they are in a Maildir.

    XFLAGS=flag[,flag...]      flag = "\" system flag / keyword     at most 500 octets, 30 flags, keywords of 50 characters

System flags are the five a client may set, in any case. A keyword is an IMAP atom (RFC 3501 9); `+`, `,` and `=` in it are
written `+2B` `+2C` `+3D`, so a value needs no quotes and cannot be taken for another parameter. What is neither, or does not
fit, is left out: a flag is never worth a message.
"""

import re
from collections.abc import Iterable
from typing import Final

OCTETS: Final = 500
FLAGS: Final = 30
_LETTERS = {"\\draft": "D", "\\flagged": "F", "\\answered": "R", "\\seen": "S", "\\deleted": "T"}
_KEYWORD = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,50}')
"""of as many characters as Dovecot lets a keyword have"""
_SPECIAL = re.compile(r"[+,=]")
_ENCODED = re.compile(r"\+(2B|2C|3D)")


def flags_value(flags: Iterable[str]) -> str:
    """The flags as a value of XFLAGS, each once; empty when there is nothing to say."""
    found: dict[str, str] = {}
    octets = 0
    for flag in flags:
        key = flag.lower()
        if key in found or not (key in _LETTERS or _KEYWORD.fullmatch(flag)):
            continue
        text = _SPECIAL.sub(lambda match: f"+{ord(match[0]):02X}", flag)
        if len(found) < FLAGS and octets + len(text) < OCTETS:
            found[key] = text
            octets += len(text) + 1
    return ",".join(found.values())


def maildir_flags(value: str) -> tuple[str, tuple[str, ...]]:
    """A value of XFLAGS as a Maildir has it: the letters of its system flags in order, and its keywords."""
    letters: set[str] = set()
    keywords: dict[str, str] = {}
    for text in value.split(",", FLAGS)[:FLAGS]:
        letter = _LETTERS.get(text.lower())
        flag = _ENCODED.sub(lambda match: chr(int(match[1], 16)), text)
        if letter is not None:
            letters.add(letter)
        elif _KEYWORD.fullmatch(flag):
            keywords.setdefault(flag.lower(), flag)
    return "".join(sorted(letters)), tuple(keywords.values())
