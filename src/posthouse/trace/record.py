"""Records of the transaction log (logging.md 3 and 4): an enum of actions and one record type."""

from enum import StrEnum

import msgspec

A_LIST = "a list; the first of it is"
"""how the reason of a list's own record begins"""


class Action(StrEnum):
    """Action codes of logging.md 4."""

    ENQUEUED = "E"
    DEQUEUED = "D"
    DEFERRED = "Q"
    PARTLY = "Z"
    RETURNED = "R"
    DROPPED = "K"
    REFUSED = "J"
    WARNED = "W"
    ABORTED = "V"
    BAD_COMMAND = "B"
    OPENED = "O"
    CLOSED = "C"
    LOGGED_IN = "U"
    LOGIN_REFUSED = "A"
    REJECTED = "X"
    UNREACHED = "Y"
    HELD = "H"

    __hash__ = str.__hash__  # an enum's own is a function of Python


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the log. Field names are the XML attribute names of logging.md 3, so are the JSON keys."""

    ts: str
    """ISO 8601 UTC with milliseconds"""
    ac: Action
    mo: str = ""
    """modifiers behind the action: E, L, S, A, C"""
    sc: str = ""
    """source channel; on dequeue the channel dequeued"""
    dc: str = ""
    """destination channel; `+` or `-` in connection records"""
    sz: int = 0
    """size in blocks of 1024"""
    so: str = ""
    """envelope From"""
    od: str = ""
    """original To, `rfc822;address`"""
    de: str = ""
    """active To"""
    fi: str = ""
    """queue file"""
    ei: str = ""
    """our message id"""
    ri: int = -1
    """recipient id"""
    mi: str = ""
    """Message-ID header"""
    us: str = ""
    """who has logged in, or tried to"""
    ss: str = ""
    """source system"""
    pi: str = ""
    """process id in hex"""
    re: str = ""
    """reason"""
    di: str = ""
    """diagnostic: `dns;host (transport) (banner) smtp;reply`"""
    tr: str = ""
    """transport: TCP|local|port|remote|port"""
    ap: str = ""
    """application"""
    qt: float = -1.0
    """seconds in the queue"""
    ho: str = ""
    """destination host"""
    co: int = 0
    """reply code"""
    en: str = ""
    """enhanced code"""
    tx: str = ""
    """reply text"""
    at: int = -1
    """attempt, from 0"""
    ia: str = ""
    """address that entered alias expansion"""
    ab: str = ""
    """for a notice: the message it is about"""
