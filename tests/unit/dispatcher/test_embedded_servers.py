"""`LmtpServer` and `SmtpServer` alike: how they end and begin again, whom they admit, what of a program's answers they take."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import pytest
import uvloop

from posthouse.mail.status import Status
from posthouse.relay.smtp_server import Arrival, SmtpServer
from posthouse.relay.smtp_server import Limits as SmtpLimits
from posthouse.relay.smtp_server.calling_session import CallingSession
from posthouse.store.lmtp_server import Limits as LmtpLimits
from posthouse.store.lmtp_server import LmtpServer
from support.store_files import LmtpTalk

OK = Status(250, "2.6.0", "taken")
MESSAGE = b"Subject: x\r\n\r\ntext\r\n"
Server: TypeAlias = LmtpServer | SmtpServer
Make: TypeAlias = Callable[..., Server]


@pytest.fixture(params=[LmtpServer, SmtpServer])
def make(request: pytest.FixtureRequest) -> Make:
    """A server before a coroutine without arguments, with these limits."""

    def of(deliver: Callable[[], Awaitable[Status]], **limits: Any) -> Server:
        async def call(*_: object) -> Status:
            return await deliver()

        if request.param is LmtpServer:
            return LmtpServer(call, limits=LmtpLimits(**limits))
        return SmtpServer(call, limits=SmtpLimits(**limits))

    return of


async def taken() -> Status:
    return OK


@contextlib.asynccontextmanager
async def talking(server: Server) -> AsyncIterator[LmtpTalk]:
    """A client of a server that runs."""
    address = server.address
    assert isinstance(address, tuple)
    talk = await LmtpTalk.connect(address[1], "LHLO client" if isinstance(server, LmtpServer) else "EHLO client")
    yield talk
    talk.writer.close()


async def begin(talk: LmtpTalk) -> None:
    """A transaction up to 354."""
    for command in ("MAIL FROM:<s@example.org>", "RCPT TO:<bob@example.com>"):
        assert (await talk.say(command)).startswith("250")
    assert (await talk.say("DATA")).startswith("354")


async def ended(talk: LmtpTalk) -> str:
    """The reply to a message."""
    talk.writer.write(MESSAGE + b".\r\n")
    return await talk.reply()


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_a_call_that_begins_while_the_server_stops_has_the_time_to_drain_and_no_more(make: Make) -> None:
    cancelled = asyncio.Event()

    async def deliver() -> Status:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return OK

    server = make(deliver, drain_seconds=0.2)
    await server.start()
    async with talking(server) as talk:
        await begin(talk)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)  # it has looked at its calls, and found none
        assert (await ended(talk)).startswith("450 4.3.2")
        assert (await talk.reply()).startswith("421 4.3.2")
        await stopping
    assert cancelled.is_set()


async def test_a_call_ends_though_another_has_ended_before_it_while_the_server_stops(make: Make) -> None:
    answers = [asyncio.Event(), asyncio.Event()]
    asked = 0

    async def deliver() -> Status:
        nonlocal asked
        asked += 1
        await answers[asked - 1].wait()
        return OK

    server = make(deliver)
    await server.start()
    async with talking(server) as first, talking(server) as second:
        await begin(first)
        await begin(second)
        reply = asyncio.create_task(ended(first))
        while not asked:
            await asyncio.sleep(0.001)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        later = asyncio.create_task(ended(second))
        while asked < 2:
            await asyncio.sleep(0.001)
        answers[0].set()
        assert await reply == "250 2.6.0 taken"
        answers[1].set()
        assert await later == "250 2.6.0 taken"
        await stopping


async def test_a_pipelined_transaction_is_finished_while_the_server_stops() -> None:
    asked = asyncio.Event()

    class Judging(SmtpServer):
        async def recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:
            asked.set()
            await asyncio.sleep(0.01)
            return OK

        async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
            return Status(250, "2.6.0", " ".join(recipients))

    server = Judging()
    await server.start()
    reader, writer = await asyncio.open_connection(*server.address)
    commands = (
        b"EHLO client",
        b"MAIL FROM:<s@example.org>",
        b"RCPT TO:<bob>",
        b"RCPT TO:<eve>",
        b"RCPT TO:<sam>",
        b"BDAT 20 LAST",
    )
    writer.write(b"\r\n".join((*commands, MESSAGE)))
    await asked.wait()
    await server.stop()
    said = (await reader.read()).splitlines()
    assert said[-2:] == [b"250 2.6.0 bob eve sam", b"421 4.3.2 service is shutting down or busy; try again"]
    writer.close()


@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_one_server_may_be_started_and_stopped_in_one_loop_after_the_other(
    make: Make, loop_of: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    server = make(taken, drain_seconds=0.05)

    async def run() -> None:
        await server.start()
        async with talking(server) as talk:
            await begin(talk)
            assert (await ended(talk)).startswith("250")
            await talk.say("MAIL FROM:<s@example.org>")
            await server.stop()  # waits for this one

    for _ in range(2):
        with asyncio.Runner(loop_factory=loop_of) as runner:
            runner.run(run())
            runner.run(run())


async def test_a_server_cannot_be_started_while_it_stops_and_a_stop_that_is_cancelled_has_stopped_it(make: Make) -> None:
    server = make(taken)
    await server.start()
    async with talking(server) as talk:
        await begin(talk)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="running"):
            await server.start()
        with pytest.raises(RuntimeError, match="does not run"):
            assert server.address
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        with contextlib.suppress(ConnectionResetError):
            assert await talk.reader.read() == b""
    async with server, talking(server) as talk:
        await begin(talk)
        assert (await ended(talk)).startswith("250")


async def test_a_call_does_not_wait_for_the_server_it_stops(make: Make) -> None:
    stopping: list[asyncio.Task[None]] = []

    async def deliver() -> Status:
        with pytest.raises(RuntimeError, match="create_task"):
            await server.stop()
        stopping.append(asyncio.create_task(server.stop()))
        return OK

    server = make(deliver)
    await server.start()
    async with talking(server) as talk:
        await begin(talk)
        assert (await ended(talk)).startswith("250")
        assert (await talk.reply()).startswith("421 4.3.2")
        await stopping[0]


async def test_a_client_that_was_hung_up_and_does_not_close_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def deliver(*_: object) -> Status:
        return OK

    monkeypatch.setattr("posthouse.dispatcher.embedded._SWEEP_SECONDS", 600.0)
    server = SmtpServer(deliver, limits=SmtpLimits(drain_seconds=120))
    await server.start()
    async with talking(server) as talk:
        talk.writer.write(b"FOO\r\n" * 40)
        while not (await talk.reply()).startswith("421"):
            pass
        async with asyncio.timeout(20):
            await server.stop()


# --- connections ------------------------------------------------------------------------------------------------------


async def test_many_who_come_at_once_are_not_all_let_in_for_one_who_goes(make: Make) -> None:
    async with make(taken, connections=2) as server, talking(server), talking(server) as busy:
        assert (await busy.say("MAIL FROM:<s@example.org>")).startswith("250")
        with contextlib.ExitStack() as stack:
            address = server.address
            assert isinstance(address, tuple)
            come = [stack.enter_context(socket.create_connection(address)) for _ in range(20)]  # all before the loop's next round
            heard = [await asyncio.to_thread(each.recv, 200) for each in come]
            while len(server.sessions) > 2:
                await asyncio.sleep(0.001)
            assert {each[:3] for each in heard} == {b"220"}  # each makes room for the next
            assert (await busy.say("RCPT TO:<bob@example.com>")).startswith("250")


async def test_one_who_was_told_to_go_makes_room_only_once() -> None:
    async def deliver(*_: object) -> Status:
        return OK

    async with SmtpServer(deliver, limits=SmtpLimits(connections=2)) as server, talking(server) as gone, talking(server) as busy:
        assert (await busy.say("MAIL FROM:<s@example.org>")).startswith("250")
        gone.writer.write(b"FOO\r\n" * 40)
        while not (await gone.reply()).startswith("421"):
            pass
        for _ in range(5):  # it is listened to for a moment longer
            _, writer = await asyncio.open_connection(*server.address)
            assert len(server.sessions) <= 2
            writer.close()


@pytest.mark.parametrize("commands", [1, 3])
async def test_a_transaction_that_stands_still_makes_room_and_a_call_does_not(
    make: Make, commands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def deliver() -> Status:
        asked.set()
        await answer.wait()
        return OK

    async with make(deliver, connections=2) as server, talking(server) as calling, talking(server) as still:
        await begin(calling)
        reply = asyncio.create_task(ended(calling))
        await asked.wait()
        for command in ("MAIL FROM:<s@example.org>", "RCPT TO:<bob@example.com>", "DATA")[:commands]:
            await still.say(command)
        refused, writer = await asyncio.open_connection(*server.address)
        assert (await refused.read()).startswith(b"421 4.3.2")
        writer.close()
        for session in ("store.lmtp_server.session", "relay.smtp_server.calling_session"):
            monkeypatch.setattr(f"posthouse.{session}.PATIENCE", -1.0)
        async with talking(server):
            assert (await still.reply()).startswith("421 4.3.2")
        answer.set()
        assert (await reply).startswith("250")


async def test_a_client_whose_recipient_was_long_judged_does_not_stand_still() -> None:
    class Slow(SmtpServer):
        async def recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:
            for session in self.sessions:
                assert isinstance(session, CallingSession)
                session._last -= 60
            return OK

        async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
            return OK

    async with Slow() as server, talking(server) as talk:
        for command in ("MAIL FROM:<s@example.org>", "RCPT TO:<bob@example.com>"):
            assert (await talk.say(command)).startswith("250")
        assert [session.idle_since() for session in server.sessions] == [None]


async def test_a_message_that_could_never_find_room_is_too_large(make: Make) -> None:
    async with make(taken, memory=400_000) as server, talking(server) as talk:
        assert (await talk.say("MAIL FROM:<s@example.org> SIZE=400001")).startswith("552 5.3.4")


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("kind", [LmtpLimits, SmtpLimits])
def test_a_limit_that_means_nothing_is_refused_by_name(kind: Callable[..., Any]) -> None:
    names = set(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    whole = {"message_size", "memory", "recipients", "connections", "calls", "rejections"} & names
    assert len(whole) == (6 if kind is SmtpLimits else 5)
    wrong: list[tuple[str, Any]] = [(name, value) for name in names for value in (-1, NAN, "5", None, True)]
    wrong += [(name, 0) for name in names - {"drain_seconds"}]
    wrong += [(name, value) for name in whole for value in (1.5, INFINITE)]
    for name, value in wrong:
        with pytest.raises(ValueError, match=rf"Limits\.{name} is "):
            kind(**{name: value})
    assert kind(drain_seconds=0, deliver_seconds=INFINITE, command_seconds=0.5).drain_seconds == 0


@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_smallest_and_largest_limits_serve(make: Make, loop_of: Callable[[], asyncio.AbstractEventLoop]) -> None:
    endless = dict.fromkeys(("deliver_seconds", "command_seconds", "data_seconds"), INFINITE)

    async def run() -> None:
        async with make(taken, memory=1, drain_seconds=0, **endless) as server, talking(server) as talk:
            assert (await talk.say("MAIL FROM:<s@example.org> SIZE=2")).startswith("552 5.3.4")
        async with make(taken, recipients=1, connections=1, calls=1, **endless) as server, talking(server) as talk:
            await begin(talk)
            assert (await ended(talk)).startswith("250")

    with asyncio.Runner(loop_factory=loop_of) as runner:
        runner.run(run())


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "\ud800"])
async def test_a_status_that_cannot_be_sent_is_a_failure(make: Make, text: Any) -> None:
    async def deliver() -> Status:
        return Status(250, "2.6.0", text)

    async with make(deliver) as server, talking(server) as talk:
        await begin(talk)
        assert (await ended(talk)).endswith(" 4.3.0 delivery failed; try again later")


async def test_a_call_that_cancels_itself_in_its_last_moment_is_answered(make: Make) -> None:
    async def deliver() -> Status:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return OK

    async with make(deliver) as server, talking(server) as talk:
        await begin(talk)
        assert (await ended(talk))[:3] in {"250", "450"}


async def test_a_program_may_have_calls_and_a_session_of_its_own() -> None:
    class Gateway(LmtpServer):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.session = "with the program's other server"

        async def deliver(self, sender: str, recipient: str, message: bytes) -> Status:
            self.calls += 1
            return OK

    async with Gateway() as server, talking(server) as talk:
        await begin(talk)
        assert (await ended(talk)).startswith("250")
        assert server.calls == 1
