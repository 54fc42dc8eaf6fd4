"""`SmtpServer` before a program's own coroutine: replies, judging, limits, TLS, failures, the end; under asyncio and uvloop."""

import asyncio
import contextlib
import logging
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from posthouse.mail.status import Status
from posthouse.relay.smtp_server import Arrival, Limits, SmtpServer
from support.store_files import LmtpTalk

OK = Status(250, "2.6.0", "taken")
MESSAGE = b"Subject: x\r\n\r\n.dot\r\ntext\r\n"
STORED = MESSAGE.replace(b"\r\n", b"\n")
Deliver = Callable[[str, Sequence[str], bytes, Arrival], Awaitable[Status]]


@contextlib.asynccontextmanager
async def served(deliver: Deliver, limits: Limits | None = None) -> AsyncIterator[int]:
    async with SmtpServer(deliver, hostname="mx.example.com", limits=limits) as server:
        yield int(server.address[1])


async def connect(port: int) -> LmtpTalk:
    return await LmtpTalk.connect(port, "EHLO client.example.org")


async def begin(talk: LmtpTalk, *recipients: str) -> None:
    """A transaction up to 354."""
    assert (await talk.say("MAIL FROM:<s@example.org>")).startswith("250")
    for recipient in recipients:
        assert (await talk.say(f"RCPT TO:<{recipient}>")).startswith("250"), recipient
    assert (await talk.say("DATA")).startswith("354")


