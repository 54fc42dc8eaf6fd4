"""What a name shows of messages: the recipient's part, the whole, what was made of it; a window of time; rotated files."""

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from posthouse.trace.reader import read_blocks
from posthouse.trace.record import Action, Record
from posthouse.trace.time_line import time_line
from posthouse.trace.writer import JSON_LOG

ENQUEUED, DELIVERED, RETURNED, DEFERRED = Action.ENQUEUED, Action.DEQUEUED, Action.RETURNED, Action.DEFERRED


def record(second: int, action: Action, message: str = "", recipient: int = -1, **more: Any) -> Record:  # fields of the record
    """One line, of the first minute of a day."""
    return Record(f"2026-11-23T00:00:{second:02d}.000Z", action, ei=message, ri=recipient, **more)


def member(second: int, action: Action, message: str, number: int, **more: str) -> Record:
    """A line of a list's member."""
    name = f"user{number}@example.com"
    return record(second, action, message, number, so="carl@outside.test", od="rfc822;list@example.com", ia=name, **more)


LIST = [
    record(1, ENQUEUED, "LIST", 0, so="carl@outside.test", od="rfc822;list@example.com", mi="<m@outside.test>"),
    *(member(2, ENQUEUED, "COPIES", number, ab="LIST") for number in (1, 2)),
    *(member(2, ENQUEUED, "OTHERS", number, ab="LIST") for number in (3, 4)),
    record(3, DELIVERED, "LIST", 0, od="rfc822;list@example.com"),
    member(4, DELIVERED, "COPIES", 1, tr="TCP", ab="LIST"),
    record(5, ENQUEUED, "NOTICE", 0, od="rfc822;carl@outside.test", ab="COPIES"),
    member(6, RETURNED, "COPIES", 2, ab="LIST"),
    record(7, DELIVERED, "NOTICE", 0, od="rfc822;carl@outside.test", ab="COPIES", tr="TCP"),
]


def kept(folder: Path, *records: Record, name: str = JSON_LOG) -> Path:
    """The folder, with these in a log."""
    (folder / name).write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in records))
    return folder


def shown(folder: Path, *wanted: str) -> list[tuple[str, str, int]]:
    return [(r.ac, r.ei, r.ri) for r in time_line(folder, *wanted)]


def test_a_members_name_shows_his_copy_and_no_others(tmp_path: Path) -> None:
    kept(tmp_path, *LIST)
    assert shown(tmp_path, "user1@example.com") == [("E", "LIST", 0), ("E", "COPIES", 1), ("D", "LIST", 0), ("D", "COPIES", 1)]


def test_what_came_of_a_members_copy_is_shown_with_it(tmp_path: Path) -> None:
    kept(tmp_path, *LIST)
    assert shown(tmp_path, "user2@example.com") == [
        ("E", "LIST", 0), ("E", "COPIES", 2), ("D", "LIST", 0), ("E", "NOTICE", 0), ("R", "COPIES", 2), ("D", "NOTICE", 0)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["LIST", "OTHERS", "NOTICE", "<m@outside.test>", "carl@outside.test"])
def test_by_an_id_or_the_sender_all_of_it_is_shown(tmp_path: Path, name: str) -> None:
    assert time_line(kept(tmp_path, *LIST), name) == LIST


def test_several_names_must_all_fit(tmp_path: Path) -> None:
    other = member(9, ENQUEUED, "PRIVATE", 1)
    kept(tmp_path, *LIST, other)
    assert {message for _, message, _ in shown(tmp_path, "user1@example.com", "m@outside.test")} == {"LIST", "COPIES"}
    assert ("E", "COPIES", 2) not in shown(tmp_path, "user1@example.com", "carl@outside.test")
    assert shown(tmp_path, "user1@example.com", "user3@example.com")[1:3] == [("E", "COPIES", 1), ("E", "OTHERS", 3)]
    assert shown(tmp_path, "user1@example.com", "nobody@outside.test") == []


def test_two_recipients_of_one_message_are_both_shown(tmp_path: Path) -> None:
    names = "ann@example.com", "bob@example.com"
    both = [record(1, ENQUEUED, "M", number, od=f"rfc822;{name}") for number, name in enumerate((*names, "eve@example.com"))]
    assert time_line(kept(tmp_path, *both), *names) == both[:2]


