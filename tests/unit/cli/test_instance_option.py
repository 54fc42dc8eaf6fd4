"""`--instance`: a folder that is no instance is said to be none, by every command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    ["check"], ["route", "a@b.example"], ["status"], ["stop"], ["start"], ["reload"], ["trace", "x"], ["queue", "list"],
    ["store", "list"], ["program", "list"], ["counters"], ["counters", "clear"], ["metrics"],
]  # fmt: skip


def said(folder: Path, *words: str) -> tuple[int, str]:
    """Exit code and standard error of a command typed in that folder."""
    environment = {name: value for name, value in os.environ.items() if name != "POSTHOUSE_INSTANCE"}
    command = [sys.executable, "-m", "posthouse.cli", *words]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stderr


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_folder_without_an_instance(tmp_path: Path, words: list[str]) -> None:
    code, text = said(tmp_path, *words, "--instance", "nowhere")
    assert code == 66
    assert text.startswith(f"posthouse: {tmp_path}/nowhere is no instance")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_folder_whose_path_is_not_utf_8(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "r\udce9" / "config").mkdir(parents=True)
    code, text = said(tmp_path, *words, "--instance", "r\udce9")
    assert (code, text) == (66, f"posthouse: {tmp_path}/r\\udce9: an instance's path must be UTF-8\n")


def test_the_current_folder_is_meant_without_it(tmp_path: Path) -> None:
    code, text = said(tmp_path, "status")
    assert code == 66
    assert text.startswith(f"posthouse: {tmp_path} is no instance")
