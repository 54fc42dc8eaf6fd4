"""What the supervisor and the Dispatcher both need before they begin: arguments, the programs behind IMAGE, faults told."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.dispatcher.family import EX_USAGE

Images = Mapping[str, Sequence[str]]

IMAGES: Images = {
    "tcp_smtp_server": (sys.executable, "-m", "posthouse.relay.smtp_server"),
    "tcp_lmtp_server": (sys.executable, "-m", "posthouse.store.lmtp_server"),
    "tcp_lmtpn_server": (sys.executable, "-m", "posthouse.store.native"),
}
"""image name -> program and first arguments of a worker"""


def instance_of(argv: Sequence[str], program: str) -> Instance:
    """The instance of `--instance DIR`; ends with 64 when that is not what the arguments are."""
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
