"""Mapping tables: each .in holds tables and probes, its .ref the answer to each probe."""

from pathlib import Path

import pytest

from posthouse.config.fault import Faults
from posthouse.config.instance import Instance
from posthouse.config.mappings import read_mappings
from posthouse.config.source import Source
from posthouse.mapping.question import DomainAttribute, Question
from posthouse.mapping.table import Tables

HERE = Path(__file__).parent
CASES = sorted(HERE.glob("*.in"))
GENERAL = {"key-alpha": "value of alpha"}


def answer(question: Question) -> str | None:
    if isinstance(question, DomainAttribute):
        return f"<{question.domain} {question.attribute}>" if question.domain == "example.com" else None
    plain = question.url.translate(str.maketrans("\\()", "/{}"))  # an answer without signs that $= would quote
    return f"<{plain}>" if "o=x" in question.url else None


def run(case: Path, tmp_path: Path) -> list[str]:
    tables, _, probes = case.read_text().partition("=== probes\n")
    (tmp_path / "mappings").write_text(tables)
    faults = Faults()
    read = read_mappings(tmp_path / "mappings", Source(Instance(tmp_path), faults, lambda name, folder: folder / name))
    assert not faults.all
    compiled = Tables.compile(
        ((table.name, table.pairs) for table in read),
        general=GENERAL.get,
        chance=lambda: 0.25,
    )
    lines: list[str] = []
    for probe in probes.splitlines():
        where, _, text = probe.partition(" ")
        name, _, flags = where.partition("/")
        result = compiled.probe(name, text, flags=frozenset(flags), ask=answer)
        lines.append(f"[{result.text}] {''.join(sorted(result.flags)) or '-'}" if result else "No match")
    return lines


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_answers_are_those_of_the_reference(case: Path, tmp_path: Path) -> None:
    expected = case.with_suffix(".ref").read_text().splitlines()
    assert run(case, tmp_path) == expected


def test_every_reference_has_its_tables() -> None:
    assert {path.stem for path in HERE.glob("*.ref")} == {path.stem for path in CASES}