async def send(port: int, *recipients: str, message: bytes = MESSAGE) -> str:
    """One message over a connection of its own; the last reply."""
    talk = await connect(port)
    await begin(talk, *recipients)
    talk.writer.write(message.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    reply = await talk.reply()
    await talk.close()
    return reply


async def taken(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
    return OK


@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_message_is_one_call_and_its_status_the_reply(loop_of: Callable[[], asyncio.AbstractEventLoop]) -> None:
    heard: list[tuple[str, Sequence[str], bytes, Arrival]] = []

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        heard.append((sender, recipients, message, arrival))
        await asyncio.sleep(0)
        return OK

    async def run() -> str:
        async with served(deliver) as port:
            return await send(port, "bob@example.com", "eve@example.com")

    with asyncio.Runner(loop_factory=loop_of) as runner:
        assert runner.run(run()) == "250 2.6.0 taken"
    [(sender, recipients, message, arrival)] = heard
    assert (sender, recipients, message) == ("s@example.org", ("bob@example.com", "eve@example.com"), STORED)
    assert (arrival.host, arrival.address, arrival.helo, arrival.protocol) == (
        "mx.example.com", "127.0.0.1", "client.example.org", "ESMTP",
    )  # fmt: skip
    field = arrival.received("bob@example.com").decode()
    assert field.startswith("Received: from client.example.org ([127.0.0.1])\n by mx.example.com (Posthouse ")
    assert f" with ESMTP id <{arrival.id}@mx.example.com>\n for bob@example.com; " in field


def test_the_trace_field_of_a_client_without_an_address_names_none() -> None:
    field = Arrival("1A", "mx.example.com", "", 0, "client.example.org", "ESMTP").received("\udcff@example.com").decode()
    assert field.startswith("Received: from client.example.org\n by mx.example.com (Posthouse ")
    assert " id <1A@mx.example.com>; " in field


class Judging(SmtpServer):
    """Knows bob only."""

    async def recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:
        assert (sender, arrival.helo) == ("s@example.org", "client.example.org")
        if recipient == "nobody@example.com":
            raise LookupError(recipient)
        return OK if recipient == "bob@example.com" else Status(550, "5.1.1", "no such user")

    async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        return Status(250, "2.6.0", " ".join(recipients))


async def test_a_subclass_judges_each_recipient(tmp_path: Path) -> None:
    path = str(tmp_path / "smtp")
    async with Judging(path=path) as server:
        assert server.address == path
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(
            b"EHLO client.example.org\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<bob@example.com>\r\nRCPT TO:<eve@example.com>\r\n"
            b"RCPT TO:<nobody@example.com>\r\nDATA\r\n"
        )
        talk = LmtpTalk(reader, writer)
        said = [await talk.reply() for _ in range(7)]
        writer.write(MESSAGE + b".\r\nQUIT\r\n")
        assert await talk.reply() == "250 2.6.0 bob@example.com"
        assert [line[:9] for line in said[3:]] == ["250 2.6.0", "550 5.1.1", "451 4.3.0", "354 Enter"]
        writer.close()
        await writer.wait_closed()


async def test_who_tries_names_is_hung_up_after_so_many_refusals_also_over_several_messages() -> None:
    async with Judging(limits=Limits(rejections=4)) as server:
        talk = await connect(int(server.address[1]))
        for names in (("eve", "bob", "sam"), ("bob", "nobody", "eve")):
            assert (await talk.say("MAIL FROM:<s@example.org>")).startswith("250")
            said = [(await talk.say(f"RCPT TO:<{name}@example.com>"))[:3] for name in names]
            assert said == (["550", "250", "550"] if "sam" in names else ["250", "451", "550"])
            if "sam" in names:
                assert (await talk.say("DATA")).startswith("354")
                talk.writer.write(MESSAGE + b".\r\n")
                assert await talk.reply() == "250 2.6.0 bob@example.com"
        assert (await talk.reply()).startswith("421 4.7.0 Too many recipients")
        assert await talk.reader.read() == b""
        talk.writer.close()


def test_nothing_to_call_is_an_error() -> None:
    with pytest.raises(TypeError, match="coroutine"):
        SmtpServer()


@pytest.mark.parametrize("result", [None, "250 OK", Status(354, "", "go on"), ValueError("broken"), TimeoutError()])
async def test_what_is_no_answer_becomes_451_and_is_logged(result: object, caplog: pytest.LogCaptureFixture) -> None:
    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    with caplog.at_level(logging.ERROR, "posthouse.smtp"):
        async with served(deliver) as port:
            assert await send(port, "bob@example.com") == "451 4.3.0 delivery failed; try again later"
    assert any(record.exc_info for record in caplog.records)


async def test_a_call_that_takes_too_long_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return OK

    async with served(deliver, Limits(deliver_seconds=0.05)) as port:
        assert (await send(port, "bob@example.com")).startswith("450 4.4.7 ")
    assert cancelled.is_set()


async def test_large_messages_arrive_whole_and_beyond_the_size_they_are_refused() -> None:
    large = b"Subject: x\r\n\r\n" + b"".join(b".%06d" % number + b"y" * 60 + b"\r\n" for number in range(9000))
    heard: list[bytes] = []

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        heard.append(message)
        return OK

    async with served(deliver, Limits(message_size=1_000_000)) as port:
        assert await send(port, "bob@example.com", message=large) == "250 2.6.0 taken"
        assert (await send(port, "bob@example.com", message=large * 2)).startswith("552 5.3.4")
        assert (await send(port, "bob@example.com")).startswith("250")
    assert heard == [large.replace(b"\r\n", b"\n"), STORED]


async def test_bodies_wait_while_messages_in_calls_hold_all_memory() -> None:
    large = b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 9000
    asked: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]
    answer = asyncio.Event()
    calls = 0

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        nonlocal calls
        asked[calls].set()
        calls += 1
        await answer.wait()
        return OK

    server = SmtpServer(deliver, limits=Limits(memory=900_000))
    async with server:
        port = int(server.address[1])
        first = asyncio.create_task(send(port, "bob@example.com", message=large))
        await asked[0].wait()
        second = asyncio.create_task(send(port, "eve@example.com", message=large))
        while not any(line.receiving_since is not None for line in server.sessions):
            await asyncio.sleep(0.001)
        server.look(server.loop.time())  # who waits for calls to end is not hung up
        assert not asked[1].is_set()
        assert server.memory.held < 900_000 + len(large)
        answer.set()
        assert [await first, await second] == ["250 2.6.0 taken"] * 2
    assert server.memory.held == 0


async def test_bodies_that_do_not_end_give_room_to_others() -> None:
    async with SmtpServer(taken, limits=Limits(memory=400_000)) as server:
        port = int(server.address[1])
        early, *talks = [await connect(port) for _ in range(4)]
        await begin(early, "bob@example.com")  # the oldest, but it holds nothing
        for talk in talks:
            await begin(talk, "bob@example.com")
            talk.writer.write(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 4000)
        while not server.memory.overfull():
            await asyncio.sleep(0.001)
        server.look(server.loop.time())
        assert not server.memory.overfull()
        assert (await talks[0].reply()).startswith("421 4.3.2")
        early.writer.write(MESSAGE + b".\r\n")
        assert await early.reply() == "250 2.6.0 taken"
        for talk in (early, *talks):
            talk.writer.close()


async def test_bodies_that_do_not_end_give_room_though_small_messages_are_in_calls() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        asked.set()
        await answer.wait()
        return OK

    async with SmtpServer(deliver, limits=Limits(memory=400_000)) as server:
        port = int(server.address[1])
        small = asyncio.create_task(send(port, "bob@example.com"))
        await asked.wait()
        talks = [await connect(port) for _ in range(3)]
        for talk in talks:
            await begin(talk, "bob@example.com")
            talk.writer.write(b"Subject: x\r\n\r\n" + (b"x" * 70 + b"\r\n") * 4000)
        while not server.memory.overfull():
            await asyncio.sleep(0.001)
        server.look(server.loop.time())
        assert not server.memory.overfull()
        answer.set()
        assert await small == "250 2.6.0 taken"
        for talk in talks:
            talk.writer.close()


async def test_nothing_is_smuggled_and_no_null_taken() -> None:
    async with served(taken) as port:
        for body, code in (
            (b"Subject: x\r\n\r\nx\n.\nMAIL FROM:<x>\r\n", "550 5.6.11"),
            (b"Subject: x\r\n\r\na\0b\r\n", "554 5.6.0"),
        ):
            talk = await connect(port)
            await begin(talk, "bob@example.com")
            talk.writer.write(body + b".\r\n")
            assert (await talk.reply()).startswith(code)
            talk.writer.close()


@pytest.mark.parametrize("command", ["MAIL FROM:<a@example.org> RET=FULL", "MAIL FROM:<a@example.org> SIZE=99999999"])
async def test_what_is_not_listed_is_not_taken(command: str) -> None:
    async with served(taken) as port:
        talk = await connect(port)
        assert (await talk.say(command))[:3] in {"555", "552"}
        assert (await talk.say("AUTH PLAIN AGEAYg==")).startswith("5")
        assert (await talk.say("STARTTLS")).startswith("5")
        await talk.close()


@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_command_that_comes_with_the_end_of_the_handshake_is_heard(loop_of: Callable[[], asyncio.AbstractEventLoop]) -> None:
    authority = trustme.CA()
    certificate, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(certificate)
    authority.configure_trust(trust)

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        return OK

    async def main() -> bytes:
        async with SmtpServer(deliver, tls=certificate, limits=Limits(drain_seconds=1)) as server, asyncio.timeout(10):
            talk = await connect(int(server.address[1]))
            assert (await talk.say("STARTTLS")).startswith("220")
            came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = trust.wrap_bio(came, goes, server_hostname="localhost")
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    talk.writer.write(goes.read())
                    came.write(await talk.reader.read(65536))
            client.write(b"NOOP\r\n")
            talk.writer.write(goes.read())
            while True:
                try:
                    reply = client.read(1000)
                    talk.writer.close()
                    await talk.writer.wait_closed()
                    return reply
                except ssl.SSLWantReadError:
                    came.write(await talk.reader.read(65536))

    with asyncio.Runner(loop_factory=loop_of) as runner:
        assert runner.run(main()).startswith(b"250 ")


async def test_tls_begins_anew_and_nothing_behind_starttls_is_obeyed() -> None:
    authority = trustme.CA()
    certificate, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(certificate)
    authority.configure_trust(trust)
    protocols: list[str] = []

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        protocols.append(arrival.protocol)
        return OK

    async with SmtpServer(deliver, tls=certificate) as server:
        port = int(server.address[1])

        def by_tls() -> None:
            with smtplib.SMTP("localhost", port) as client:
                client.ehlo()
                assert client.has_extn("starttls")
                client.starttls(context=trust)
                assert client.mail("a@example.org")[0] == 503
                client.ehlo()
                assert not client.has_extn("starttls")
                client.sendmail("a@example.org", ["bob@example.com"], MESSAGE)

        await asyncio.to_thread(by_tls)
        talk = await connect(port)
        assert (await talk.say("STARTTLS\r\nMAIL FROM:<a@example.org>")).startswith("5")
        talk.writer.close()
    assert protocols == ["ESMTPS"]


async def test_connections_beyond_the_limit_take_the_place_of_idle_ones_or_are_refused() -> None:
    async with served(taken, Limits(connections=2)) as port:
        idle, busy = await connect(port), await connect(port)
        await busy.say("MAIL FROM:<s@example.org>")
        third = await connect(port)
        assert (await idle.reply()).startswith("421 4.3.2")
        await third.say("MAIL FROM:<s@example.org>")
        refused, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await refused.read()).startswith(b"421 4.3.2")
        writer.close()
        idle.writer.close()
        for talk in (busy, third):
            await talk.close()


