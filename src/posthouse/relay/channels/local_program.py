"""What a channel worker asks of the program that delivers into this machine's store: the seam below `posthouse.ims_ms`.

A pool without such a channel has a worker without one, and the store is not opened.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from posthouse.config.configuration import Configuration
from posthouse.dispatcher.trouble import Wrong
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.protocol import Lease


class LocalProgram(Protocol):
    """Deliveries of one worker into the local store."""

    def put(self, lease: Lease) -> None:
        """Take a copy; its lease is given back when every recipient has a result."""
        ...

    def wrong(self) -> Wrong:
        """What keeps mail from being delivered now, in words, by what it is; asked once a second."""
        ...

    async def reload(self, configuration: Configuration) -> None:
        """Deliver as the files say from now on."""

    async def stop(self) -> None:
        """Nothing is under way any more: give the store back.

        Raises:
            OSError: the next start will replay.
        """


class OpenLocal(Protocol):
    """Opens the store for a worker."""

    async def __call__(self, shop: Workshop, ended: Callable[[], None]) -> LocalProgram:
        """Recover, then be ready.

        Args:
            shop: what the worker shares.
            ended: called when a lease has been given back.

        Raises:
            ConfigurationError: the configuration is bad, or a newer version wrote the journal.
            OSError: the store's folders cannot be used.
        """
        ...


Opener: TypeAlias = OpenLocal | None
