"""`posthouse status` says how little room there is on the disk."""

import json
from pathlib import Path

import pytest

from posthouse.cli import status as module
from posthouse.cli.status import status


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    for name in ("config", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "imta.cnf").touch()
    return tmp_path


def said(instance: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool) -> str:
    with pytest.raises(SystemExit) as ended:
        status(instance=instance, as_json=as_json)
    assert ended.value.code == 69
    return capsys.readouterr().out


def test_little_room_is_said(stopped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LITTLE_ROOM", 1 << 62)
    assert "MiB" in said(stopped, capsys, as_json=False).splitlines()[-1]
    disk = json.loads(said(stopped, capsys, as_json=True))["disk"]
    assert disk["low"] is True
    assert 0 <= disk["free"] < 1 << 62


def test_enough_room_is_not(stopped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LITTLE_ROOM", 0)
    monkeypatch.setattr(module, "FEW_FILES", 0)
    assert "free" not in said(stopped, capsys, as_json=False)
    assert json.loads(said(stopped, capsys, as_json=True))["disk"]["low"] is False


def test_a_missing_data_folder_has_no_room(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (stopped / "data").rmdir()
    assert json.loads(said(stopped, capsys, as_json=True))["disk"] is None
