"""dispatcher.cnf: the services a Dispatcher listens for, and its own options (dispatcher-cnf 2, 3).

Lines before the first section are defaults of all services; `[SERVICE=name]` overrides them; `[SERVICE=DISPATCHER]` is the
Dispatcher itself. Refused: a bad integer, a service without IMAGE or with a program that is none of ours, two services on
the same address and port, MIN_PROCS above MAX_PROCS. A service without a port, or with port 0, is disabled.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from posthouse.config.sections import Option, Section, Values, read_sections
from posthouse.config.source import Source
from posthouse.config.tailor import Tailor
from posthouse.config.tls_files import TlsFiles, read_tls_files
from posthouse.config.value import BadValueError, integer, names

IMAGES = frozenset({"tcp_smtp_server", "tcp_lmtp_server", "tcp_lmtpn_server"})
_KNOWN = names(
    """
    BACKLOG DEBUG DNS_VERIFY_DOMAIN ENABLE_RBL HISTORICAL_TIME IDENT IMAGE INTERFACE_ADDRESS LOGFILE MAX_CONNS
    MAX_HANDOFFS MAX_IDLE_TIME MAX_LIFE_CONNS MAX_LIFE_TIME MAX_PROCS MAX_SHUTDOWN MIN_CONNS MIN_PROCS PARAMETER
    PORT STACKSIZE TLS_PORT TLS_CERTIFICATE TLS_KEY TLS_CA_FILE TLS_REQUIRE_CLIENT VERSION
    """
)
_QUOTAS = names("ASTLM BIOLM BYTLM CPULM DIOLM ENQLM FILLM JTQUOTA PGFLQUOTA PRCLM TQELM WSDEFAULT WSEXTENT WSQUOTA USER")
"""OpenVMS only: ignored without a word"""
_LEAST_STACK = 32768


@dataclass(frozen=True, slots=True)
class Service:
    """One listening service. Times in seconds; 0 means never for MAX_IDLE_TIME, no limit for MAX_LIFE_CONNS and MAX_LIFE_TIME."""

    name: str
    ports: tuple[int, ...]
    tls_ports: tuple[int, ...]
    interface_address: str
    """the one address to bind, canonical, or empty for all"""
    image: str
    """the program's name: last part of IMAGE, lower case"""
    logfile: Path | None
    """where the workers' output goes; `%s` stands for the host's name"""
    channel: str
    """PARAMETER=CHANNEL=name, lower case, or empty"""
    min_procs: int
    max_procs: int
    min_conns: int
    max_conns: int
    max_shutdown: int
    max_life_time: int
    max_life_conns: int
    max_idle_time: int
    historical_time: int
    max_handoffs: int
    backlog: int
    debug: int
    stacksize: int
    """0 when not set or below the least that makes sense"""
    dns_verify_domains: tuple[str, ...]
    tls: TlsFiles | None
    """None: it has no certificate"""
    file: str
    line: int

    @property
    def enabled(self) -> bool:
        """Whether it listens anywhere."""
        return bool(self.ports or self.tls_ports)


@dataclass(frozen=True, slots=True)
class DispatcherCnf:
    """The file's content: services in file order, and the options of `[SERVICE=DISPATCHER]` by upper-case name."""

    services: tuple[Service, ...]
    options: Mapping[str, str]


def read_dispatcher_cnf(path: Path, source: Source, tailor: Tailor) -> DispatcherCnf:
    """The whole file; faults go to the source."""
    everywhere, sections = read_sections(path, source, ("SERVICE",))
    for section in (everywhere, *sections):
        _check_names(section, source)
    services = [_service(section, everywhere, source, tailor) for section in sections if section.name.upper() != "DISPATCHER"]
    own = next((section for section in sections if section.name.upper() == "DISPATCHER"), None)
    _check_addresses(services, source)
    options = {option.name: option.text for option in own.options} if own else {}
    return DispatcherCnf(tuple(services), MappingProxyType(options))


def _check_names(section: Section, source: Source) -> None:
    faults = source.faults
    for option in section.options:
        if option.name not in _KNOWN and option.name not in _QUOTAS:
            faults.warn(option.file, option.line, f"unknown option {option.name}")
        elif option.name == "VERSION" and option.text not in {"1.0", "1.1"}:
            faults.warn(option.file, option.line, f"VERSION {option.text[:20]} is not 1.0 or 1.1")
        elif option.name == "ENABLE_RBL":
            faults.warn(option.file, option.line, "ENABLE_RBL is obsolete and does nothing: use DNS_VERIFY_DOMAIN")
        elif option.name == "IDENT" and option.text.strip() != "0":
            faults.warn(option.file, option.line, "IDENT is not supported and does nothing")
    images = [option for option in section.options if option.name == "IMAGE"] if section.name else []
    for second in images[1:]:
        reason = f"a second IMAGE in service {section.name}, which counts: is a line [SERVICE=...] above it commented out?"
        faults.warn(second.file, second.line, reason)


