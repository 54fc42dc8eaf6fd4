"""A folder for each bad configuration: its files are laid over the chapter's store files, `expected` lists the faults.

`missing` names files that are taken away. A line of `expected` is the severity and the fault as it is printed.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.config.mappings import entry_faults
from posthouse.mapping.error import MappingError
from posthouse.mapping.table import Tables

HERE = Path(__file__).parent
GOOD = HERE.parent / "data" / "chapter" / "store"
CASES = sorted(path for path in HERE.iterdir() if path.is_dir() and path.name != "__pycache__")


def mapping_faults(configuration: Configuration) -> Iterator[Fault]:
    try:
        Tables.compile(
            (table.name, [(entry.pattern, entry.template) for entry in table.entries]) for table in configuration.mappings
        )
    except MappingError as error:
        yield from entry_faults(configuration.mappings, error.faults)


def faults_of(case: Path, tmp_path: Path) -> list[str]:
    config = tmp_path / "config"
    shutil.copytree(GOOD, config)
    for name in (case / "missing").read_text().split() if (case / "missing").exists() else ():
        (config / name).unlink()
    shutil.copytree(case, config, dirs_exist_ok=True, ignore=shutil.ignore_patterns("expected", "missing"))
    try:
        load(Instance(tmp_path), mapping_faults)
    except ConfigurationError as error:
        return [f"{fault.severity} {fault}" for fault in error.faults]
    return []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_fault_is_reported(case: Path, tmp_path: Path) -> None:
    expected = (case / "expected").read_text().splitlines()
    assert any(line.startswith("error ") for line in expected)
    assert faults_of(case, tmp_path) == expected


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 30