async def test_a_silent_client_is_told_421() -> None:
    async with served(taken, Limits(command_seconds=0.05)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.readline()).startswith(b"220 mx.example.com")
        assert (await reader.readline()).startswith(b"421 4.4.2")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(("seconds", "reply"), [(5.0, "250 2.6.0"), (0.05, "450 4.3.2")])
async def test_stop_waits_for_what_is_under_way_for_so_long(seconds: float, reply: str) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        asked.set()
        await go_on.wait()
        return OK

    server = SmtpServer(deliver, limits=Limits(drain_seconds=seconds))
    await server.start()
    talk = await connect(int(server.address[1]))
    await begin(talk, "bob@example.com")
    talk.writer.write(MESSAGE + b".\r\n")
    await asked.wait()
    stopping = asyncio.create_task(server.stop())
    if seconds > 1:
        go_on.set()
    assert (await talk.reply()).startswith(reply)
    assert (await talk.reply()).startswith("421 4.3.2")
    await stopping
    await server.stop()
    talk.writer.close()


async def test_a_call_goes_on_when_its_client_is_gone() -> None:
    asked, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        asked.set()
        await go_on.wait()
        ended.set()
        return OK

    async with SmtpServer(deliver) as server:
        talk = await connect(int(server.address[1]))
        await begin(talk, "bob@example.com")
        talk.writer.write(MESSAGE + b".\r\n")
        await asked.wait()
        sock = talk.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone, not only silent
        talk.writer.transport.abort()
        while server.sessions:
            await asyncio.sleep(0.001)
        held = server.memory.held
        go_on.set()
        await ended.wait()
    assert held == len(STORED) - 1  # a dot at a line's beginning is one too many
    assert server.memory.held == 0


