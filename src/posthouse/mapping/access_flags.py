"""Which output flags can act in which access table (mappings.md 4 and 6).

    PORT_ACCESS                                   Y N F < > T
    FROM_ACCESS                                   Y N F B H D < > X A S J K
    (ORIG_)SEND_ACCESS, (ORIG_)MAIL_ACCESS        Y N F B H D < > X A S
    IP_ACCESS                                     Y N F X I A

A flag that cannot act where it stands is not an error, its argument is still passed over; who checks the configuration is told.
"""

from collections.abc import Iterator

from posthouse.mapping.error import SyntaxFault
from posthouse.mapping.template import compile_template

_RCPT = frozenset("YNFBHD<>XAS")
_ACTING = {
    "PORT_ACCESS": frozenset("YNF<>T"),
    "IP_ACCESS": frozenset("YNFXIA"),
    "FROM_ACCESS": _RCPT | {"J", "K"},
    **dict.fromkeys(("ORIG_SEND_ACCESS", "SEND_ACCESS", "ORIG_MAIL_ACCESS", "MAIL_ACCESS"), _RCPT),
}
_SENDER = "the sender was settled at MAIL FROM; FROM_ACCESS can replace it"
_WHY = {
    "J": _SENDER,
    "K": _SENDER,
    "I": "there are no group checks",
    "T": "there are no tags before subjects",
    "G": "there are no conversion tags",
}
_NO_MESSAGE = frozenset({"PORT_ACCESS", "IP_ACCESS"})
_WILDCARDS = 10


def idle_flags(table: str, template: str) -> Iterator[str]:
    """Why flags of a table's entry have no effect; nothing for a table that is no access table, or a template that is none."""
    acting = _ACTING.get(table.upper())
    if acting is None:
        return
    try:
        flags = compile_template(template, _WILDCARDS).flags
    except SyntaxFault:
        return
    for flag in sorted(flags - acting):
        reason = _WHY.get(flag, "it means nothing") if table.upper() not in _NO_MESSAGE else "a connection has no message yet"
        yield f"${flag} has no effect in {table.upper()}: {reason}"
