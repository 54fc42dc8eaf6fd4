"""Which DNS servers a channel asks.

Its `nameservers`; else DNS_SERVERS of its option file; else DNS_SERVERS of option.dat; else, by nothing, the system's.
"""

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.dns_servers import dns_servers
from posthouse.config.option_file import OptionFile
from posthouse.relay.names.literal import literal


def servers_of(configuration: Configuration, channel: Channel, options: OptionFile) -> tuple[tuple[str, int], ...]:
    """Addresses and ports.

    Args:
        configuration: the whole.
        channel: whose `nameservers` count; what is no address there is not asked (`check` says so).
        options: the channel's option file.
    """
    written = " ".join(word for word in channel.keywords.get("nameservers", ()) if literal(word))
    return dns_servers(written or options.text("DNS_SERVERS") or configuration.options.text("DNS_SERVERS"))
