"""Announcements and requests over a real socket, in a folder whose path is too long for a socket address."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthouse.relay.job_controller.client import Announcer, ControllerDown, request
from posthouse.relay.job_controller.control import Line, serve


class Heard:
    def __init__(self) -> None:
        self.synced_to: list[tuple[str, int]] = []
        self.gone = 0

    def synced(self, writer: object, segment: str, offset: int) -> None:
        self.synced_to.append((segment, offset))

    def writer_gone(self, writer: object) -> None:
        self.gone += 1

    def request(self, line: Line) -> dict[str, Any]:
        if line.op == "fail":
            raise ValueError("no such thing")
        return {"op": line.op, "all": line.all, "ids": line.ids}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    return deep / "job_controller.sock"


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.005)


async def test_announcements_are_cumulative_and_the_end_is_noticed(path: Path) -> None:
    heard = Heard()
    server = await serve(path, heard)
    announcer = Announcer(path)
    announcer.hello("a.seg")
    for offset in (100, 200, 300):
        announcer.synced("a.seg", offset)
    announcer.synced("b.seg", 50)
    await until(lambda: ("b.seg", 50) in heard.synced_to)
    assert ("a.seg", 300) in heard.synced_to, "the last word on the sealed segment is not lost"
    assert heard.gone == 0
    announcer.close()
    await until(lambda: heard.gone == 1)
    server.close()


async def test_announcements_that_follow_fast_are_gathered(path: Path) -> None:
    heard = Heard()
    server = await serve(path, heard)
    announcer = Announcer(path)
    announcer.hello("a.seg")
    await until(lambda: heard.synced_to == [("a.seg", 0)])
    for offset in (100, 200, 300, 400):
        announcer.synced("a.seg", offset)
    await until(lambda: heard.synced_to[-1] == ("a.seg", 400))
    assert not {("a.seg", 200), ("a.seg", 300)} & set(heard.synced_to), "what comes within GATHER is one announcement"
    announcer.close()
    server.close()


async def test_a_controller_that_comes_later_or_again_is_told(path: Path) -> None:
    announcer = Announcer(path)
    announcer.synced("a.seg", 100)
    first = Heard()
    server = await serve(path, first)
    await until(lambda: first.synced_to == [("a.seg", 100)])
    server.close()
    path.unlink()
    second = Heard()
    announcer._hang_up()
    announcer._later()
    announcer.synced("a.seg", 200)
    server = await serve(path, second)
    await until(lambda: second.synced_to == [("a.seg", 200)])
    announcer.close()
    server.close()


async def test_requests(path: Path) -> None:
    heard = Heard()
    server = await serve(path, heard)
    answer = await asyncio.to_thread(request, path, "retry", ids=["0T8K"], all=False)
    assert answer == {"op": "retry", "all": False, "ids": ["0T8K"]}
    answer = await asyncio.to_thread(request, path, "fail")
    assert answer == {"error": "no such thing"}
    assert path.stat().st_mode & 0o777 == 0o600
    server.close()


async def test_nonsense_closes_the_connection(path: Path) -> None:
    server = await serve(path, Heard())
    reader, writer = await asyncio.open_unix_connection(f"{Path(*path.parts)}" if len(str(path)) < 100 else _short(path))
    writer.write(b"hello\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    server.close()


def _short(path: Path) -> str:
    import os

    return f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY)}/{path.name}"


def test_nobody_there(path: Path) -> None:
    with pytest.raises(ControllerDown):
        request(path, "list", timeout=0.2)