def test_a_refusal_is_found_by_the_client_and_by_who_logged_in(tmp_path: Path) -> None:
    refused = record(1, Action.REFUSED, so="carl@outside.test", od="rfc822;ann@example.com", ss="helo.test [192.0.2.7]")
    login = record(2, Action.LOGIN_REFUSED, us="ann", ss="helo.test [192.0.2.8]")
    kept(tmp_path, refused, login)
    assert time_line(tmp_path, "192.0.2.7") == [refused]
    assert time_line(tmp_path, "192.0.2.7", "ann@example.com") == [refused]
    assert time_line(tmp_path, "Ann", "192.0.2.8") == [login]
    assert time_line(tmp_path, "ann", "192.0.2.7") == []


def test_a_store_knows_its_users_by_their_address(tmp_path: Path) -> None:
    ann = record(1, DELIVERED, "M", 0, od="rfc822;ann+Lists", de="user/ann/Lists")
    hosted = record(2, DELIVERED, "N", 0, od="rfc822;ann@hosted.test", de="user/ann@hosted.test")
    kept(tmp_path, ann, hosted)
    assert time_line(tmp_path, "ann@example.com", bare="example.com") == [ann]
    assert time_line(tmp_path, "ann") == [ann]
    assert time_line(tmp_path, "ann@hosted.test", bare="example.com") == [hosted]
    assert time_line(tmp_path, "ann@example.org", bare="example.com") == []


def test_a_window_asks_for_messages_and_shows_them_whole(tmp_path: Path) -> None:
    first, retried = (record(second, DEFERRED, "M", 0, od="rfc822;ann@example.com") for second in (1, 30))
    kept(tmp_path, first, retried, record(10, ENQUEUED, "N", 0, od="rfc822;ann@example.com"))
    midnight = 1795392000.0
    assert time_line(tmp_path, "ann@example.com", since=midnight + 20) == [first, retried]
    assert len(time_line(tmp_path, "ann@example.com", since=midnight + 5, until=midnight + 20)) == 1


def test_rotated_files_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    records = [record(second, DEFERRED, "M", 0) for second in (1, 2, 3)]
    kept(tmp_path, records[2])
    kept(tmp_path, records[1], name=JSON_LOG + "-20261122")
    kept(tmp_path, records[0], name=JSON_LOG + ".2")
    (tmp_path / (JSON_LOG + ".2.gz")).write_bytes(gzip.compress((tmp_path / (JSON_LOG + ".2")).read_bytes()))
    (tmp_path / (JSON_LOG + ".2")).unlink()
    assert time_line(tmp_path, "M") == records
    os.utime(tmp_path / (JSON_LOG + "-20261122"), (0, 0))
    assert time_line(tmp_path, "M", since=1.0) == [records[0], records[2]], "nothing newer can stand in it"


def test_a_name_of_any_characters_is_found(tmp_path: Path) -> None:
    odd = '"Gr\\"öe"@example.com'
    kept(tmp_path, record(1, ENQUEUED, "M", 0, od=f"rfc822;{odd}"))
    assert shown(tmp_path, odd.upper()) == [("E", "M", 0)]


def test_memory_is_taken_by_what_is_shown(tmp_path: Path) -> None:
    lines = [record(1, ENQUEUED, f"ID{number}", 0, mi=f"<{number}@outside.test>", di="x" * 400) for number in range(5000)]
    kept(tmp_path, *lines)
    tracemalloc.start()
    assert len(time_line(tmp_path, "4711@outside.test")) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (tmp_path / JSON_LOG).stat().st_size


