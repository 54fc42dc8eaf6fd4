"""`LmtpServer` before a coroutine of a program's own: replies, limits, failures, the end; under asyncio and uvloop."""

import asyncio
import contextlib
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from posthouse.lmtp_client import LmtpClient, LmtpClientError, Result
from posthouse.mail.status import Status
from posthouse.store.lmtp_server import Limits, LmtpServer
from support.store_files import LmtpTalk

OK = Status(250, "2.1.5", "stored")
MESSAGE = b"Subject: x\n\n.dot\ntext\n"
Deliver = Callable[[str, str, bytes], Awaitable[Status]]


@contextlib.asynccontextmanager
async def served(deliver: Deliver, limits: Limits | None = None) -> AsyncIterator[tuple[LmtpServer, int]]:
    async with LmtpServer(deliver, hostname="store.example.com", limits=limits) as server:
        yield server, int(server.address[1])


async def send(port: int, *recipients: str, message: bytes = MESSAGE, sender: str = "ann@example.com") -> list[Result]:
    async with LmtpClient("127.0.0.1", port) as client:
        return await client.send(sender, recipients, message)


@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_each_recipient_has_its_own_reply(loop_of: Callable[[], asyncio.AbstractEventLoop]) -> None:
    heard: list[tuple[str, str, bytes]] = []

    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        heard.append((sender, recipient, message))
        await asyncio.sleep(0)
        answers = {"bob": OK, "eve": Status(550, "5.1.1", "no such user"), "sam": Status(452, "4.2.2", "full\nvery full")}
        return answers[recipient.partition("@")[0]]

    async def run() -> list[Result]:
        async with served(deliver) as (_, port):
            return await send(port, "bob@example.com", "eve@example.com", "sam@example.com")

    with asyncio.Runner(loop_factory=loop_of) as runner:
        results = runner.run(run())
    assert [str(each.status) for each in results] == ["250 2.1.5 stored", "550 5.1.1 no such user", "452 4.2.2 full\nvery full"]
    assert all(each.final for each in results)
    assert [type(each.outcome).__name__ for each in results] == ["Delivered", "Failed", "Deferred"]
    assert heard[0] == ("ann@example.com", "bob@example.com", MESSAGE)
    assert len(heard) == 3


async def test_a_subclass_may_override_deliver_and_a_unix_socket_serves(tmp_path: Path) -> None:
    class Server(LmtpServer):
        async def deliver(self, sender: str, recipient: str, message: bytes) -> Status:
            return Status(250, "2.1.5", f"<{sender}> {recipient} {len(message)}")

    path = str(tmp_path / "lmtp")
    async with Server(path=path) as server, LmtpClient(path=path) as client:
        assert server.address == path
        [result] = await client.send("", ["jürgen@example.com"], b"Subject: x\r\n\r\nt\xc3\xbc\r\n")
        assert str(result.status) == "250 2.1.5 <> jürgen@example.com 16"


def test_nothing_to_call_is_an_error() -> None:
    with pytest.raises(TypeError, match="coroutine"):
        LmtpServer()


