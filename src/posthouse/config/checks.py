"""What can be wrong between files: channels, pools and services that name each other (job-controller-cnf 3, dispatcher-cnf 5)."""

from collections.abc import Sequence

from posthouse.config.dispatcher_cnf import DispatcherCnf, Service
from posthouse.config.fault import Faults
from posthouse.config.imta_cnf import ImtaCnf
from posthouse.config.job_controller_cnf import JobControllerCnf
from posthouse.config.mappings import MappingTable

_NAMES_A_CHANNEL = (
    "saslswitchchannel",
    "tlsswitchchannel",
    "userswitchchannel",
    "notificationchannel",
    "dispositionchannel",
    "expandchannel",
    "alternatechannel",
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
