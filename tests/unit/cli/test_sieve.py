"""`posthouse sieve`: faults with their lines, steps and actions, exit codes."""

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from posthouse.cli.sieve import app

SCRIPT = """require ["fileinto", "imap4flags"];
if header :contains "subject" "[list]" {
    fileinto :flags "\\\\Seen" "Lists";
} elsif size :over 1M {
    discard;
}
"""
MAIL = "From: a@outside.test\nTo: john.doe@example.com\nSubject: [list] hello\n\nbody\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    script, mail = tmp_path / "script.sieve", tmp_path / "mail"
    script.write_text(SCRIPT)
    mail.write_text(MAIL)
    return str(script), str(mail)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(list(arguments))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_good_script_has_no_fault(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", files[0]) == 0
    assert capsys.readouterr().out == ""


def test_every_fault_has_its_line(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text('keep;\nfileinto "x";\nif header :foo "a" "b" { nope; }\n')
    assert run("check", files[0]) == 65
    lines = [line.partition(":")[2] for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(":")[0] for line in lines] == ["2", "3", "3"]
    assert run("check", "--json", files[0]) == 65
    assert [fault["line"] for fault in json.loads(capsys.readouterr().out)["faults"]] == [2, 3, 3]


def test_steps_and_actions_are_shown(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("test", *files) == 0
    assert capsys.readouterr().out.splitlines() == [
        'line 2: header "[list] hello" :contains "[list]": yes',
        'line 3: action fileinto "Lists" with the flags \\Seen',
        '=> fileinto "Lists" with the flags \\Seen',
    ]


def test_json_has_the_actions(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[1]).write_text(MAIL.replace("[list] ", ""))
    assert run("test", "--json", *files) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["actions"] == [{"action": "keep", "folder": "INBOX", "flags": []}]
    assert shown["implicit_keep"] is True


def test_the_envelope_and_the_time_are_given(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text(
        'require ["envelope", "date", "variables", "fileinto"];\n'
        'if allof(envelope :matches "to" "*", currentdate :zone "+0000" "iso8601" "2026-11-23T10:00:00Z") { fileinto "${1}"; }\n'
    )
    assert run("test", *files, "--to", "sue@hosted.example.org", "--time", "2026-11-23T10:00:00Z") == 0
    assert capsys.readouterr().out.splitlines()[-1] == '=> fileinto "sue@hosted.example.org"'


def test_a_fault_of_the_run_keeps_the_message(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[0]).write_text('require "reject";\nkeep;\nreject "no";\n')
    assert run("test", *files) == 65
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "error: line 3: reject conflicts with another action of the script", "=> keep (implicit)",
    ]  # fmt: skip


def test_files_that_are_not_there(files: tuple[str, str]) -> None:
    assert run("check", files[0] + ".no") == 66
    assert run("test", files[0], files[1] + ".no") == 66
    assert run("test", *files, "--time", "noon") == 64


def test_standard_input_is_the_script_or_the_message(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script, message = files
    assert run("test", script, message) == 0
    shown = capsys.readouterr().out
    for arguments, given in ((("test", "-", message), script), (("test", script, "-"), message), (("check", "--", "-"), script)):
        monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(Path(given).read_bytes())))
        assert run(*arguments) == 0
        assert capsys.readouterr().out == (shown if arguments[0] == "test" else "")
    assert run("test", "-", "-") == 64
