"""Which rewrite rules a host may match, in which order, and how the host divides (imta-cnf 2.1).

Order for `sc.cs.example.com`: the host; `*.cs.example.com`, `.cs.example.com`, `*.*.example.com`, ... `.com`,
`*.*.*.*`; then `.`. Domain literals lose their octets from the right: `[1.2.3.4]`, `[1.2.3.]`, ... `[]`, `.`.
Comparison ignores case; the parts handed to templates keep it. Rules for `$*` stand outside this order.
"""

from collections.abc import Iterator
from typing import NamedTuple

EVERYTHING = "$*"
MATCH_ALL = "."


class HostMatch(NamedTuple):
    """One probe and what it divides the host into."""

    pattern: str
    """lower case, as a rule must have been written"""
    matched: str
    """`$D`"""
    unmatched: str
    """`$H`"""
    literal: str = ""
    """`$L`"""


def whole_host(pattern: str, host: str) -> HostMatch:
    """The match of `$*` and `.`: nothing is matched explicitly, everything is left over."""
    return HostMatch(pattern, "", host, host[1:-1] if host.startswith("[") else "")


def probes(host: str, longest: int) -> Iterator[HostMatch]:
    """Every probe but `$*` and `.`, in order.

    Args:
        host: as it stands in the address.
        longest: number of labels of the longest pattern of any rule; longer probes cannot match and are left out.
    """
    if host.startswith("["):
        yield from _literal_probes(host)
        return
    yield HostMatch(host.lower(), host, "")
    labels = host.split(".")
    count = len(labels)
    for removed in range(1, count + 1):
        kept = count - removed
        if kept > longest:
            continue
        unmatched = ".".join(labels[:removed])
        matched = "." + ".".join(labels[removed:]) if kept else ""
        if count <= longest:
            stars = ".".join(["*"] * removed)
            yield HostMatch(stars + matched.lower(), matched, unmatched)
        if kept:
            yield HostMatch(matched.lower(), matched, unmatched)


def _literal_probes(host: str) -> Iterator[HostMatch]:
    text = host[1:].removesuffix("]")
    yield HostMatch(host.lower(), host, "")
    cut = len(text)
    while (cut := text.rfind(".", 0, cut)) >= 0:
        kept = text[: cut + 1]
        yield HostMatch(f"[{kept}]".lower(), "[" + kept, "", text[cut + 1 :])
    yield HostMatch("[]", "[", "", text)


def label_count(pattern: str) -> int:
    """Labels in a rule's pattern, for `longest`."""
    return len(pattern.strip(".").split("."))
