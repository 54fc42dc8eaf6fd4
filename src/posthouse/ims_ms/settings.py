"""What channel ims-ms takes from the configuration: store.conf, as every way into the store does.

The folder a script has chosen is always believed: it comes from our own routing, not over a wire.
"""

from dataclasses import dataclass, replace

from posthouse.config.configuration import Configuration
from posthouse.store.lmtp_server.settings import ServerSettings, server_settings


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """One reading of the configuration."""

    store: ServerSettings
    largest: int
    """octets of a message"""

    @classmethod
    def read(cls, configuration: Configuration, channel: str) -> "DeliverySettings":
        """The settings of a channel."""
        store = server_settings(configuration, channel)
        conf = configuration.store
        believed = store.delivery._replace(flag_transfer=True)
        return cls(replace(store, delivery=believed, dupcheck=conf.dupcheck), conf.maxmessagesize)
