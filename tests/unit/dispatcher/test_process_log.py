"""The process log: lines on stderr, and what becomes of them when nobody reads it."""

import contextlib
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from posthouse.dispatcher import process_log
from posthouse.dispatcher.process_log import open_process_log


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_one_event_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    open_process_log("smtp").warning("two\nlines %d", 1)
    (line,) = said.getvalue().splitlines()
    assert line.endswith(f" smtp[{os.getpid()}] warning: two\\nlines 1")


def test_a_log_that_nobody_reads_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_log, "PATIENCE_SECONDS", 0.1)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as read, os.fdopen(writer, "w", encoding="utf-8") as said:
        monkeypatch.setattr(sys, "stderr", said)
        log = open_process_log("smtp")
        began = time.monotonic()
        for number in range(2000):
            log.warning("line %d of more than a pipe takes: %s", number, "x" * 200)
        assert time.monotonic() - began < 20, "a pipe takes some 300; without an end this stands still for ever"
        os.set_blocking(reader, False)
        while read.read(65536):
            pass
        log.warning("read again")
        lines = (read.read(65536) or b"").decode().splitlines()
    assert " lines of process " in lines[0]
    assert lines[1].endswith("warning: read again")


def test_a_full_disk_costs_lines_and_no_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    said, told = open("/dev/full", "w", encoding="utf-8"), io.StringIO()  # noqa: SIM115, PTH123 - closing it fails, too
    monkeypatch.setattr(sys, "stderr", said)
    log = open_process_log("smtp")
    monkeypatch.setattr(sys, "stderr", told)  # where logging tells of its own errors
    for _ in range(3):
        log.warning("not written")
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.stream = told  # `setStream` would flush what cannot be written
    log.warning("written")
    first, second = told.getvalue().splitlines()
    assert first == f"3 lines of process {os.getpid()} are missing here: they could not be written"
    assert second.endswith("warning: written")
    with contextlib.suppress(OSError):
        said.close()


def test_a_long_trace_is_given_up_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_log, "PATIENCE_SECONDS", 0.1)
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "w", encoding="utf-8") as said:
        monkeypatch.setattr(sys, "stderr", said)
        open_process_log("smtp").warning("x" * 1_000_000)


@pytest.mark.parametrize("character", ["x", "\u00fc", "\udc80", "\U0001f600"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_what_is_written_at_once_has_room_in_a_pipe_with_one_free_page(
    monkeypatch: pytest.MonkeyPatch, character: str, encoding: str
) -> None:
    monkeypatch.setattr(process_log, "PATIENCE_SECONDS", 0.1)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb"), os.fdopen(writer, "w", encoding=encoding, errors="backslashreplace") as said:
        monkeypatch.setattr(sys, "stderr", said)
        os.write(writer, b"x" * (1 << 20))  # as much as it takes
        os.read(reader, 4096)
        os.set_blocking(writer, True)
        ending = threading.Timer(20.0, os.read, (reader, 1 << 20))  # else a fault would stand still for ever
        ending.start()
        open_process_log("smtp").warning(character * 1000)
        assert ending.is_alive(), "it waited for somebody to read"
        ending.cancel()
