"""Control sockets: any length of path, only for the owner, faults told, silence survived. And the log's one line."""

import asyncio
import logging
import os
import socket
import stat
from pathlib import Path

import pytest

from posthouse.dispatcher import control
from posthouse.dispatcher.process_log import open_process_log


async def answer(request: control.Answer) -> control.Answer:
    if request.get("op") == "fail":
        raise RuntimeError("as asked")
    return {"echo": request}


async def served(path: Path) -> control.ControlServer:
    server = control.ControlServer(control.bind_unix(path), answer)
    await server.start()
    return server


async def test_question_and_answer_at_a_path_of_any_length(tmp_path: Path) -> None:
    folder = tmp_path / ("n" * 150)
    folder.mkdir()
    server = await served(folder / "c.sock")
    assert await control.ask_async(folder / "c.sock", {"op": "x", "text": "é"}) == {"echo": {"op": "x", "text": "é"}}
    assert stat.S_IMODE((folder / "c.sock").stat().st_mode) == 0o600
    server.close()


async def test_a_fault_in_the_answer_is_told_and_the_next_question_answered(tmp_path: Path) -> None:
    server = await served(tmp_path / "c.sock")
    assert await control.ask_async(tmp_path / "c.sock", {"op": "fail"}) == {"error": "RuntimeError: as asked"}
    reader, writer = await asyncio.open_unix_connection(tmp_path / "c.sock")
    writer.write(b"no json\n")
    assert b'"error"' in await reader.readline()
    writer.close()
    assert (await control.ask_async(tmp_path / "c.sock", {"op": "y"}))["echo"] == {"op": "y"}
    server.close()


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(control.NotRunning):
        control.ask(tmp_path / "none.sock", {"op": "status"})
    with pytest.raises(control.NotRunning):
        control.ask(tmp_path / "no" / "folder.sock", {"op": "status"})


def test_a_listener_that_never_answers_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with control.bind_unix(tmp_path / "mute.sock"), pytest.raises(control.NotRunning, match="no answer"):
        control.ask(tmp_path / "mute.sock", {"op": "status"}, 0.05)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    control.bind_unix(tmp_path / "c.sock").close()
    with control.bind_unix(tmp_path / "c.sock"), control.connect_unix(tmp_path / "c.sock", 1.0) as client:
        assert client.family == socket.AF_UNIX


def test_what_is_not_our_socket_is_not_given_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("somebody's")
    (tmp_path / "link").symlink_to("file")
    with control.bind_unix(tmp_path / "c.sock", (os.geteuid(), os.getegid())) as listening:
        assert listening.getsockname()
        (tmp_path / "second").hardlink_to(tmp_path / "c.sock")
        folder = os.open(tmp_path, os.O_RDONLY)
        for name in ("file", "link", "c.sock"):
            with pytest.raises(PermissionError):
                control._give(folder, name, (os.geteuid(), os.getegid()))
        os.close(folder)


def test_an_event_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        open_process_log("tester").warning("first\nsecond %s", "third")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert line.endswith("] warning: first\\nsecond third\n")
    assert " tester[" in line
    assert line[10] == "T"
