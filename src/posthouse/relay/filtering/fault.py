"""What can be wrong with a script, always with its line: found when it is compiled, or when it runs."""

from typing import NamedTuple


class Problem(NamedTuple):
    """One fault of a script."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class ScriptError(ValueError):
    """The script cannot be run: every fault that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


class SyntaxFault(Exception):  # noqa: N818 - carried to the parser's end, where it becomes a ScriptError
    """The text is no Sieve from this line on."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.problem = Problem(line, reason)


class RunFault(Exception):  # noqa: N818 - ends one evaluation: the message is kept and the owner told
    """The script asked for something it must not have."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.problem = Problem(line, reason)