@pytest.mark.parametrize(
    "result", [None, "250 OK", Status(354, "", "go on"), Status(250, "5.0.0", "what?"), ValueError("broken"), TimeoutError()]
)
async def test_what_is_no_answer_becomes_430_and_is_logged(result: object, caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(sender: str, recipient: str, message: bytes) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    with caplog.at_level(logging.ERROR, "posthouse.lmtp"):
        async with served(deliver) as (_, port):
            [answer] = await send(port, "bob@example.com")
    assert str(answer.status) == "430 4.3.0 delivery failed; try again later"
    assert any("bob@example.com" in record.getMessage() and record.exc_info for record in caplog.records)


async def test_a_call_cancelled_by_the_program_itself_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        raise asyncio.CancelledError

    async with served(deliver) as (_, port):
        assert [each.status.code for each in await send(port, "bob@example.com", "eve@example.com")] == [430, 430]
    assert "cancelled by itself" in caplog.text


async def test_a_call_that_takes_too_long_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        if recipient.startswith("bob"):
            return OK
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return OK

    async with served(deliver, Limits(deliver_seconds=0.05)) as (_, port):
        bob, eve = await send(port, "bob@example.com", "eve@example.com")
    assert bob.status == OK
    assert str(eve.status).startswith("450 4.4.7 ")
    assert cancelled.is_set()


async def test_no_more_calls_run_at_the_same_time_than_allowed() -> None:
    running = most = 0

    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        return OK

    async with served(deliver, Limits(calls=3)) as (_, port):
        results = await asyncio.gather(*(send(port, *(f"u{n}@example.com" for n in range(10))) for _ in range(3)))
    assert all(each.status == OK for batch in results for each in batch)
    assert most == 3


async def test_large_messages_arrive_whole_and_beyond_the_size_they_are_refused() -> None:
    large = b"Subject: x\n\n" + b"".join(b".%06d" % number + b"y" * 60 + b"\n" for number in range(9000))
    heard: list[bytes] = []

    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        heard.append(message)
        return OK

    async with served(deliver, Limits(message_size=1_000_000)) as (_, port):
        [result] = await send(port, "bob@example.com", message=large)
        assert result.status == OK
        assert heard == [large]
        [result] = await send(port, "bob@example.com", message=large * 2)
        assert result.status.is_permanent
        assert result.final
    assert len(heard) == 1


async def test_large_messages_together_take_no_more_memory_than_allowed() -> None:
    large = b"Subject: x\n\n" + b"x" * 70 * 9000 + b"\n"
    asked, answer = asyncio.Event(), asyncio.Event()

    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        asked.set()
        await answer.wait()
        return OK

    async with served(deliver, Limits(memory=1_000_000)) as (_, port):
        first = asyncio.create_task(send(port, "bob@example.com", message=large))
        await asked.wait()
        [second] = await send(port, "eve@example.com", message=large)
        assert str(second.status).startswith("452 4.3.1 ")
        answer.set()
        assert (await first)[0].status == OK
        assert (await send(port, "eve@example.com", message=large))[0].status == OK


async def test_the_rules_of_the_body_are_the_stores(caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        return OK

    async with served(deliver) as (_, port):
        client = await LmtpTalk.connect(port)
        for command in ("MAIL FROM:<s@example.org>", "RCPT TO:<bob@example.com>", "DATA"):
            await client.say(command)
        client.writer.write(b"Subject: x\r\n\r\nsmuggled\n.\nMAIL FROM:<x>\r\n.\r\n")
        assert (await client.reader.readline()).startswith(b"560 5.6.0 bob@example.com message contains nl")
        assert (await client.say("RCPT TO:<bob> XQUOTA=1,2")).startswith("5")
        await client.close()


async def test_connections_beyond_the_limit_take_the_place_of_idle_ones_or_are_refused() -> None:
    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        return OK

    async with served(deliver, Limits(connections=2)) as (_, port):
        idle, busy = await LmtpTalk.connect(port), await LmtpTalk.connect(port)
        await busy.say("MAIL FROM:<s@example.org>")
        third = await LmtpTalk.connect(port)
        assert (await idle.reader.readline()).startswith(b"421 4.3.2")
        await third.say("MAIL FROM:<s@example.org>")
        with pytest.raises(LmtpClientError, match=r"421 4\.3\.2"):
            await send(port, "bob@example.com")
        idle.writer.close()
        for client in (busy, third):
            await client.close()


async def test_a_silent_client_is_told_421() -> None:
    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        return OK

    async with served(deliver, Limits(command_seconds=0.05)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220 store.example.com")
        assert (await reader.readline()).startswith(b"421 4.4.2")
        writer.close()
        await writer.wait_closed()


async def stopping(deliver: Deliver, seconds: float, asked: asyncio.Event) -> list[Result]:
    server = LmtpServer(deliver, limits=Limits(drain_seconds=seconds))
    await server.start()
    sending = asyncio.create_task(send(int(server.address[1]), "bob@example.com"))
    await asked.wait()
    await server.stop()
    await server.stop()
    return await sending


async def test_stop_waits_for_what_is_under_way() -> None:
    asked = asyncio.Event()

    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        asked.set()
        await asyncio.sleep(0.05)
        return OK

    assert [each.status for each in await stopping(deliver, 5.0, asked)] == [OK]


async def test_stop_cancels_what_takes_longer_and_the_client_hears_of_it() -> None:
    asked, ended = asyncio.Event(), asyncio.Event()

    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return OK

    [result] = await stopping(deliver, 0.05, asked)
    assert str(result.status).startswith("450 4.3.2")
    assert ended.is_set()


async def test_serve_forever_ends_with_its_task(tmp_path: Path) -> None:
    async def deliver(sender: str, recipient: str, message: bytes) -> Status:
        return OK

    path = str(tmp_path / "lmtp")
    server = LmtpServer(deliver, path=path)
    serving: asyncio.Task[None] = asyncio.create_task(typed(server.serve_forever()))
    while not Path(path).exists():
        await asyncio.sleep(0)
    async with LmtpClient(path=path) as client:
        assert (await client.send("a@example.com", ["bob@example.com"], MESSAGE))[0].status == OK
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    with pytest.raises(OSError):  # noqa: PT011 - refused or gone, as the loop leaves it
        await LmtpClient(path=path).connect()
    with pytest.raises(RuntimeError, match="does not run"):
        _ = server.address


def typed(coroutine: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
    return coroutine


def test_importing_it_brings_no_instance_with_it() -> None:
    code = (
        "import sys\nfrom posthouse.store.lmtp_server import LmtpServer\nfrom posthouse.lmtp_client import LmtpClient\n"
        "heavy = ('posthouse.', 'uvloop', 'cyclopts', 'rich', 'dns', 'ldap')\n"
        "print(*sorted(each for each in sys.modules if each.startswith(heavy)))"
    )
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    packages = {".".join(name.split(".")[:2]) for name in names}
    assert packages == {f"posthouse.{each}" for each in ("dialogue", "dispatcher", "lmtp_client", "mail", "store", "trace")}
    assert "posthouse.dispatcher.worker" not in names
    assert not [name for name in names if name.startswith("posthouse.journal")]
