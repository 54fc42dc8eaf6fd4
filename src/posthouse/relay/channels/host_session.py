"""What a host asks of its sessions, whichever protocol they speak."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from posthouse.relay.channels.lmtp_host import Waiting


class HostSession(Protocol):
    """One kept connection."""

    deadline: float
    """of the event loop's clock: it is to `expire` then"""
    served: int
    """transactions so far"""

    @property
    def usable(self) -> bool:
        """Whether another transaction may begin on it."""
        ...

    @property
    def connected(self) -> bool:
        """Whether it is ready, or was."""
        ...

    @property
    def busy(self) -> bool:
        """Whether a copy is under way."""
        ...

    @property
    def worn_out(self) -> bool:
        """Whether it has lived or served long enough."""
        ...

    def take(self, job: "Waiting") -> bool:
        """Begin a transaction for this copy; False: it was given back at once."""
        ...

    def rest(self) -> None:
        """Nothing to do: wait for the next copy, not for ever."""

    def expire(self) -> None:
        """Its deadline has passed."""

    def leave(self) -> None:
        """End politely, after the transaction under way."""
