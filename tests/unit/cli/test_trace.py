"""`posthouse trace` where the log cannot be read."""

from pathlib import Path

import pytest

from posthouse.cli.trace import trace


def test_a_log_that_cannot_be_read_is_said_and_is_66(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "imta.cnf").touch()
    (tmp_path / "log").touch()
    with pytest.raises(SystemExit) as ended:
        trace("somebody@example.com", instance=tmp_path)
    assert ended.value.code == 66
    assert capsys.readouterr().err == f"posthouse trace: {tmp_path}/log/transactions.jsonl: Not a directory\n"
