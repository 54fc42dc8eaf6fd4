"""What the supervisor and the Dispatcher both need before they begin: arguments, the programs behind IMAGE, faults told."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.dispatcher.command_line import without_room
from posthouse.dispatcher.family import EX_USAGE

Images = Mapping[str, Sequence[str]]

IMAGES: Images = {
    "tcp_smtp_server": (sys.executable, "-m", "posthouse.relay.smtp_server"),
    "tcp_lmtp_server": (sys.executable, "-m", "posthouse.store.lmtp_server"),
    "tcp_lmtpn_server": (sys.executable, "-m", "posthouse.store.native"),
}
"""image name -> program and first arguments of a worker"""


PYTHON_MODULE = (sys.executable, "-m")
_LDAP = "posthouse.relay.directory.ldap_directory"
_CHANNELS = "posthouse.relay.channels"
_STORE = ("ims-ms", "posthouse.ims_ms")
"""a channel to the store of this machine, and what its pool's worker is started as"""
_NEEDED_LATE = ("encodings.idna", "runpy", "uvloop")
"""read at their first use, by every process"""


def modules_of(configuration: Configuration, commands: Iterable[Sequence[str]], images: Images) -> list[str]:
    """Everything the processes of an instance will have read, by name: what a template reads for all of them.

    Args:
        configuration: of the instance.
        commands: of the supervisor's children.
        images: programs of the services.
    """
    programs = [*commands, *(images[each.image] for each in configuration.dispatcher.services if each.enabled)]
    names = [command[2] for command in programs if tuple(command[:2]) == PYTHON_MODULE]
    found = [*_NEEDED_LATE, *(f"{name}.__main__" for name in names)]
    if any(name.startswith("posthouse.relay.") for name in names):
        found.append(f"{_CHANNELS}.__main__")
        found += [f"{_STORE[1]}.__main__"] if _STORE[0] in configuration.imta.channels else []
        found += [_LDAP] if configuration.ldif_file is None else []
    return found


def instance_of(argv: Sequence[str], program: str) -> Instance:
    """The instance of `--instance DIR`; ends with 64 when that is not what the arguments are."""
    argv = without_room(argv)
    if len(argv) != 2 or argv[0] != "--instance":
        sys.stderr.write(f"usage: {program} --instance DIR\n")
        raise SystemExit(EX_USAGE)
    return Instance(Path(argv[1]).absolute())


def show_faults(error: ConfigurationError) -> None:
    """Write every fault on a line of its own to stderr."""
    sys.stderr.write("".join(f"{fault}\n" for fault in error.faults))
    sys.stderr.flush()


def check_services(configuration: Configuration, images: Images) -> None:
    """Raises `ConfigurationError` for enabled services whose program is not there, or with a TLS_PORT and no certificate."""
    faults: list[Fault] = []
    for service in configuration.dispatcher.services:
        if service.enabled and service.image not in images:
            faults.append(
                Fault(service.file, service.line, f"service {service.name}: {service.image} is not part of this version")
            )
        if service.tls_ports and service.tls is None:
            faults.append(Fault(service.file, service.line, f"service {service.name}: TLS_PORT needs a TLS_CERTIFICATE"))
    if faults:
        raise ConfigurationError(faults)
