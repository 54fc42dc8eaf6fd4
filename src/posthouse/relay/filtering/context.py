"""What the builders of commands and tests share while one script is compiled."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from posthouse.relay.filtering import capabilities
from posthouse.relay.filtering.actions import Step
from posthouse.relay.filtering.arguments import Taken
from posthouse.relay.filtering.fault import Problem
from posthouse.relay.filtering.run import Run, Template
from posthouse.relay.filtering.strings import BadString, decoded, template
from posthouse.relay.filtering.syntax import Node, Strings

Test: TypeAlias = Callable[[Run], bool]
Command: TypeAlias = Callable[[Run], None]
Texts: TypeAlias = tuple[str | Template, ...]
_IMPLIED = frozenset({"comparator-i;octet", "comparator-i;ascii-casemap"})


@dataclass(slots=True)
class Context:
    """One compilation.

    Args:
        explain: commands and tests write down what they do.
    """

    explain: bool
    allowed: set[str] = field(default_factory=lambda: set(_IMPLIED))
    """extensions required so far"""
    problems: list[Problem] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """variables that are set somewhere"""
    regex_size: int = 0
    """instructions of the regular expressions so far"""

    def fault(self, line: int, reason: str) -> None:
        """Tell of one."""
        self.problems.append(Problem(line, reason))

    def require(self, capability: str, line: int) -> None:
        """One name of `require`."""
        if capabilities.is_known(capability):
            self.allowed.add(capability)
        else:
            self.fault(line, capabilities.why_not(capability))

    def text(self, text: str, line: int) -> str | Template:
        """One string as it is meant."""
        if "${" not in text:
            return text
        try:
            if "encoded-character" in self.allowed:
                text = decoded(text)
            return template(text, line) if "variables" in self.allowed else text
        except BadString as bad:
            self.fault(line, str(bad))
            return Template((), line)  # nothing more is found wrong with it

    def texts(self, strings: Strings) -> Texts:
        """A string list as it is meant."""
        return tuple(self.text(item, strings.line) for item in strings.items)

    def one(self, strings: Strings) -> str | Template:
        """A string as it is meant."""
        return self.text(strings.items[0], strings.line)

    def constant(self, strings: Strings, what: str) -> str | None:
        """A string that must not have variables; None when it has."""
        text = self.one(strings)
        if isinstance(text, str):
            return text
        if text.parts:
            self.fault(strings.line, f"{what} cannot have variables")
        return None

    def constants(self, strings: Strings, what: str) -> tuple[str, ...]:
        """A list whose strings must not have variables."""
        found = (self.constant(Strings(strings.line, (item,), listed=False), what) for item in strings.items)
        return tuple(text for text in found if text is not None)

    @staticmethod
    def step(run: Run, line: int, text: str) -> None:
        """Write down what was done."""
        run.steps.append(Step(line, text))


TestBuilder: TypeAlias = Callable[[Context, Node, Taken], Test]
CommandBuilder: TypeAlias = Callable[[Context, Node, Taken], Command]
