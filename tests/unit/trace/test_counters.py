"""Counting records: what each kind adds to which channel, in memory and in the files of several processes."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.store.lmtp_server.status_table import TABLE
from posthouse.trace.counter_file import MOST_ROWS, CounterFile, DamagedCounters, pack, read_all, unpack
from posthouse.trace.counters import PATIENCE, SAVE_SECONDS, Counters, StoreCounters
from posthouse.trace.figures import (
    CODES,
    RECEIVED,
    REJECTED,
    SUBMITTED,
    WIDTH,
    Rows,
    kinds,
    new_row,
    quota_refused,
    replies,
    waited,
)
from posthouse.trace.record import Action, Record

TS = "2026-11-23T10:00:00.310Z"


def enqueued(message: str, channel: str = "tcp_lmtpcs", *, copy: int = 0, size: int = 3) -> Record:
    file = f"/q/{channel}/007/ZZ{message}{copy}.00"
    return Record(ts=TS, ac=Action.ENQUEUED, sc="tcp_local", dc=channel, sz=size, ei=message, fi=file)


def dequeued(action: Action, message: str, *, size: int = 3) -> Record:
    return Record(ts=TS, ac=action, sc="tcp_lmtpcs", sz=size, ei=message, fi=f"/q/tcp_lmtpcs/007/ZZ{message}0.00", qt=1.5)


def stored(code: int, session: str, action: Action = Action.DEQUEUED) -> Record:
    return Record(ts=TS, ac=action, sc="tcp_lmtpss", dc="-", sz=2, tr=session, co=code)


def never(_seconds: float, _call: Callable[[], None]) -> None:
    """What is saved is saved at the end."""


def totals(folder: Path) -> Rows:
    found = read_all(folder)
    assert found.faults == ()
    return found.rows


def happened(row: list[int]) -> dict[str, tuple[int, int, int]]:
    """Messages, recipients and blocks of the kinds that happened."""
    return {kind: numbers for kind, numbers in kinds(row).items() if any(numbers)}


def test_a_message_is_counted_once_for_each_channel_and_its_source(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    counters.count([enqueued("A"), enqueued("A", "tcp_out"), enqueued("A"), enqueued("A", copy=1), enqueued("B", size=5)])
    counters.close()
    rows = totals(tmp_path)
    assert {channel: happened(row) for channel, row in rows.items()} == {
        "tcp_lmtpcs": {"received": (3, 4, 11)},
        "tcp_out": {"received": (1, 1, 3)},
        "tcp_local": {"submitted": (2, 5, 8)},
    }


def test_a_recipient_that_leads_where_another_leads_is_no_mail(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    counters.count([Record(ts=TS, ac=Action.ENQUEUED, ei="A", re="same as")])
    counters.close()
    assert totals(tmp_path) == {}


def test_what_leaves_the_queue(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    counters.count([dequeued(Action.DEQUEUED, "A"), dequeued(Action.PARTLY, "A"), dequeued(Action.DEFERRED, "B", size=0)])
    counters.count([dequeued(Action.RETURNED, "A"), dequeued(Action.DROPPED, "A")])
    counters.left("tcp_lmtpcs", 3, 1.5, 1)
    counters.left("tcp_lmtpcs", 4, 0.25, 0)
    counters.close()
    row = totals(tmp_path)["tcp_lmtpcs"]
    assert happened(row) == {"delivered": (2, 3, 7), "attempted": (2, 2, 3), "failed": (1, 2, 3)}
    assert waited(row) == ((2, 1.75), (1, 0.25))


def test_quota_refused_without_a_reply_and_heard_from_others(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    here, there = (
        Record(ts=TS, ac=Action.DEFERRED, sc=channel, co=422, tr=tr) for channel, tr in (("ims-ms", ""), ("lmtp", "TCP|"))
    )
    counters.count([here, there])
    counters.close()
    assert {channel: quota_refused(row) for channel, row in totals(tmp_path).items()} == {"ims-ms": 1, "lmtp": 0}


def test_refused_recipients_count_for_the_source_channel(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    refused = Record(ts=TS, ac=Action.REFUSED, sc="tcp_local", co=550)
    of_one = Record(ts=TS, ac=Action.REFUSED, sc="tcp_local", ei="A", co=550)
    counters.count([refused, refused, of_one, of_one])
    counters.close()
    assert totals(tmp_path)["tcp_local"][REJECTED : REJECTED + 3] == [3, 4, 0]


def test_connections_and_what_is_held_are_not_counted(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    counters.count([Record(ts=TS, ac=action, sc="tcp_local", dc="+") for action in (Action.OPENED, Action.CLOSED, Action.HELD)])
    counters.close()
    assert totals(tmp_path) == {}


def test_a_store_counts_its_replies(tmp_path: Path) -> None:
    counters = StoreCounters(tmp_path, never)
    ok = stored(250, "TCP|1")
    for_now, for_good = stored(422, "TCP|1", Action.DEFERRED), stored(511, "TCP|1", Action.RETURNED)
    counters.count([ok, ok, for_now, for_good, stored(250, "TCP|2"), stored(599, "TCP|2", Action.RETURNED)])
    counters.close()
    row = totals(tmp_path)["tcp_lmtpss"]
    assert happened(row) == {"received": (2, 3, 4), "delivered": (2, 3, 4), "attempted": (1, 1, 2), "failed": (2, 2, 4)}
    assert {code: n for code, n in replies(row).items() if n} == {250: 3, 422: 1, 511: 1, 0: 1}


def test_every_reply_of_the_status_table_has_a_place() -> None:
    assert set(CODES) == {row.code for row in TABLE}


def test_the_next_process_carries_on_in_the_first_free_file(tmp_path: Path) -> None:
    first, second = Counters(tmp_path, never), Counters(tmp_path, never)
    for counters in (first, second):
        counters.count([enqueued("A")])
        counters.close()
    third, fourth = Counters(tmp_path, never), Counters(tmp_path, never)
    third.count([enqueued("B")])
    fourth.count([enqueued("C")])
    third._save()
    fourth._save()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"], "two at once"
    third.close()
    fourth.close()
    assert totals(tmp_path)["tcp_lmtpcs"][RECEIVED] == 4


def test_a_second_life_in_the_same_process_counts_nothing_twice(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    for message in "AB":
        counters.count([enqueued(message)])
        counters.close()
    assert totals(tmp_path)["tcp_lmtpcs"][RECEIVED] == 2


def test_what_comes_within_a_moment_is_saved_once(tmp_path: Path) -> None:
    asked: list[tuple[float, Callable[[], None]]] = []
    counters = Counters(tmp_path, lambda *call: asked.append(call))
    counters.count([enqueued("A")])
    counters.count([enqueued("B")])
    counters.left("tcp_lmtpcs", 3, 0.0, 0)
    ((seconds, save),) = asked
    assert seconds == SAVE_SECONDS
    assert totals(tmp_path) == {}
    save()
    assert happened(totals(tmp_path)["tcp_lmtpcs"]) == {"received": (2, 2, 6), "delivered": (1, 0, 3)}
    counters.left("tcp_lmtpcs", 3, 0.0, 0)
    assert len(asked) == 2
    counters.close()
    asked[1][1]()
    assert happened(totals(tmp_path)["tcp_lmtpcs"])["delivered"] == (2, 0, 6)


@pytest.mark.parametrize("octets", [b"x", b"\0" * 4096, b"PHCOUNT1" + b"\xff" * 64, b"<html>" * 1000])
def test_a_damaged_file_is_told_once_and_counted_anew(tmp_path: Path, octets: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "1").write_bytes(octets)
    found = read_all(tmp_path)
    assert found.rows == {}
    assert found.faults[0].startswith(f"{tmp_path}/1: it is ")
    counters = Counters(tmp_path, never)
    for message in "AB":
        counters.count([enqueued(message)])
        counters._save()
    counters.close()
    assert totals(tmp_path)["tcp_lmtpcs"][RECEIVED] == 2
    assert len(caplog.messages) == 1
    assert "begin anew" in caplog.messages[0]


@given(changes=st.dictionaries(st.integers(0, 1000), st.integers(0, 255), max_size=30), length=st.integers(0, 1000))
def test_whatever_stands_in_a_file_it_has_rows_or_is_damaged(changes: dict[int, int], length: int) -> None:
    octets = bytearray(b"".join(pack({"tcp_lmtpcs": new_row(), "tcp_local": new_row()}))[:length])
    for at, octet in changes.items():
        if at < len(octets):
            octets[at] = octet
    with contextlib.suppress(DamagedCounters):
        assert all(len(row) == WIDTH and channel for channel, row in unpack(bytes(octets)).items())


def test_a_cut_file_is_damaged_wherever_it_is_cut(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    counters.count([enqueued("A")])
    counters.close()
    whole = (tmp_path / "1").read_bytes()
    for length in range(1, len(whole)):
        (tmp_path / "1").write_bytes(whole[:length])
        assert read_all(tmp_path).rows == {}, length
        assert len(read_all(tmp_path).faults) == 1, length


def test_files_that_cannot_be_kept_are_told_once_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "data" / "counters"
    asked: list[tuple[float, Callable[[], None]]] = []
    counters = Counters(folder, lambda *call: asked.append(call))
    counters.count([enqueued("A")])
    for message in "BC":
        asked.pop()[1]()
        counters.count([enqueued(message)])
        assert asked[0][0] == PATIENCE
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith("counters cannot be kept: No such file or directory; mail goes on")
    folder.parent.mkdir()
    asked.pop()[1]()
    counters.close()
    assert totals(folder)["tcp_lmtpcs"][RECEIVED] == 3


def test_a_full_disk_stops_nothing_and_counts_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters(tmp_path, never)
    counters.count([enqueued("A")])
    counters._save()
    write = os.pwrite

    def torn(fd: int, octets: bytes, offset: int) -> int:
        return write(fd, octets[: len(octets) // 2], offset)

    with monkeypatch.context() as patched:
        patched.setattr("posthouse.trace.counter_file.os.pwrite", torn)
        counters.count([enqueued("B", "tcp_out")])
        counters._save()
    counters.close()
    rows = totals(tmp_path)
    assert (rows["tcp_lmtpcs"][RECEIVED], rows["tcp_out"][RECEIVED], rows["tcp_local"][SUBMITTED]) == (1, 1, 2)


def test_a_file_removed_by_hand_is_made_anew_with_all_that_was_counted(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    counters.count([enqueued("A")])
    counters._save()
    (tmp_path / "1").unlink()
    counters.count([enqueued("B")])
    counters._save()
    assert totals(tmp_path)["tcp_lmtpcs"][RECEIVED] == 2
    counters.close()


def test_numbers_begin_again_behind_64_bits(tmp_path: Path) -> None:
    row = new_row()
    row[RECEIVED] = (1 << 64) - 1
    file = CounterFile.take(tmp_path)
    file.write({"tcp_lmtpcs": row})
    file.close()
    counters = Counters(tmp_path, never)
    counters.count([enqueued("A")])
    counters.close()
    assert totals(tmp_path)["tcp_lmtpcs"][RECEIVED : RECEIVED + 3] == [0, 1, 3]


def test_more_channels_than_a_file_has_rows_for_are_left_out(tmp_path: Path) -> None:
    counters = Counters(tmp_path, never)
    for number in range(MOST_ROWS + 5):
        counters.count([enqueued("A", f"channel{number}")])
    counters.close()
    counters = Counters(tmp_path, never)
    counters.count([enqueued("A", f"another{number}") for number in range(5)])
    counters.close()
    assert len(totals(tmp_path)) == MOST_ROWS


def test_nothing_is_counted_nowhere(tmp_path: Path) -> None:
    assert read_all(tmp_path / "missing") == ({}, ())
    assert not happened(new_row())


def test_rows_of_an_older_version_are_shorter(tmp_path: Path) -> None:
    name = b"tcp_lmtpcs".ljust(64, b"\0")
    old = b"PHCOUNT1" + (2).to_bytes(4, "little") + (1).to_bytes(4, "little") + name + bytes([7, *[0] * 7, 9, *[0] * 7])
    (tmp_path / "1").write_bytes(old)
    counters = Counters(tmp_path, never)
    counters.count([enqueued("A")])
    counters.close()
    assert totals(tmp_path)["tcp_lmtpcs"][RECEIVED : RECEIVED + 4] == [8, 10, 3, 0]