async def test_nobody_is_asked_about_recipients_of_a_client_that_is_gone_before_its_turn() -> None:
    turn, asked = asyncio.Event(), list[str]()

    class Slow(SmtpServer):
        async def recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:
            asked.append(recipient)
            await turn.wait()
            return OK

    async with Slow(taken, limits=Limits(calls=1)) as server:
        first, gone, last = [await connect(int(server.address[1])) for _ in range(3)]
        for talk, name in ((first, "first"), (gone, "gone"), (last, "last")):
            assert (await talk.say("MAIL FROM:<s@example.org>")).startswith("250")
            talk.writer.write(f"RCPT TO:<{name}@example.com>\r\n".encode())
            async with asyncio.timeout(5):
                while sum(session.server.awaiting for session in server.sessions) < ("first", "gone", "last").index(name) + 1:
                    await asyncio.sleep(0)
        sock = gone.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.writer.transport.abort()
        async with asyncio.timeout(5):
            while len(server.sessions) > 2:
                await asyncio.sleep(0)
        turn.set()
        for talk in (first, last):
            assert (await talk.reply()).startswith("250")
            await talk.close()
    assert asked == ["first@example.com", "last@example.com"]


def test_importing_it_brings_no_instance_with_it() -> None:
    code = (
        "import sys\nfrom posthouse.relay.smtp_server import SmtpServer\n"
        "heavy = ('posthouse.', 'uvloop', 'cyclopts', 'rich', 'dns', 'ldap')\n"
        "print(*sorted(each for each in sys.modules if each.startswith(heavy)))"
    )
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {".".join(name.split(".")[:2]) for name in names} == {
        f"posthouse.{each}" for each in ("dialogue", "dispatcher", "mail", "relay")
    }
    assert {name for name in names if name.startswith("posthouse.relay.")} == {
        "posthouse.relay.smtp_server",
        *(
            f"posthouse.relay.smtp_server.{each}"
            for each in ("arrival", "calling_session", "guessing", "host", "line", "memory", "offers", "received", "server")
        ),
    }
