"""A user's own Sieve script, and what its evaluation needs to know of him (directory.md 7 and 11).

The values of mailSieveRuleSource are one script: in the order of a leading `# <number>` where they have one, else as they came.
"""

import re
from collections.abc import Sequence

import msgspec

from posthouse.relay.directory.question import Entry

_INDEX = re.compile(r"\s*#\s*(\d{1,9})")
_ADDRESSES = ("mail", "mailalternateaddress", "mailequivalentaddress")


class UserFilter(msgspec.Struct, frozen=True):
    """One user's script."""

    owner: str
    """names the user: `uid`, or `uid@domain` of a hosted domain"""
    mail: str
    """his address"""
    addresses: tuple[str, ...]
    """all of his addresses, lower case"""
    script: str
    joined: bool
    """made of several values, each with its own `require`"""


def user_filter(entry: Entry, hosted_domain: str) -> UserFilter | None:
    """The entry's script; None for an entry without one."""
    values = entry.all("mailsieverulesource")
    if not values:
        return None
    addresses = dict.fromkeys(address.lower() for name in _ADDRESSES for address in entry.all(name) if "@" in address[1:])
    owner = f"{entry.uid}@{hosted_domain}" if hosted_domain else entry.uid
    return UserFilter(owner.lower(), entry.first("mail"), tuple(addresses), joined_script(values), len(values) > 1)


def joined_script(values: Sequence[str]) -> str:
    """The script the values make."""
    return values[0] if len(values) == 1 else "\n".join(sorted(values, key=_index))


def _index(value: str) -> int:
    match = _INDEX.match(value)
    return int(match[1]) if match else 0
