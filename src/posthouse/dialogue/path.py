r"""The path of MAIL FROM and RCPT TO, and the parameters behind it, as octets.

    argument  = "FROM:" [SP] token *( SP parameter )        "TO:" likewise; the words in any case
    token     = "<" *( quoted / octet but ">" and DQUOTE ) ">"  /  1*( quoted / octet but SP "<" ">" and DQUOTE )
    quoted    = DQUOTE *( octet / "\" octet ) DQUOTE

An LMTP server does not judge addresses (LMTP chapter 16.5): where the token does not fit the grammar above it takes
everything up to the last ">" before a blank, or up to the first blank. No token at all is a fault in both, and so is one
with a bracket at one end only: `<jdoe` is half of something; a recipient's quotes must end too, for that is a mailbox's name.

SMTP checks the address in the token (RFC 5321 4.1.2), a little wider than the standard so that real mail passes:

    mailbox   = [ route ":" ] local [ "@" domain ]          route = "@" domain *( "," "@" domain )
    local     = quoted  /  1*( atext or "." or octet above 0x7F )
    domain    = label *( "." label )  /  "[" literal "]"

A local part alone is taken: the relay's configuration completes it. Limits: address 1024 octets, domain 255.
"""

import re
from typing import NamedTuple

MAX_ADDRESS = 1024
MAX_DOMAIN = 255
_OPENING, _CLOSING = b"<>"
# One octet at a time where a repeat is repeated: there is one way only to read a token, so nothing is tried twice. (Possessive
# repeats would be quicker, but Python before 3.11.5 matches them wrongly.)
_QUOTED = rb'"(?:[^"\\]|\\.)*"'
_TOKEN = rb'(<(?:[^">]|' + _QUOTED + rb')*>|(?:[^\s"<>]|' + _QUOTED + rb")+)"
_STRICT = {word: re.compile(rb"(?i:" + word + rb")[ ]?" + _TOKEN + rb"(?:[ ]+(.*))?", re.DOTALL) for word in (b"FROM:", b"TO:")}
_LIBERAL = re.compile(rb"[ ]?(<.*>(?=[ ]|\Z)|[^ ]+)(?:[ ]+(.*))?", re.DOTALL)
_UNENDED = re.compile(rb'(?:[^"]|' + _QUOTED + rb')*"(?:[^"\\]|\\.)*\\?', re.DOTALL)
"""octets whose last quote is not ended"""
_LABEL = rb"[A-Za-z0-9_\x80-\xff](?:[A-Za-z0-9_\x80-\xff-]*[A-Za-z0-9_\x80-\xff])?"
_DOMAIN = rb"(?:" + _LABEL + rb"(?:\." + _LABEL + rb")*|\[[A-Za-z0-9:.-]+\])"
_LOCAL = rb'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|' + rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]+)"
_MAILBOX = re.compile(rb"(?:@" + _DOMAIN + rb"(?:,@" + _DOMAIN + rb")*:)?(" + _LOCAL + rb")(?:@(" + _DOMAIN + rb"))?")


class Path(NamedTuple):
    """A token taken apart."""

    address: bytes
    """without the brackets"""
    raw: bytes
    rest: bytes
    """the parameters, uncut"""


def split_path(argument: bytes, word: bytes, *, liberal: bool) -> Path | None:
    """The path behind `FROM:` or `TO:` and what follows it, or None where there is none.

    Args:
        argument: what followed the verb.
        word: `FROM:` or `TO:`.
        liberal: take tokens that break the grammar too.
    """
    match = _STRICT[word].fullmatch(argument)
    if match is None:
        if not liberal or argument[: len(word)].upper() != word:
            return None
        match = _LIBERAL.fullmatch(argument, len(word))
        if match is None or (word == b"TO:" and _UNENDED.fullmatch(match[1]) is not None):
            return None
    raw, rest = match.groups()
    bracketed = raw[0] == _OPENING
    if bracketed is not (raw[-1] == _CLOSING):
        return None
    if not bracketed:
        return Path(raw, raw, rest or b"")
    return Path(raw[1:-1], raw, rest or b"")


def is_mailbox(address: bytes) -> bool:
    """Whether the octets are an address for SMTP. The null sender is not."""
    match = _MAILBOX.fullmatch(address) if len(address) <= MAX_ADDRESS else None
    if match is None:
        return False
    return len(match[2] or b"") <= MAX_DOMAIN and match[1] != b'""'


def is_utf8(octets: bytes) -> bool:
    """Whether the octets are well-formed UTF-8."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
