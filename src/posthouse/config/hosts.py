"""The hosts file, syntax of /etc/hosts: `address name name ...`, `#` comments. Asked before the system's resolver."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from posthouse.config.source import Source


def read_hosts(path: Path, source: Source) -> Mapping[str, tuple[str, ...]]:
    """Lower-case name to its addresses in file order; a missing file has none."""
    found: dict[str, list[str]] = {}
    for line in source.lines(path, includes=False):
        words = line.text.partition("#")[0].split()
        if not words:
            continue
        try:
            address = str(ipaddress.ip_address(words[0]))
        except ValueError:
            source.faults.error(line.file, line.line, f"{words[0][:40]!r} is no IP address")
            continue
        if len(words) == 1:
            source.faults.error(line.file, line.line, f"address {address} has no name")
        for name in words[1:]:
            known = found.setdefault(name.lower().rstrip("."), [])
            if address not in known:
                known.append(address)
    return MappingProxyType({name: tuple(addresses) for name, addresses in found.items()})
