import os
import time
from collections.abc import Iterator

import pytest

from posthouse.trace.options import LogOptions
from posthouse.trace.record import Action, Record
from posthouse.trace.text_line import TextLines


@pytest.fixture(autouse=True)
def _utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


ENQUEUED = Record(
    ts="1998-01-19T19:16:57.640Z",
    ac=Action.ENQUEUED,
    sc="l",
    dc="tcp_local",
    sz=1,
    so="adam@sesta.com",
    od="rfc822;marlowe@siroe.com",
    de="marlowe@siroe.com",
    fi="/imta/queue/tcp_local/ZZ01ISKLSKLZLI90N15M.00",
    mi="<01ISKLSKC2QC90N15M@sesta.com>",
)
DEQUEUED = Record(
    ts="1998-01-19T19:17:01.160Z",
    ac=Action.DEQUEUED,
    sc="tcp_local",
    sz=1,
    so="adam@sesta.com",
    od="rfc822;marlowe@siroe.com",
    de="marlowe@siroe.com",
    di="dns;thor.siroe.com (TCP|206.184.139.12|2788|192.160.253.66|25) (THOR) smtp;250 2.1.5 ok",
)


def test_the_enqueue_line_of_the_guide() -> None:
    assert TextLines(LogOptions()).render(ENQUEUED) == (
        "19-Jan-1998 19:16:57.64 l            tcp_local    E 1 adam@sesta.com rfc822;marlowe@siroe.com marlowe@siroe.com\n"
    )


def test_file_and_message_id_follow_the_addresses() -> None:
    line = TextLines(LogOptions(filename=True, message_id=True)).render(ENQUEUED)
    assert line.endswith(" marlowe@siroe.com /imta/queue/tcp_local/ZZ01ISKLSKLZLI90N15M.00 <01ISKLSKC2QC90N15M@sesta.com>\n")


def test_a_dequeue_line_has_a_blank_destination_and_the_diagnostic() -> None:
    line = TextLines(LogOptions()).render(DEQUEUED)
    assert line.startswith("19-Jan-1998 19:17:01.16 tcp_local                 D 1 adam@sesta.com ")
    assert line.endswith("(THOR) smtp;250 2.1.5 ok\n")


def test_format_2_shows_the_null_sender() -> None:
    record = Record(ts=ENQUEUED.ts, ac=Action.ENQUEUED, sc="process", dc="tcp_lmtpcs", sz=2, od="rfc822;a@b", de="a")
    assert " E 2 <> rfc822;a@b a\n" in TextLines(LogOptions(format=2)).render(record)


def test_format_3_counts_the_variable_fields() -> None:
    assert " 14:adam@sesta.com 24:rfc822;marlowe@siroe.com 17:marlowe@siroe.com\n" in TextLines(LogOptions(format=3)).render(
        ENQUEUED
    )


def test_format_4_is_one_element() -> None:
    line = TextLines(LogOptions(format=4, filename=True)).render(ENQUEUED)
    assert line.startswith('<en ts="19-Jan-1998 19:16:57.64" sc="l" dc="tcp_local" ac="E" sz="1" so="adam@sesta.com"')
    assert line.endswith('fi="/imta/queue/tcp_local/ZZ01ISKLSKLZLI90N15M.00"/>\n')


def test_a_connection_line_shows_direction_and_transport() -> None:
    record = Record(
        ts="2026-11-23T10:00:00.100Z",
        ac=Action.OPENED,
        sc="tcp_local",
        dc="+",
        tr="TCP|192.0.2.7|25|198.51.100.3|51000",
        ap="SMTP",
    )
    assert TextLines(LogOptions()).render(record) == (
        "23-Nov-2026 10:00:00.10 tcp_local    +            O TCP|192.0.2.7|25|198.51.100.3|51000 SMTP\n"
    )


def test_control_characters_cannot_make_a_second_line() -> None:
    record = Record(ts=ENQUEUED.ts, ac=Action.BAD_COMMAND, sc="tcp_local", de="X\r\n19-Jan-1998 forged", di="500")
    line = TextLines(LogOptions()).render(record)
    assert line.count("\n") == 1
    assert "X\\x0D\\x0A19-Jan-1998 forged" in line
