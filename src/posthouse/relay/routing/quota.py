"""mailQuota and mailMsgQuota as the XQUOTA value the store is sent (directory.md 9).

    mailQuota    = value *( ";" name "%" value )     value = number[K|M|G] / -1 / -2      units are powers of 1024
    mailMsgQuota = number *( ";" name "%" number )   or -1 / -2

Only the first value is sent, size in octets. -1 is unlimited, -2 the store's own default; a missing or unreadable value is -2,
and a user's missing value is the domain's first.
"""

import re

from posthouse.relay.directory.question import Domain, Entry

_VALUE = re.compile(r"(-1|-2|\d{1,20})([KMG]?)", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def quota_text(domain: Domain, entry: Entry) -> str:
    """`size,number` for this user."""
    size = entry.first("mailquota") or domain.first("mailquota")
    number = entry.first("mailmsgquota") or domain.first("mailmsgquota")
    return f"{_octets(size)},{_octets(number, units=False)}"


def _octets(text: str, *, units: bool = True) -> int:
    found = _VALUE.fullmatch(text.partition(";")[0].strip())
    if not found or (found[2] and (not units or found[1].startswith("-"))):
        return -2
    return int(found[1]) * _UNITS[found[2].lower()]
