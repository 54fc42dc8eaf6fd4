"""Tables nobody asks, and entries that can never apply: what a mappings file of the product may hold and this does not do.

A table is asked by the services (the access tables), by a rewrite rule (`${table,text}`) or by an entry of a table that is
asked (`$|table;text|`). An entry never applies when its template calls what is not there: a site routine that is not built in,
a sequence number, a table or a general database that does not exist, the directory in PORT_ACCESS and IP_ACCESS.
"""

from collections.abc import Iterable, Iterator, Sequence
from types import UnionType

from posthouse.mapping import template as t
from posthouse.mapping.error import SyntaxFault
from posthouse.mapping.throttle import IMAGE, ROUTINES

PORT_ACCESS = "PORT_ACCESS"
IP_ACCESS = "IP_ACCESS"
_WILDCARDS = 10
_INSTEAD = {
    "AUTH_REWRITE": "the Sender: field is not set from the login",
    "CHARSET-CONVERSION": "messages go on as they came",
    "COMMENT_STRINGS": "comments of addresses stay as they are",
    "CONVERSIONS": "messages go on as they came",
    "DISPOSITION_LANGUAGE": "notices have the language of return_prefix.txt",
    "FORWARD": "addresses are not changed by it; write aliases or rewrite rules",
    "MESSAGE-SAVE-COPY": "no copies are kept",
    "NOTIFICATION_LANGUAGE": "notices have the language of return_prefix.txt",
    "PERSONAL_NAMES": "names of addresses stay as they are",
    "REVERSE": "senders' addresses are reversed by the directory only (REVERSE_URL)",
}
_DNS = "dns_verify.so"


def reached(tables: Sequence[tuple[str, Sequence[str]]], asked: Iterable[str]) -> frozenset[str]:
    """Names, in upper case, of the tables that are asked for something.

    Args:
        tables: name and templates of each table.
        asked: names of those that something else than an entry asks.
    """
    calls = {
        name.upper(): {step.name.upper() for text in texts for step in _steps(text, t.Table) if isinstance(step, t.Table)}
        for name, texts in tables
    }
    found: set[str] = set()
    waiting = [name.upper() for name in asked]
    while waiting:
        name = waiting.pop()
        if name in calls and name not in found:
            found.add(name)
            waiting.extend(calls[name])
    return frozenset(found)


def why_idle(table: str) -> str:
    """What is not done because nobody asks this table."""
    return _INSTEAD.get(table.upper(), "its entries do nothing")


def dead_calls(table: str, text: str, there: frozenset[str], *, general: bool) -> Iterator[str]:
    """Why an entry of a table that is asked never applies, for each call of its template that always fails.

    Args:
        table: the entry's table.
        text: its template.
        there: names of all tables, in upper case.
        general: whether there is a general database.
    """
    for step in _steps(text, t.Routine | t.Number | t.Table | t.General | t.Url | t.Domain):
        if isinstance(step, t.Routine):
            if step.image != IMAGE or step.routine not in ROUTINES:
                ask = "; DNS_VERIFY_DOMAIN in dispatcher.cnf asks DNS lists" if step.image == _DNS else ""
                yield f"site routine {step.image} {step.routine} is not built in{ask}"
        elif isinstance(step, t.Number):
            yield "there are no sequence numbers ($#...#)"
        elif isinstance(step, t.Table):
            if step.name.upper() not in there:
                yield f"there is no table {step.name}"
        elif isinstance(step, t.General):
            if not general:
                yield "${...} asks general.txt, which is empty or not read (USE_TEXT_DATABASES=1)"
        elif table.upper() in {PORT_ACCESS, IP_ACCESS}:
            yield "the directory is not asked about connections"


def _steps(text: str, kind: type | UnionType) -> Iterator[t.Step]:
    """The calls of a kind in a template; none where it is no template."""
    try:
        steps = t.compile_template(text, _WILDCARDS).steps
    except SyntaxFault:
        return
    for step in steps:
        if isinstance(step, kind):
            yield step
