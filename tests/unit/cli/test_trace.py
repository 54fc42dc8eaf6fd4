"""`posthouse trace`: what it calls the ends of a copy, and a log that cannot be read."""

from pathlib import Path

import msgspec
import pytest

from posthouse.cli.trace import trace
from posthouse.trace.record import Action, Record


@pytest.mark.parametrize(
    ("transport", "text", "told"),
    [
        ("TCP|127.0.0.1|1|127.0.0.1|225", "<ann> OK", "delivered"),
        ("TCP|127.0.0.1|1|127.0.0.1|25", "rerouted", "delivered"),
        ("", "delivered to program print", "delivered"),
        ("", "rerouted", "sent elsewhere: an operator rerouted it"),
        ("", "re-enqueued", "addressed anew"),
        ("", "discarded; vacation answer sent", "discarded"),
    ],
)
def test_what_became_of_a_copy_is_said_in_plain_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], transport: str, text: str, told: str
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "imta.cnf").touch()
    (tmp_path / "log").mkdir()
    record = Record("2026-11-23T00:00:00.000Z", Action.DEQUEUED, tr=transport, co=250, en="2.0.0", tx=text, ei="0T8K", ri=0)
    (tmp_path / "log" / "transactions.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    trace("0T8K", instance=tmp_path)
    head, line = capsys.readouterr().out.splitlines()
    assert line[head.index("what") : head.index("message")].strip() == told


def test_a_log_that_cannot_be_read_is_said_and_is_66(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "imta.cnf").touch()
    (tmp_path / "log").touch()
    with pytest.raises(SystemExit) as ended:
        trace("somebody@example.com", instance=tmp_path)
    assert ended.value.code == 66
    assert capsys.readouterr().err == f"posthouse trace: {tmp_path}/log/transactions.jsonl: Not a directory\n"
