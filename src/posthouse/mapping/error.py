"""What is wrong with a mapping table, found when it is compiled."""

from collections.abc import Iterable


class SyntaxFault(ValueError):  # noqa: N818 - the word the whole system has for it
    """One pattern or template that cannot be compiled; the message is the reason."""


class MappingError(ValueError):
    """Tables that cannot be used.

    Args:
        faults: for each bad entry the number of its table, its own number in it, and the reason.
        names: the tables' names in the order given.
    """

    def __init__(self, faults: Iterable[tuple[int, int, str]], names: tuple[str, ...]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{names[table]} entry {entry + 1}: {reason}" for table, entry, reason in self.faults))
