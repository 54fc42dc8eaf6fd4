"""What each script of tests/rules/sieve does with one message. tests/interop/test_pigeonhole.py asks Pigeonhole the same."""

import pytest

from support.pigeonhole import ours
from support.sieve_rules import MESSAGE, Case, cases


@pytest.mark.parametrize("name", ["tests.txt", "commands.txt", "syntax.txt", "language.txt", "values.txt"])
def test_scripts(name: str) -> None:
    found = cases(name)
    assert len(found) > 150
    wrong = [(case.script, answer, case.ours) for case in found if (answer := ours(case.script, MESSAGE)) != case.ours]
    assert wrong == []


def test_cases_are_read() -> None:
    assert cases("commands.txt")[0].ours == ["keep"]
    assert any(isinstance(case, Case) and case.ours is None for case in cases("tests.txt"))
