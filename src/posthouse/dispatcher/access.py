"""Who may connect: PORT_ACCESS and the DNS lists of a service (dispatcher-cnf.md 5, mappings.md 4).

Asked once for each accepted connection, before any greeting. No table: everybody may. A question to the directory has no
answer here. A DNS list that does not answer within 5 s lets the connection in; an answer of any address refuses it; IPv6
addresses are not looked up.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from posthouse.config.configuration import Configuration
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.mapping.access import decide_port
from posthouse.mapping.error import MappingError
from posthouse.mapping.table import Tables

TABLE = "PORT_ACCESS"
DNS_SECONDS = 5.0
_TOLD_WHY = frozenset({25, 110, 143})


@dataclass(frozen=True, slots=True)
class Refusal:
    """The connection is not wanted; the text, "" = none, is the line its client gets."""

    text: str


class Access:
    """The tables in force.

    Args:
        configuration: of the instance.
        log: for what `$<` and `$>` ask to be logged.

    Raises:
        ConfigurationError: a table cannot be used.
    """

    def __init__(self, configuration: Configuration, log: logging.Logger) -> None:
        self._log = log
        self._tables = tables_of(configuration)

    def replace(self, configuration: Configuration) -> None:
        """Use these tables from now on; `conn_throttle` starts afresh. When they are bad, raises and keeps the old ones."""
        self._tables = tables_of(configuration)

    def ask(self, probe: str) -> Refusal | None:
        """What PORT_ACCESS says about `TCP|server|port|client|port`; None lets it in."""
        decision = decide_port(self._tables.probe(TABLE, probe))
        if decision.log:
            self._log.info("%s: %s", TABLE, decision.log)
        return None if decision.allowed else Refusal(decision.text)


def tables_of(configuration: Configuration) -> Tables:
    """The mapping tables, ready to be asked.

    Raises:
        ConfigurationError: an entry cannot be compiled.
    """
    mappings = configuration.mappings
    tables = [(table.name, [(entry.pattern, entry.template) for entry in table.entries]) for table in mappings]
    try:
        return Tables.compile(tables, general=configuration.general.get, chance=random.random, clock=time.monotonic)
    except MappingError as error:
        places = [(mappings[table].entries[entry], reason) for table, entry, reason in error.faults]
        raise ConfigurationError(Fault(entry.file, entry.line, reason) for entry, reason in places) from error


async def ask_lists(
    address: str, port: int, domains: Sequence[str], resolve: Callable[[str], Awaitable[object]], seconds: float = DNS_SECONDS
) -> Refusal | None:
    """What DNS lists say about an IPv4 address; None lets it in. On ports 25, 110 and 143 the client is told why.

    Args:
        address: the client's.
        port: the one it came to.
        domains: of the lists.
        resolve: looks a host name up; raises OSError when there is none.
        seconds: how long to wait.
    """
    names = [name for domain in domains if (name := list_name(address, domain))]
    if not names:
        return None
    answers = asyncio.gather(*(resolve(name) for name in names), return_exceptions=True)
    try:
        listed = any(not isinstance(answer, BaseException) for answer in await asyncio.wait_for(answers, seconds))
    except TimeoutError:
        return None
    if not listed:
        return None
    return Refusal(f"500 5.7.1 access_control: host {address} found on DNS list and rejected" if port in _TOLD_WHY else "")


def list_name(address: str, domain: str) -> str | None:
    """`d.c.b.a.domain` for an IPv4 address; None for others, whose lists are not asked."""
    parts = address.split(".")
    if len(parts) != 4:
        return None
    return ".".join((*reversed(parts), domain.strip(".")))
