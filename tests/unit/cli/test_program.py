"""`posthouse program` and what `check` says of programs."""

import json
import os
from pathlib import Path

import pytest

from posthouse.cli.check_pipe import check_pipe
from posthouse.cli.program import app
from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance

IMTA = "\n\nl\nrelay.example.com\n\npipe {keywords}\npipe-daemon\n"
AS = ("--as", "nobody") if os.geteuid() == 0 else ()


def instance(folder: Path, *, keywords: str = "", programs: str = "", tailor: str = "") -> Configuration:
    config = folder / "config"
    config.mkdir()
    (config / "imta.cnf").write_text(IMTA.format(keywords=keywords).lstrip("\n").join(["\n", ""]))
    (config / "dispatcher.cnf").write_text("[SERVICE=SMTP]\nPORT=2525\nIMAGE=IMTA_BIN:tcp_smtp_server\nPARAMETER=CHANNEL=l\n")
    (config / "mappings").write_text("PORT_ACCESS\n\n  *  $Y\n")
    (config / "pipe_programs").write_text(programs)
    (config / "imta_tailor").write_text(tailor)
    return load(Instance(folder))


def run(folder: Path, *words: str) -> int:
    try:
        app([*words, "--instance", str(folder)], exit_on_error=False, result_action="return_value")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_list_and_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = "[PROGRAM=Say]\nCOMMAND=/bin/sh -c 'head -1; exit 75'\n[PROGRAM=gone]\nCOMMAND=/nowhere\n"
    user = "user nobody" if os.geteuid() == 0 else ""
    instance(tmp_path, keywords=user, programs=f"{programs}[PROGRAM=no]\nCOMMAND=/bin/sh -c 'exit 67'\n")
    assert run(tmp_path, "list", "--json") == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert listed["Say"]["not_run_because"] is None
    assert listed["gone"]["not_run_because"] == "/nowhere: no such file or directory"
    assert run(tmp_path, "list") == 0
    assert "/nowhere: no such file" in capsys.readouterr().out
    message = tmp_path / "message"
    message.write_text("Subject: x\n\n")
    assert run(tmp_path, "try", "say", str(message), "--from", "a@example.com", *AS) == 75
    assert capsys.readouterr().out.splitlines() == [
        "/bin/sh -c 'head -1; exit 75'",
        "451 4.3.0 program Say: temporary failure: Return-Path: <a@example.com>",
    ]
    assert run(tmp_path, "try", "no", str(message), *AS) == 69
    assert run(tmp_path, "try", "gone", str(message), *AS) == 75
    assert run(tmp_path, "try", "other", str(message), *AS) == 64
    assert run(tmp_path, "try", "no", str(tmp_path / "none"), *AS) == 66


def test_list_says_when_there_is_nobody_to_run_them_as(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance(tmp_path, programs="[PROGRAM=say]\nCOMMAND=/bin/true\n")
    assert run(tmp_path, "list") == 0
    assert ("never run as root" in capsys.readouterr().out) is (os.geteuid() == 0)


def test_tried_as_the_channel_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its SHELL_TIMEOUT holds, and root's programs run as its `user`."""
    instance(tmp_path, keywords="user nobody" if os.geteuid() == 0 else "", programs="[PROGRAM=slow]\nCOMMAND=/bin/sleep 60\n")
    (tmp_path / "config" / "pipe_option").write_text("SHELL_TIMEOUT=0.2\n")
    message = tmp_path / "message"
    message.write_text("Subject: x\n\n")
    assert run(tmp_path, "try", "slow", str(message)) == 75
    assert "0.2 s" in capsys.readouterr().out


def test_a_message_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    instance(tmp_path, programs="[PROGRAM=wanted]\nCOMMAND=/bin/grep -q wanted\n")
    with (tmp_path / "message").open("w+") as file:
        file.write("Subject: wanted\n\n")
        file.seek(0)
        monkeypatch.setattr("sys.stdin", file)
        assert run(tmp_path, "try", "wanted", "-", *AS) == 0


@pytest.mark.parametrize(
    ("keywords", "tailor", "reason"),
    [
        ("user root", "", "channel pipe: programs are never run as root"),
        ("user nosuchuser", "", "channel pipe: user nosuchuser: there is no such user"),
        ("user nobody", "IMTA_USER=games\n", "channel pipe: user nobody: this relay runs as games (IMTA_USER)"),
    ],
)
def test_users_that_cannot_be(tmp_path: Path, keywords: str, tailor: str, reason: str) -> None:
    faults = [str(fault) for fault in check_pipe(instance(tmp_path, keywords=keywords, tailor=tailor))]
    assert len(faults) == 1
    assert reason in faults[0]


def test_a_user_that_can_be(tmp_path: Path) -> None:
    assert check_pipe(instance(tmp_path, keywords="user nobody", programs="[PROGRAM=a]\nCOMMAND=/bin/true\n")) == []
