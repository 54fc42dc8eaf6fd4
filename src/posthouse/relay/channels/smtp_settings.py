"""What the configuration says of one channel that speaks SMTP to others (imta-cnf 3.2, job-controller-cnf 7).

    where   mx(d) | nomx | nodns, randommx(d) | nonrandommx, daemon, lastresort, nameservers, interfaceaddress;
            DNS_SERVERS (the channel's option file before option.dat), MAX_MX_RECORDS, CONNECT_TIME
    TLS     `tls_out.py`
    AUTH    AUTH_USERNAME with AUTH_PASSWORD_FILE or AUTH_PASSWORD; maysaslclient: mail goes without it where the server has none

A file that is named and cannot be read keeps the channel's mail here.
"""

from dataclasses import dataclass
from enum import Enum

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.option_file import OptionFile
from posthouse.dialogue.smtp_client import Credentials, Opening
from posthouse.relay.channels.mx import MAX_RECORDS
from posthouse.relay.channels.tls_out import TlsOut, file_of, tls_of, tls_out
from posthouse.relay.names.servers import servers_of


class Lookup(Enum):
    """How a host's name becomes addresses."""

    MX = "mx"
    ADDRESSES = "nomx"
    SYSTEM = "nodns"
    """hosts file and the system's own look-up"""


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    """One channel."""

    lookup: Lookup
    random: bool
    """equal preferences, and the addresses of a host, in random order"""
    servers: tuple[tuple[str, int], ...]
    """DNS servers; empty for the system's"""
    most_hosts: int
    last_resort: str
    fixed: bool
    """`daemon` names the host: what is wrong with it is our own fault, never the sender's"""
    connect_wait: float
    interface: str
    """address to connect from, or empty"""
    opening: Opening
    tls: TlsOut | None
    permanent_552: str
    """522_PERMANENT_ERROR_STRING, lower case: a 552 to RCPT with this text is final"""
    hello: str
    """BANNER_HOST: what we call ourselves, or empty"""
    fault: str
    """the password file, where it cannot be read: no mail goes out before it can"""

    @classmethod
    def read(cls, configuration: Configuration, channel: Channel, before: TlsOut | None = None) -> "SmtpSettings":
        """The settings of a channel; `before` is its way to use TLS until now."""
        options = configuration.channel_option(channel.name)
        fault, credentials = "", None
        try:
            credentials = _credentials(configuration, channel, options)
        except (OSError, UnicodeError) as error:
            fault = f"channel {channel.name}: {error}"
        return cls(
            lookup=_lookup(channel),
            random=not channel.has("nonrandommx"),
            servers=servers_of(configuration, channel, options),
            most_hosts=max(1, options.integer("MAX_MX_RECORDS", MAX_RECORDS)),
            last_resort=channel.value("lastresort") or "",
            fixed=channel.value("daemon") is not None,
            connect_wait=options.number("CONNECT_TIME", 0.5) * 60.0,
            interface=channel.value("interfaceaddress") or "",
            opening=Opening(tls_of(channel), credentials, ehlo=not channel.has("noehlo")),
            tls=tls_out(configuration, channel, options, before),
            permanent_552=options.text("522_PERMANENT_ERROR_STRING").lower(),
            hello=options.text("BANNER_HOST"),
            fault=fault,
        )


def _lookup(channel: Channel) -> Lookup:
    if channel.has("nodns"):
        return Lookup.SYSTEM
    return Lookup.ADDRESSES if channel.has("nomx") else Lookup.MX


def _credentials(configuration: Configuration, channel: Channel, options: OptionFile) -> Credentials | None:
    user = options.text("AUTH_USERNAME")
    if not user or channel.has("nosaslclient") or channel.has("nosasl"):
        return None
    file = options.text("AUTH_PASSWORD_FILE")
    if file:
        lines = file_of(configuration, file).read_text(encoding="utf-8").splitlines()
        password = lines[0] if lines else ""
    else:
        password = options.text("AUTH_PASSWORD")
    may = channel.has("maysaslclient") or channel.has("maysasl")
    return Credentials(user, password, needed=not may, in_clear=options.integer("AUTH_IN_CLEAR", 0) != 0)