def test_a_command_that_was_refused_is_found_by_the_address_in_it(tmp_path: Path) -> None:
    too_large = record(1, Action.BAD_COMMAND, de="mail FROM:<Big@outside.test> SIZE=999999999", ss="helo.test [192.0.2.7]")
    kept(tmp_path, too_large)
    assert time_line(tmp_path, "big@outside.test", "192.0.2.7") == [too_large]
    assert time_line(tmp_path, "outside.test") == []


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
def test_a_compressed_log_is_read_and_a_damaged_one_is_named(tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]) -> None:
    first, second = record(1, ENQUEUED, "M", 0), record(2, DELIVERED, "M", 0)
    kept(tmp_path, second)
    packed = pack(msgspec.json.encode(first) + b"\n")
    (tmp_path / (JSON_LOG + ".1" + ending)).write_bytes(packed)
    assert time_line(tmp_path, "M") == [first, second]
    for damaged in (packed[:-3], packed[:12] + bytes(each ^ 0x55 for each in packed[12:]), b"x" * 40):
        (tmp_path / (JSON_LOG + ".1" + ending)).write_bytes(damaged)
        with pytest.raises(OSError, match=r"transactions\.jsonl\.1\.") as refused:
            time_line(tmp_path, "M")
        assert refused.value.strerror


def test_what_is_being_compressed_is_read_once(tmp_path: Path) -> None:
    both = record(1, ENQUEUED, "M", 0), record(2, DELIVERED, "M", 0)
    kept(tmp_path, both[0], name=JSON_LOG + ".1")
    (tmp_path / (JSON_LOG + ".1.gz")).write_bytes(b"\x1f\x8b")
    assert time_line(kept(tmp_path, both[1]), "M") == list(both)


def test_a_rotation_while_it_is_read_takes_nothing_away(tmp_path: Path) -> None:
    records = [record(second, DEFERRED, "M", 0) for second in (1, 2, 3)]
    for each, name in zip(records, (".2", ".1", ""), strict=True):
        kept(tmp_path, each, name=JSON_LOG + name)
    for number, name in enumerate((".2", ".1", "")):
        os.utime(tmp_path / (JSON_LOG + name), (number + 1, number + 1))
    blocks = read_blocks(tmp_path)
    read = [next(blocks)]
    for old, new in ((".2", ".3"), (".1", ".2"), ("", ".1")):
        (tmp_path / (JSON_LOG + old)).rename(tmp_path / (JSON_LOG + new))
    assert sorted([*read, *blocks]) == [msgspec.json.encode(each) + b"\n" for each in records]


def test_a_log_comes_in_few_blocks_of_whole_lines(tmp_path: Path) -> None:
    """Each costs as much as a hundred lines."""
    records = [record(1, ENQUEUED, f"M{number}", 0, so="x" * (number % 3000)) for number in range(700)]
    log = kept(tmp_path, *records) / JSON_LOG
    blocks = list(read_blocks(tmp_path))
    assert b"".join(blocks) == log.read_bytes()
    assert len(blocks) <= 2 + log.stat().st_size // 262_144
    assert all(block.endswith(b"\n") for block in blocks)


def test_a_message_id_may_have_a_comma(tmp_path: Path) -> None:
    kept(tmp_path, record(1, ENQUEUED, "M", 0, mi="<a,b@outside.test>"), record(2, ENQUEUED, "N", 0, mi="<n@x.test>,<o@x.test>"))
    assert shown(tmp_path, "a,b@outside.test") == [("E", "M", 0)]
    assert shown(tmp_path, "<o@x.test>") == [("E", "N", 0)]


def test_what_was_made_of_a_copy_that_was_addressed_anew_is_shown_with_it(tmp_path: Path) -> None:
    anew = record(2, DELIVERED, "M", 0, od="rfc822;ann@example.com", tx="rerouted")
    other = record(2, DELIVERED, "M", 1, od="rfc822;bob@example.com", tr="TCP")
    made = record(3, ENQUEUED, "N", 0, od="rfc822;at@store2.test", ab="M")
    kept(tmp_path, anew, other, made)
    assert time_line(tmp_path, "ann@example.com") == [anew, made]
    assert time_line(tmp_path, "bob@example.com") == [other]


def test_two_names_of_one_recipient_show_him_alone(tmp_path: Path) -> None:
    both = [
        record(1, DELIVERED, "M", n, od="rfc822;team@example.com", de=name, tr="TCP") for n, name in enumerate(("ann", "bob"))
    ]
    kept(tmp_path, *both)
    assert time_line(tmp_path, "team@example.com") == both
    assert time_line(tmp_path, "team@example.com", "ann") == both[:1]
