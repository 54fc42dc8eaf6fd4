"""May this user or group receive now? The four status attributes in their order (directory.md 4).

The first that is not `active` decides: inetDomainStatus, mailDomainStatus, inetUserStatus, mailUserStatus (group: groupstatus
where configured, inetMailGroupStatus). Missing is active; unknown text, and a value where it does not exist, is inactive.
"""

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


def entry_state(domain: Domain, entry: Entry) -> State | Refusal:
    """What the status of the entry and its domain says."""
    user = entry.kind is Kind.USER
    for value, known in (
        (domain.first("inetdomainstatus"), _PLAIN),
        (domain.first("maildomainstatus"), _MAIL | {"overquota"}),
        (entry.first("inetuserstatus" if user else "groupstatus"), _PLAIN),
        (entry.first("mailuserstatus" if user else "inetmailgroupstatus"), _MAIL | {"overquota"} if user else _MAIL),
    ):
        status = value.strip().lower() or "active"
        if status == "active":
            continue
        if status not in known:
            status = "inactive"
        return State.HOLD if status == "hold" else _REFUSALS[entry.kind][status]
    return State.ACTIVE
