"""What can be wrong between files: channels, pools and services that name each other (job-controller-cnf 3, dispatcher-cnf 5).

Also what a channel that goes out names: addresses, certificates, a password; and files in the folder that nobody reads: options
of channels that are not there, and files of the product that mean nothing here.
"""

import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from posthouse.config.certificate_dates import told
from posthouse.config.channel import Channel
from posthouse.config.dispatcher_cnf import DispatcherCnf, Service
from posthouse.config.fault import Faults
from posthouse.config.imta_cnf import ImtaCnf
from posthouse.config.job_controller_cnf import JobControllerCnf
from posthouse.config.mappings import MappingTable
from posthouse.config.option_file import OptionFile
from posthouse.config.tailor import Tailor
from posthouse.config.tls_files import dates_in, load_for_client

_NAMES_A_CHANNEL = (
    "saslswitchchannel",
    "tlsswitchchannel",
    "userswitchchannel",
    "notificationchannel",
    "dispositionchannel",
    "expandchannel",
    "alternatechannel",
)
_CONFIGUTIL = "settings of configutil are not read: write those of the directory into option.dat (docs/migration.md)"
_UNREAD = (
    ("imta.filter", "the script for all mail is not run: use destinationfilter file:imta.filter on the channels"),
    ("conversions", "messages go on as they came"),
    ("*_headers.opt", "no header fields are taken out or added"),
    ("headers.opt", "no header fields are taken out or added"),
    ("msg.conf", _CONFIGUTIL),
    ("local.conf", _CONFIGUTIL),
    ("config.xml", "this is the product's unified configuration: bring imta.cnf, option.dat, mappings and the others"),
)
_LMTP_IMAGES = frozenset({"tcp_lmtp_server", "tcp_lmtpn_server"})


def check_channels(imta: ImtaCnf, jobs: JobControllerCnf | None, faults: Faults) -> None:
    """Pools that do not exist are errors; channels named by keywords that do not exist are warnings."""
    for channel in imta.channels.values():
        if jobs and channel.pool and not jobs.pool(channel.pool):
            faults.error(channel.file, channel.line, f"channel {channel.name}: unknown pool {channel.pool}")
        for keyword in _NAMES_A_CHANNEL:
            named = channel.value(keyword)
            if named and named.lower() not in imta.channels:
                faults.warn(channel.file, channel.line, f"channel {channel.name}: {keyword} names no channel: {named}")


def check_ways_out(imta: ImtaCnf, options: Mapping[str, OptionFile], tailor: Tailor, faults: Faults) -> None:
    """Files that are named should be there (one channel's mail waits for them), a user needs a password, an address is one."""
    for channel in imta.channels.values():
        address = channel.value("interfaceaddress")
        if address and not _is_address(address):
            faults.error(channel.file, channel.line, f"channel {channel.name}: interfaceaddress {address} is no IP address")
        for word in channel.keywords.get("nameservers", ()):
            if not _is_address(word):
                reason = f"channel {channel.name}: nameservers {word} is no IP address and is not asked"
                faults.warn(channel.file, channel.line, reason)
    for file in options.values():
        _check_tls_out(file, tailor, faults)
        for name in ("TLS_CA_FILE", "TLS_CERTIFICATE", "TLS_KEY", "AUTH_PASSWORD_FILE"):
            value = file.get(name)
            system = name == "TLS_CA_FILE" and value is not None and value.text.lower() == "system"
            if value and value.text and not system and not tailor.path(value.text, tailor.table).is_file():
                faults.warn(value.file, value.line, f"{name}: {value.text} does not exist; until it does no mail goes out there")
        user = file.get("AUTH_USERNAME")
        if user and user.text and not file.text("AUTH_PASSWORD_FILE") and not file.text("AUTH_PASSWORD"):
            faults.error(user.file, user.line, "AUTH_USERNAME needs AUTH_PASSWORD_FILE or AUTH_PASSWORD")


