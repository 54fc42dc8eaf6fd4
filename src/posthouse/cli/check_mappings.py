"""What `posthouse check` finds in the mappings file: bad entries, tables nobody asks, entries and flags that do nothing."""

import random
import re
import time
from collections.abc import Iterable, Iterator

from posthouse.config.configuration import Configuration
from posthouse.config.fault import Fault, Severity
from posthouse.config.mappings import MappingTable, entry_faults
from posthouse.mapping.access_flags import idle_flags
from posthouse.mapping.error import MappingError
from posthouse.mapping.idle_entries import IP_ACCESS, PORT_ACCESS, dead_calls, reached, why_idle
from posthouse.mapping.table import Tables

_OF_A_RELAY = ("FROM_ACCESS", "ORIG_SEND_ACCESS", "ORIG_MAIL_ACCESS", "SEND_ACCESS", "MAIL_ACCESS", IP_ACCESS)
_IN_A_RULE = re.compile(r"\$\{([^,}]+),")


def check_mappings(configuration: Configuration) -> Iterable[Fault]:
    """Errors where an entry cannot be compiled, and warnings."""
    tables = configuration.mappings
    bad: list[Fault] = []
    try:
        Tables.compile(((one.name, one.pairs) for one in tables), chance=random.random, clock=time.time)
    except MappingError as error:
        bad = [*entry_faults(tables, error.faults)]
    asked = reached([(one.name, [entry.template for entry in one.entries]) for one in tables], _asked(configuration))
    return [*bad, *(fault for one in tables for fault in _of_table(configuration, one, asked))]


def _asked(configuration: Configuration) -> list[str]:
    """Tables that services and rewrite rules ask; those of SMTP where there is a channel l, or no file to say so."""
    if configuration.imta.channels and configuration.imta.local is None:
        return [PORT_ACCESS]
    by_rules = (name.strip() for rule in configuration.imta.rewrite_rules for name in _IN_A_RULE.findall(rule.template))
    return [PORT_ACCESS, *_OF_A_RELAY, *by_rules]


def _of_table(configuration: Configuration, table: MappingTable, asked: frozenset[str]) -> Iterator[Fault]:
    if table.name.upper() not in asked:
        where = " on a store" if table.name.upper() in _OF_A_RELAY else ""
        reason = f"table {table.name} is not asked{where}: {why_idle(table.name)}"
        yield Fault(table.file, table.line, reason, Severity.WARNING)
        return
    names, general = frozenset(one.name.upper() for one in configuration.mappings), bool(configuration.general)
    for entry in table.entries:
        dead = (f"this entry never applies: {why}" for why in dead_calls(table.name, entry.template, names, general=general))
        for reason in (*dead, *idle_flags(table.name, entry.template)):
            yield Fault(entry.file, entry.line, f"table {table.name}: {reason}", Severity.WARNING)
