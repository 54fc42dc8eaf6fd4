import resource
from pathlib import Path

import pytest

from posthouse.trace.counters import Counters
from posthouse.trace.options import LogOptions
from posthouse.trace.reader import read_records
from posthouse.trace.record import Action, Record
from posthouse.trace.time_line import time_line
from posthouse.trace.writer import JSON_LOG, TEXT_LOG, TransactionLog, stamp

ACCEPTED = Record(
    ts="2026-11-23T10:00:00.310Z",
    ac=Action.ENQUEUED,
    sc="tcp_local",
    dc="tcp_lmtpcs",
    sz=2,
    so="a@example.org",
    od="rfc822;bob@example.com",
    de="@store1.example.com.lmtp:bob@lmtpcs-daemon",
    ei="0T8K00A01BCDEF",
    mi="<m1@example.org>",
    fi="/q/tcp_lmtpcs/007/ZZ0T8K00A01BCDEF0.00",
)
DELIVERED = Record(ts="2026-11-23T10:00:01.070Z", ac=Action.DEQUEUED, sc="tcp_lmtpcs", ei="0T8K00A01BCDEF", de="bob")
OTHER = Record(
    ts="2026-11-23T10:00:00.500Z", ac=Action.ENQUEUED, sc="tcp_quiet", dc="tcp_quiet", ei="0T8K00A01OTHER", so="x@example.org"
)


def _log(folder: Path) -> TransactionLog:
    counters = Counters(folder / "counters", lambda *_: None)  # nothing is kept of them
    return TransactionLog(folder, LogOptions(), {"tcp_lmtpcs"}, counters)


def test_everything_goes_to_json_and_logging_channels_to_the_text(tmp_path: Path) -> None:
    _log(tmp_path).write([ACCEPTED, OTHER])
    assert list(read_records(tmp_path)) == [ACCEPTED, OTHER]
    assert (tmp_path / TEXT_LOG).read_text().count("\n") == 1


def test_a_rotated_file_is_opened_anew(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.write([ACCEPTED])
    (tmp_path / JSON_LOG).rename(tmp_path / (JSON_LOG + ".1"))
    log._json._looked = float("-inf")
    log.write([DELIVERED])
    assert (tmp_path / JSON_LOG).read_bytes().count(b"\n") == 1
    assert list(read_records(tmp_path)) == [ACCEPTED, DELIVERED]


def test_a_log_that_cannot_be_written_is_told_once_and_no_exception(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = _log(tmp_path / "missing")
    for _ in range(3):
        log.write([OTHER])
    assert len(caplog.messages) == 1
    assert f"{JSON_LOG} cannot be written: No such file or directory; mail goes on" in caplog.messages[0]
    (tmp_path / "missing").mkdir()
    log.write([ACCEPTED])
    assert caplog.messages[1:] == [f"{tmp_path}/missing/{JSON_LOG} can be written again; some 3 records are missing"]
    assert list(read_records(tmp_path / "missing")) == [ACCEPTED]


def test_a_line_cut_short_by_a_full_disk_spoils_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = _log(tmp_path)
    log.write([OTHER])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / JSON_LOG).stat().st_size + 20, hard))
    try:
        log.write([OTHER])
        log.write([OTHER])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write([ACCEPTED])
    assert list(read_records(tmp_path)) == [OTHER, ACCEPTED]
    assert [message.rpartition("; ")[2] for message in caplog.messages][1:] == ["some 2 records are missing"]


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    _log(tmp_path).write([ACCEPTED])
    with (tmp_path / JSON_LOG).open("ab") as file:
        file.write(b'{"ts": "2026-')
    assert list(read_records(tmp_path)) == [ACCEPTED]


def test_a_message_is_found_by_every_name_it_has(tmp_path: Path) -> None:
    _log(tmp_path).write([DELIVERED, ACCEPTED, OTHER])
    names = [
        "0T8K00A01BCDEF",
        "<m1@example.org>",
        "m1@example.org",
        "a@example.org",
        "Bob@Example.com",
        "bob",
        "ZY0T8K00A01BCDEF0.00",
    ]
    for name in names:
        assert time_line(tmp_path, name) == [ACCEPTED, DELIVERED], name


def test_a_notice_shows_in_its_message_s_time_line(tmp_path: Path) -> None:
    notice = Record(
        ts="2026-11-23T10:00:02.000Z",
        ac=Action.ENQUEUED,
        sc="tcp_lmtpcs",
        dc="process",
        ei="0T8K00A01NOTICE",
        ab="0T8K00A01BCDEF",
    )
    _log(tmp_path).write([ACCEPTED, DELIVERED, notice])
    assert time_line(tmp_path, "0T8K00A01BCDEF") == [ACCEPTED, DELIVERED, notice]


def test_stamp_is_utc_with_milliseconds() -> None:
    assert stamp(1795428000.1239) == "2026-11-23T10:00:00.123Z"


def test_a_recipient_is_known_by_what_the_store_was_told(tmp_path: Path) -> None:
    active = "@store1.example.com.lmtp:jdoe+Lists/python@lmtpcs-daemon"
    filed = Record(ts="2026-11-23T10:00:00.310Z", ac=Action.ENQUEUED, ei="1", de=active)
    other = Record(ts="2026-11-23T10:00:01.310Z", ac=Action.ENQUEUED, ei="2", de="jdoe@remote.test")
    _log(tmp_path).write([filed, other])
    for name in ("jdoe+lists/python", "<jdoe+Lists/python>", "@store1.example.com.LMTP:jdoe+Lists/python@lmtpcs-daemon"):
        assert time_line(tmp_path, name) == [filed], name
    assert time_line(tmp_path, "jdoe") == []


def test_what_another_process_appends_to_a_torn_line_is_found(tmp_path: Path) -> None:
    log = _log(tmp_path)
    log.write([OTHER])
    path = tmp_path / JSON_LOG
    path.write_bytes(path.read_bytes()[:-30])
    other = _log(tmp_path)
    other.write([ACCEPTED, DELIVERED])
    assert list(read_records(tmp_path)) == [ACCEPTED, DELIVERED]
