"""The tree a script is parsed to (RFC 5228 8.2): commands and tests with their arguments, each with its line."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Number:
    """A number argument."""

    line: int
    value: int
    kind = "a number"


@dataclass(frozen=True, slots=True)
class Strings:
    """A string or a string list."""

    line: int
    items: tuple[str, ...]
    listed: bool
    """written with brackets"""

    @property
    def kind(self) -> str:
        """How a fault names it."""
        return "a string list" if self.listed else "a string"


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, without its colon."""

    line: int
    name: str

    @property
    def kind(self) -> str:
        """How a fault names it."""
        return f"the tag :{self.name}"


Argument: TypeAlias = Number | Strings | Tag


@dataclass(frozen=True, slots=True)
class Node:
    """A command or a test; block is None for a test and for a command that ends with a semicolon."""

    line: int
    name: str
    """in lower case"""
    arguments: tuple[Argument, ...]
    tests: "tuple[Node, ...]"
    block: "tuple[Node, ...] | None" = None
    listed: bool = False
    """tests stood in parentheses"""