def _check_tls_out(file: OptionFile, tailor: Tailor, faults: Faults) -> None:
    """Certificates that are there and cannot be used, or not for long."""
    named = {name: value for name in ("TLS_CA_FILE", "TLS_CERTIFICATE", "TLS_KEY") if (value := file.get(name)) and value.text}
    paths = {name: tailor.path(value.text, tailor.table) for name, value in named.items()}
    if "TLS_CA_FILE" in named and named["TLS_CA_FILE"].text.lower() == "system":
        del paths["TLS_CA_FILE"]
    if not paths or not all(path.is_file() for path in paths.values()):
        return
    value = named.get("TLS_CERTIFICATE") or next(iter(named.values()))
    try:
        load_for_client(
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), *(paths.get(name) for name in ("TLS_CA_FILE", "TLS_CERTIFICATE", "TLS_KEY"))
        )
    except OSError as error:
        faults.warn(value.file, value.line, f"{error}; a relay that starts with it sends no mail for which it needs this")
    if "TLS_CERTIFICATE" in paths and (words := told(dates_in(paths["TLS_CERTIFICATE"]), time.time())):
        faults.warn(value.file, value.line, f"TLS_CERTIFICATE: {value.text}: {words}")


def check_unread_files(folder: Path, imta: ImtaCnf, name_of: Callable[[Path], str], faults: Faults) -> None:
    """Files nobody reads. An option file of no channel: the channel is misspelt, has capitals, or has gone."""
    for pattern, reason in _UNREAD:
        for path in sorted(folder.glob(pattern)):
            faults.warn(name_of(path), 0, f"nobody reads this file: {reason}")
    for path in sorted(folder.glob("*_option")):
        channel = path.name.removesuffix("_option")
        if channel not in imta.channels:
            faults.warn(name_of(path), 0, f"imta.cnf has no channel {channel}: nobody reads this file")


def _is_address(text: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(text))
    return False


def check_services(dispatcher: DispatcherCnf, imta: ImtaCnf, mappings: Sequence[MappingTable], faults: Faults) -> None:
    """A service's channel must exist; an LMTP service wants a PORT_ACCESS entry for its port."""
    for service in dispatcher.services:
        if not service.enabled:
            continue
        channel = imta.channels.get(service.channel)
        if service.channel and imta.channels and not channel:
            faults.error(service.file, service.line, f"service {service.name}: unknown channel {service.channel}")
        if service.image in _LMTP_IMAGES:
            if channel and not channel.is_lmtp:
                faults.warn(service.file, service.line, f"service {service.name}: channel {channel.name} lacks the keyword lmtp")
            _check_port_access(service, mappings, faults)


def check_demands(dispatcher: DispatcherCnf, imta: ImtaCnf, options: Mapping[str, OptionFile], faults: Faults) -> None:
    """What the channel of an SMTP service demands of clients must be possible: TLS, a login under TLS."""
    for service in dispatcher.services:
        channel = imta.channels.get(service.channel or "tcp_local")
        if not service.enabled or service.image != "tcp_smtp_server" or channel is None or service.tls is not None:
            continue
        reason = f"service {service.name}: channel {channel.name} wants TLS, and there is no TLS_CERTIFICATE"
        if channel.has("musttlsserver"):
            faults.error(service.file, service.line, reason)
        elif channel.has("musttls") and not (channel.has("notlsserver") or channel.has("maytlsserver")):
            faults.warn(service.file, service.line, f"{reason}: mail comes in in clear")
        elif _has_logins(channel):
            own = options.get(channel.name)
            if own is None or own.text("AUTH_IN_CLEAR", "0").strip() == "0":
                reason = f"service {service.name}: nobody can log in: neither TLS_CERTIFICATE nor AUTH_IN_CLEAR=1"
                faults.warn(service.file, service.line, reason)


def _has_logins(channel: Channel) -> bool:
    if channel.has("mustsaslserver") or channel.has("maysaslserver"):
        return True
    return (channel.has("mustsasl") or channel.has("maysasl")) and not channel.has("nosaslserver")


def _check_port_access(service: Service, mappings: Sequence[MappingTable], faults: Faults) -> None:
    """Warns about an LMTP port open to everybody: LMTP chapter 16.4 makes PORT_ACCESS the guard of these services."""
    patterns = [entry.pattern for table in mappings if table.name.upper() == "PORT_ACCESS" for entry in table.entries]
    for port in (*service.ports, *service.tls_ports):
        if not any(_may_match(pattern, port) for pattern in patterns):
            reason = f"service {service.name}: no PORT_ACCESS entry for port {port}, everybody may connect"
            faults.warn(service.file, service.line, reason)


def _may_match(pattern: str, port: int) -> bool:
    fields = pattern.split("|")
    if len(fields) < 5:
        return any(sign in pattern for sign in "*%$")
    return fields[2] == str(port) or any(sign in fields[2] for sign in "*%$")
