"""`posthouse trace`: what it calls the ends of a copy, and a log that cannot be read."""

import gzip
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
    why = f"posthouse trace: {tmp_path}/log/transactions.jsonl: Not a directory\n"
    assert capsys.readouterr().err == f"{why}posthouse trace: nothing is known of somebody@example.com in what could be read\n"


def test_one_damaged_log_is_said_once_and_is_66_and_the_others_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    for folder in (tmp_path / "config", log):
        folder.mkdir()
    (tmp_path / "config" / "imta.cnf").touch()
    times = [f"2026-11-23T00:00:0{second}.000Z" for second in range(3)]
    lines = [msgspec.json.encode(Record(each, Action.DEFERRED, ei="M", ri=n, co=422)) + b"\n" for n, each in enumerate(times)]
    (log / "transactions.jsonl").write_bytes(lines[2])
    (log / "transactions.jsonl.1").write_bytes(lines[1])
    (log / "transactions.jsonl.2.gz").write_bytes(gzip.compress(lines[0] + b"{" * 10_000)[:-3])
    with pytest.raises(SystemExit) as ended:
        trace("M", instance=tmp_path)
    assert ended.value.code == 66
    told = capsys.readouterr()
    assert [line[:24] for line in told.out.splitlines()[1:]] == times
    assert told.err.count("transactions.jsonl.2.gz: cut short or damaged: ") == told.err.count("\n") == 1


def _told(tmp_path: Path, capsys: pytest.CaptureFixture[str], record: Record) -> dict[str, str]:
    """The table's cells of one record, by column."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "imta.cnf").touch()
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "transactions.jsonl").write_bytes(msgspec.json.encode(record) + b"\n")
    trace("M", instance=tmp_path)
    head, line = capsys.readouterr().out.splitlines()
    begins = {name: head.index(name) for name in head.split()}
    ends = [*list(begins.values())[1:], len(line)]
    return {name: line[begin:end].strip() for (name, begin), end in zip(begins.items(), ends, strict=True)}


NOW = "2026-11-23T00:00:00.000Z"


def test_a_refusal_tells_who_from_where_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _told(tmp_path, capsys, Record(
        NOW, Action.REFUSED, sc="tcp_local", so="carl@outside.test", od="rfc822;ann@example.com", de="ann@example.com", ei="M",
        ss="helo.test [192.0.2.7]", re="mailUserStatus disabled of uid=ann", co=550, en="5.2.1", tx="user disabled",
    ))  # fmt: skip
    assert told["from"] == "carl@outside.test"
    assert told["where"] == "helo.test [192.0.2.7]"
    assert told["reply"] == "550 5.2.1 user disabled (mailUserStatus disabled of uid=ann)"


def test_a_member_stands_before_his_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _told(tmp_path, capsys, Record(NOW, Action.DEFERRED, od="rfc822;team@example.com", ia="ann@example.com", ei="M", ri=3))
    assert told["recipient"] == "ann@example.com (team@example.com)"
    assert told["from"] == "<>"


def test_a_store_tells_mailbox_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = _told(tmp_path, capsys, Record(
        NOW, Action.DEQUEUED, sc="tcp_lmtpss", dc="-", od="rfc822;ann+Lists", de="user/ann/Lists", ei="M", ri=0,
        fi="1.M2P3.store1", co=250, en="2.5.0", tx="OK",
    ))  # fmt: skip
    assert (told["channel"], told["where"]) == ("tcp_lmtpss", "user/ann/Lists")
    assert told["reply"] == "250 2.5.0 OK (1.M2P3.store1)"


def test_a_time_that_is_none_is_64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").mkdir()
    with pytest.raises(SystemExit) as ended:
        trace("M", since="yesterday", instance=tmp_path)
    assert ended.value.code == 64
    assert "--since yesterday: not a time" in capsys.readouterr().err


def test_of_the_same_again_and_again_the_first_and_the_last_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "log").mkdir()
    tries = [(0, "full"), (1, "full"), (0, "full"), (0, "full"), (0, "full"), (0, "down")]
    records = [
        Record(f"2026-11-23T00:00:{second:02d}.000Z", Action.DEFERRED, od="rfc822;ann", ei="M", ri=number, co=422, tx=why)
        for second, (number, why) in enumerate(tries)
    ]
    (tmp_path / "log" / "transactions.jsonl").write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in records))
    trace("M", instance=tmp_path)
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()[1:]]
    assert [(line[0][17:19], line[1]) for line in lines] == [
        ("00", "deferred"), ("01", "deferred"), ("04", "deferred, 4 times"), ("05", "deferred")
    ]  # fmt: skip
    trace("M", instance=tmp_path, as_json=True)
    assert capsys.readouterr().out.count('"action"') == len(records)


@pytest.mark.parametrize("text", ["99999999999999999999999999999d", "\u0663h", "bogus", "2026-13-01"])
def test_what_is_no_time_is_64(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "imta.cnf").touch()
    with pytest.raises(SystemExit) as ended:
        trace("M", since=text, instance=tmp_path)
    assert ended.value.code == 64
    assert f"--since {text}: not a time" in capsys.readouterr().err