def _service(section: Section, everywhere: Section, source: Source, tailor: Tailor) -> Service:
    values = Values((section, everywhere), source)
    max_procs, max_conns = values.integer("MAX_PROCS", 5, 1), values.integer("MAX_CONNS", 10, 1)
    min_procs = values.integer("MIN_PROCS", 1)
    if min_procs > max_procs:
        at = values.option("MIN_PROCS") or values.option("MAX_PROCS")
        where = (at.file, at.line) if at else (section.file, section.line)
        source.faults.error(*where, f"service {section.name}: MIN_PROCS {min_procs} is above MAX_PROCS {max_procs}")
    parameters = _parameters(section, everywhere, source)
    logfile = values.text("LOGFILE")
    stack = values.integer("STACKSIZE", 0)
    return Service(
        name=section.name,
        ports=_ports(values.option("PORT"), source),
        tls_ports=_ports(values.option("TLS_PORT"), source),
        interface_address=_address(values.option("INTERFACE_ADDRESS"), source),
        image=_image(section, values.option("IMAGE"), source),
        logfile=tailor.path(logfile) if logfile else None,
        channel=parameters.get("CHANNEL", "").lower(),
        min_procs=min_procs,
        max_procs=max_procs,
        min_conns=values.integer("MIN_CONNS", 3, 1),
        max_conns=max_conns,
        max_shutdown=values.integer("MAX_SHUTDOWN", 2, 1),
        max_life_time=values.integer("MAX_LIFE_TIME", 86400),
        max_life_conns=values.integer("MAX_LIFE_CONNS", 300),
        max_idle_time=values.integer("MAX_IDLE_TIME", 0),
        historical_time=values.integer("HISTORICAL_TIME", 0),
        max_handoffs=values.integer("MAX_HANDOFFS", 5, 1),
        backlog=values.integer("BACKLOG", max(5, max_conns * max_procs), 1),
        debug=values.integer("DEBUG", 0, -1),
        stacksize=stack if stack >= _LEAST_STACK else 0,
        dns_verify_domains=_domains(section, everywhere, source),
        tls=read_tls_files(values, source, tailor),
        file=section.file,
        line=section.line,
    )


def _image(section: Section, option: Option | None, source: Source) -> str:
    if not option or not option.text:
        source.faults.error(section.file, section.line, f"service {section.name} has no IMAGE")
        return ""
    image = option.text.replace(":", "/").replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
    if image not in IMAGES:
        source.faults.error(option.file, option.line, f"IMAGE {option.text[:60]} is none of {', '.join(sorted(IMAGES))}")
    return image


def _ports(option: Option | None, source: Source) -> tuple[int, ...]:
    ports: list[int] = []
    if not option or not option.text:
        return ()
    for text in option.text.split(","):
        try:
            port = integer(text)
        except BadValueError as fault:
            source.faults.error(option.file, option.line, f"{option.name}: {fault}")
            continue
        if not 0 <= port <= 65535:
            source.faults.error(option.file, option.line, f"{option.name}: {port} is no port")
        elif port:
            ports.append(port)
    return tuple(dict.fromkeys(ports))


def _address(option: Option | None, source: Source) -> str:
    if not option or not option.text:
        return ""
    try:
        return str(ipaddress.ip_address(option.text.strip("[]")))
    except ValueError:
        source.faults.error(option.file, option.line, f"INTERFACE_ADDRESS: {option.text[:60]!r} is no IP address")
        return ""


def _parameters(section: Section, everywhere: Section, source: Source) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in (*everywhere.options, *section.options):
        if option.name != "PARAMETER":
            continue
        for part in option.text.split(","):
            name, equals, value = (word.strip() for word in part.partition("="))
            if not equals or not name or not value:
                source.faults.error(option.file, option.line, f"PARAMETER: {part.strip()[:40]!r} is not name=value")
            else:
                found[name.upper()] = value
    return found


def _domains(section: Section, everywhere: Section, source: Source) -> tuple[str, ...]:
    found = [option for option in (*everywhere.options, *section.options) if option.name == "DNS_VERIFY_DOMAIN"]
    if len(found) > 5:
        source.faults.error(found[5].file, found[5].line, f"service {section.name}: more than five DNS_VERIFY_DOMAIN")
    return tuple(option.text for option in found[:5])


def _check_addresses(services: Iterable[Service], source: Source) -> None:
    """Two services on one address and port cannot both listen; all addresses clash with each of them."""
    taken: dict[int, list[Service]] = {}
    for service in services:
        for port in dict.fromkeys((*service.ports, *service.tls_ports)):
            for other in taken.setdefault(port, []):
                if not service.interface_address or other.interface_address in {"", service.interface_address}:
                    where = f"services {other.name} and {service.name} both listen on port {port}"
                    source.faults.error(service.file, service.line, f"{where} of {service.interface_address or 'all addresses'}")
                    break
            taken[port].append(service)
