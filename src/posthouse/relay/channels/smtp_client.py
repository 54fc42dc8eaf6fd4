"""`tcp_smtp_client`: all SMTP channels of one worker. The same care for sessions as in `lmtp_client`, other hosts.

dnspython, 3 MiB, is imported when the DNS is asked first: a relay that only has stores or smart hosts goes without. Our own
modules are read at the start, as all others: an upgrade beneath a running worker does not reach it.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from posthouse.config.configuration import Configuration
from posthouse.dispatcher.access import tables_of
from posthouse.relay.channels.host_finder import HostFinder
from posthouse.relay.channels.ip_access import IpAccess
from posthouse.relay.channels.lmtp_client import LmtpChannels
from posthouse.relay.channels.settings import ChannelSettings
from posthouse.relay.channels.smtp_host import SmtpHost
from posthouse.relay.channels.smtp_settings import SmtpSettings
from posthouse.relay.channels.workshop import Workshop

if TYPE_CHECKING:
    from posthouse.mapping.table import Tables
    from posthouse.relay.channels.tls_out import TlsOut
    from posthouse.relay.names.name_service import NameService


class SmtpChannels(LmtpChannels):
    """The program.

    Args:
        shop: what the worker shares.
        limit: most sessions of a channel.
        drained: called when, after `drain`, the last session is closed.
    """

    def __init__(self, shop: Workshop, limit: Callable[[str], int], drained: Callable[[], None]) -> None:
        super().__init__(shop, limit, drained)
        self._names: dict[tuple[tuple[str, int], ...], NameService] = {}
        self._settings: dict[str, SmtpSettings] = {}
        self._tables: Tables | None = None
        self._before: dict[str, TlsOut | None] = {}
        self._ours, self._ports = _own_names(shop), _own_ports(shop.configuration)

    def tls(self, channel: str) -> "TlsOut | None":
        """How a channel uses TLS, once it has had mail."""
        settings = self._settings.get(channel)
        return settings.tls if settings is not None else None

    def is_ours(self, address: str, port: int) -> bool:
        """Whether our own SMTP service listens there; the address is known to be this machine's."""
        return any(own in {"", address} and number == port for own, number in self._ports)

    def reload(self) -> None:
        """The workshop has a new configuration."""
        super().reload()
        self._names.clear()
        self._before |= {name: settings.tls for name, settings in self._settings.items()}
        self._settings.clear()
        self._tables = None
        self._ours, self._ports = _own_names(self._shop), _own_ports(self._shop.configuration)

    def _make(self, settings: ChannelSettings, name: str) -> SmtpHost:
        channel = settings.channel
        smtp = self._settings.get(channel.name)
        if smtp is None:
            smtp = SmtpSettings.read(self._shop.configuration, channel, self._before.get(channel.name))
            self._settings[channel.name] = smtp
        finder = HostFinder(smtp, partial(self._dns, smtp.servers), self.resolver, self._ours, random.random)
        if self._tables is None:
            self._tables = tables_of(self._shop.configuration)
        return SmtpHost(self, self._shop, settings, name, smtp, finder, IpAccess(self._tables, channel.name, self._shop.alarm))

    def _dns(self, servers: tuple[tuple[str, int], ...]) -> "NameService":
        if servers not in self._names:
            from posthouse.relay.names.dns_names import DnsNames

            self._names[servers] = DnsNames(servers)
        return self._names[servers]


def _own_names(shop: Workshop) -> frozenset[str]:
    """Names that mean this system (smtp-relay.md 4)."""
    options = shop.configuration.options
    words = [shop.host, options.text("LDAP_LOCAL_HOST"), *options.text("LDAP_HOST_ALIAS_LIST").replace(",", " ").split()]
    local = shop.configuration.imta.channels.get("l")
    words += local.hosts if local is not None else ()
    return frozenset(word.lower().rstrip(".") for word in words if word)


def _own_ports(configuration: Configuration) -> tuple[tuple[str, int], ...]:
    """(address or empty, port) of each SMTP service of ours."""
    services = [service for service in configuration.dispatcher.services if service.image == "tcp_smtp_server"]
    return tuple((service.interface_address, port) for service in services for port in service.ports)
