"""`posthouse counters`: the table of `imsimta counters -show`, and what is shown after `clear`."""

import errno
import json
import os
from pathlib import Path

import pytest

from posthouse.cli.counter_facts import facts, since, table
from posthouse.cli.counters import clear, counters
from posthouse.trace.counter_file import CounterFile
from posthouse.trace.figures import FIRST, LATER, LEFT_RECIPIENTS, RECEIVED, REPLIES, SUBMITTED, Row, new_row


def row(*, received: tuple[int, int, int] = (0, 0, 0), delivered: tuple[int, int, int] = (0, 0, 0)) -> Row:
    numbers = new_row()
    numbers[RECEIVED : RECEIVED + 3] = received
    numbers[LATER], numbers[LEFT_RECIPIENTS], numbers[LATER + 1] = delivered
    return numbers


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    for name in ("config", "data"):
        (tmp_path / name).mkdir()
    return tmp_path


def put(instance: Path, **rows: Row) -> None:
    file = CounterFile.take(instance / "data" / "counters")
    file.write(dict(rows))
    file.close()


def shown(instance: Path, capsys: pytest.CaptureFixture[str], *channel: str) -> dict[str, dict[str, int]]:
    counters(channel=channel, instance=instance, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["faults"] == []
    return {name: each["received"] for name, each in found["channels"].items()}


def test_the_products_table(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = row(received=(13077, 13859, 264616), delivered=(985, 13768, 4978))
    numbers[SUBMITTED : SUBMITTED + 3] = (2594, 2594, 3641)
    numbers[FIRST : FIRST + 3], numbers[LATER + 2] = (12000, 260000, 6000), 2_591_000
    put(instance, tcp_intranet=numbers)
    counters(instance=instance)
    assert capsys.readouterr().out.splitlines() == [
        "Channel                Messages   Recipients Blocks",
        "---------------------- ---------- ---------- ----------",
        "tcp_intranet",
        "   Received              13077      13859     264616",
        "   Stored                   92         91       -362",
        "   Delivered             12985      13768     264978 (12000 first time)",
        "   Submitted              2594       2594       3641",
        "   Attempted                 0          0          0",
        "   Rejected                  0          0          0",
        "   Failed                    0          0          0",
        "   Queue time/count               2597.00/12985 = 0.20",
        "   Queue first time/count            6.00/12000 = 0.00",
    ]


def test_a_stores_replies_stand_below_its_channel() -> None:
    numbers = new_row()
    numbers[REPLIES : REPLIES + 4] = (1, 3, 0, 2)
    *_, last = table({"tcp_lmtpss": facts(numbers)})
    assert last == "   Replies   other: 1  250: 3  422: 2"


def test_nothing_was_counted(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counters(instance=instance)
    assert capsys.readouterr().out == "nothing was counted so far\n"
    clear(instance=instance)
    assert capsys.readouterr().out == "the counters of 0 channels begin anew\n"
    assert not (instance / "data" / "counters").exists(), "root may have typed it"


def test_channels_are_named_by_patterns(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(instance, tcp_lmtpcs=row(), tcp_local=row(), process=row())
    assert list(shown(instance, capsys)) == ["process", "tcp_lmtpcs", "tcp_local"]
    assert list(shown(instance, capsys, "TCP_*", "x")) == ["tcp_lmtpcs", "tcp_local"]
    with pytest.raises(SystemExit) as ended:
        counters(channel=("x",), instance=instance)
    assert ended.value.code == 66
    assert capsys.readouterr().err == "posthouse counters: nothing was counted of x\n"


def test_cleared_counters_show_what_comes(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(instance, a=row(received=(5, 6, 7)), b=row(received=(1, 1, 1)))
    clear(channel=("a",), instance=instance)
    assert capsys.readouterr().out == "the counters of 1 channels begin anew\n"
    put(instance, a=row(received=(7, 9, 11)), b=row(received=(2, 2, 2)))
    assert [list(each.values()) for each in shown(instance, capsys).values()] == [[2, 3, 4], [2, 2, 2]]
    clear(instance=instance)
    capsys.readouterr()
    assert [list(each.values()) for each in shown(instance, capsys).values()] == [[0, 0, 0], [0, 0, 0]]
    counters(instance=instance)
    assert capsys.readouterr().out.splitlines()[-1].startswith("last cleared 2"), "some of them perhaps"


def test_a_full_disk_clears_nothing(instance: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    put(instance, a=row(received=(5, 6, 7)))

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SystemExit) as ended:
        clear(instance=instance)
    assert ended.value.code == 74
    assert capsys.readouterr().err == f"posthouse counters: {instance}/data/counters: No space left on device\n"
    assert list(shown(instance, capsys)["a"].values()) == [5, 6, 7]
    assert [path.name for path in (instance / "data" / "counters").iterdir()] == ["1"]


def test_a_dry_run_clears_nothing(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(instance, a=row(received=(5, 6, 7)))
    clear(instance=instance, dry_run=True)
    assert capsys.readouterr().out == "the counters of 1 channels would begin anew\n"
    assert list(shown(instance, capsys)["a"].values()) == [5, 6, 7]


def test_mail_that_waited_when_they_were_cleared_is_less_than_nothing() -> None:
    before, now = row(received=(5, 5, 5)), row(received=(6, 6, 6), delivered=(6, 6, 6))
    assert facts(since({"a": now}, {"a": before})["a"])["stored"] == {"messages": -5, "recipients": -5, "blocks": -5}


def test_counters_counted_anew_since_are_whole() -> None:
    assert since({"a": row(received=(2, 3, 4))}, {"a": row(received=(5, 1, 4))})["a"][:3] == [2, 2, 0]


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_shown(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(instance, a=row(received=(5, 6, 7)))
    for name in ("2", "cleared"):
        (instance / "data" / "counters" / name).write_bytes(b"rubbish")
    with pytest.raises(SystemExit) as ended:
        counters(instance=instance, as_json=True)
    assert ended.value.code == 65
    said = capsys.readouterr()
    assert json.loads(said.out)["channels"]["a"]["received"]["messages"] == 5
    named = [f"posthouse counters: {instance}/data/counters/{name}: it is too short" for name in ("2", "cleared")]
    assert said.err.splitlines() == named


@pytest.mark.parametrize("name", ["2", "cleared"])
@pytest.mark.parametrize("kind", ["pipe", "endless", "folder", "link"])
def test_what_is_no_file_is_named_and_not_read(instance: Path, capsys: pytest.CaptureFixture[str], kind: str, name: str) -> None:
    """Root reads what the instance's user has put there."""
    put(instance, a=row(received=(5, 6, 7)))
    folder = instance / "data" / "counters"
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to("/dev/zero" if kind == "endless" else folder / "1")
    with pytest.raises(SystemExit) as ended:
        counters(instance=instance, as_json=True)
    assert ended.value.code == 65
    said = capsys.readouterr()
    assert json.loads(said.out)["channels"]["a"]["received"]["messages"] == 5
    reason = "it is no file" if kind in {"pipe", "folder"} else "Too many levels of symbolic links"
    assert said.err == f"posthouse counters: {folder}/{name}: {reason}\n"


def test_a_folder_that_cannot_be_read_is_said(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (instance / "data" / "counters").write_text("")
    with pytest.raises(SystemExit) as ended:
        counters(instance=instance)
    assert ended.value.code == 74
    assert capsys.readouterr().err == f"posthouse counters: {instance}/data/counters: Not a directory\n"
