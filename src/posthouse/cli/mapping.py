"""`posthouse mapping TABLE STRING`: what a mapping table answers (job-controller-cnf.md 9).

    Output string: ...          what the entry made of it
    Output flags: Y             the flags it set

Exit 0 with an answer, 1 with `No match`, 78 when the configuration is bad, 64 when there is no such table. LDAP call-outs fail
their entry here: this command asks no directory.
"""

import random
import sys
import time

from cyclopts import App

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.loading import exit_with, load_or_exit
from posthouse.config.mappings import entry_faults
from posthouse.mapping.error import MappingError
from posthouse.mapping.table import Tables

app = App(name="mapping", help="Show what a mapping table answers.")


@app.default
def mapping(table: str, text: str, /, *flags: str, instance: InstanceOption = None) -> None:
    """Print it.

    Args:
        table: name of the table, e.g. PORT_ACCESS.
        text: the probe, e.g. "TCP|10.0.0.7|225|192.0.2.1|40000".
        flags: input flags for `$:` and `$;`, e.g. T.
        instance: the instance's folder.
    """
    configuration = load_or_exit(here(instance))
    try:
        tables = Tables.compile(
            ((one.name, one.pairs) for one in configuration.mappings),
            general=configuration.general.get,
            chance=random.random,
            clock=time.time,
        )
    except MappingError as error:
        raise exit_with(entry_faults(configuration.mappings, error.faults)) from None
    if table not in tables:
        sys.stderr.write(f"posthouse mapping: there is no table {table}\n")
        raise SystemExit(64)
    result = tables.probe(table, text, flags=frozenset(flag.upper() for flag in flags))
    if result is None:
        sys.stdout.write("No match\n")
        raise SystemExit(1)
    sys.stdout.write(f"Output string: {result.text}\nOutput flags: {' '.join(sorted(result.flags))}\n")
