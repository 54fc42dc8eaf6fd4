"""May this user or group receive now? The four status attributes in their order (directory.md 4).

The first that is not `active` decides: inetDomainStatus, mailDomainStatus, inetUserStatus, mailUserStatus (group: groupstatus
where configured, inetMailGroupStatus). Missing is active; unknown text, and a value where it does not exist, is inactive.
"""

from collections.abc import Set as AbstractSet
from enum import Enum

from posthouse.relay.directory.question import Domain, Entry, Kind
from posthouse.relay.routing.refusal import Refusal


class State(Enum):
    """What the status lets happen."""

    ACTIVE = "active"
    HOLD = "hold"


_PLAIN = {"active", "inactive", "deleted"}
_MAIL = _PLAIN | {"disabled", "removed", "hold"}
_REFUSALS = {
    Kind.USER: {
        "inactive": Refusal.INACTIVE_USER,
        "overquota": Refusal.OVER_QUOTA,
        "disabled": Refusal.DISABLED_USER,
        "deleted": Refusal.DELETED_USER,
        "removed": Refusal.DELETED_USER,
    },
    Kind.GROUP: {
        "inactive": Refusal.INACTIVE_GROUP,
        "overquota": Refusal.OVER_QUOTA,
        "disabled": Refusal.DISABLED_GROUP,
        "deleted": Refusal.DELETED_GROUP,
        "removed": Refusal.DELETED_GROUP,
    },
}


_QUOTA = _MAIL | {"overquota"}
_OF_DOMAIN = (("inetDomainStatus", _PLAIN), ("mailDomainStatus", _QUOTA))
_OF_USER = (("inetUserStatus", _PLAIN), ("mailUserStatus", _QUOTA))
_OF_GROUP = (("groupStatus", _PLAIN), ("inetMailGroupStatus", _MAIL))


def entry_state(domain: Domain, entry: Entry) -> State | Refusal:
    """What the status of the entry and its domain says."""
    _, status, known = deciding_status(domain, entry)
    if status == "active":
        return State.ACTIVE
    if status not in known:
        status = "inactive"
    return State.HOLD if status == "hold" else _REFUSALS[entry.kind][status]


def deciding_status(domain: Domain, entry: Entry) -> tuple[str, str, AbstractSet[str]]:
    """The attribute that decides, its value in lower case, and the values it may have; `active` where none says otherwise."""
    of_entry = _OF_USER if entry.kind is Kind.USER else _OF_GROUP
    for where, attributes in ((domain, _OF_DOMAIN), (entry, of_entry)):
        for name, known in attributes:
            status = where.first(name.lower()).strip().lower()
            if status and status != "active":
                return name, status, known
    return "", "active", _PLAIN
