"""`lmtp_client`: a result for each recipient whatever the server does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from posthouse.lmtp_client import LmtpClient, LmtpClientError, Result, Timeouts
from posthouse.mail.outcome import Deferred

GREETING = b"220 sink LMTP\r\n"
HELLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n"


@contextlib.asynccontextmanager
async def scripted(*steps: tuple[int, bytes], stay: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that reads some lines, then says something, for each step; then it closes, or stays silent."""
    heard: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for lines, answer in steps:
            heard.extend([await reader.readline() for _ in range(lines)])
            writer.write(answer)
        if stay:
            await over.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heard
        over.set()


async def send(port: int, recipients: Sequence[str], message: bytes = b"S: x\n\n.t", reply: float = 5.0) -> list[Result]:
    async with LmtpClient("127.0.0.1", port, hello="me", timeouts=Timeouts(reply=reply, final=reply)) as client:
        return await client.send("ann@example.com", recipients, message)


async def test_what_goes_out_is_crlf_and_stuffed() -> None:
    steps = ((0, GREETING), (1, HELLO), (3, b"250 ok\r\n250 ok\r\n354 go\r\n"), (4, b"250 2.0.0 fine\r\n"), (1, b"221 bye\r\n"))
    async with scripted(*steps) as (port, heard):
        [result] = await send(port, ["bob@example.com"], "S: x\n\n.ü".encode())
    assert result.status.text == "fine"
    assert heard == [
        b"LHLO me\r\n", b"MAIL FROM:<ann@example.com> SIZE=14 BODY=8BITMIME\r\n", b"RCPT TO:<bob@example.com>\r\n", b"DATA\r\n",
        b"S: x\r\n", b"\r\n", "..ü\r\n".encode(), b".\r\n", b"QUIT\r\n",
    ]  # fmt: skip


async def test_replies_that_break_off_leave_exactly_the_rest_unsettled() -> None:
    envelope = b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n"
    async with scripted((0, GREETING), (1, HELLO), (5, envelope), (4, b"250 2.0.0 fine\r\n")) as (port, _):
        bob, eve, sam = await send(port, ["bob@example.com", "eve@example.com", "sam@example.com"])
    assert (bob.final, bob.status.code) == (True, 250)
    assert (eve.final, eve.status.code) == (True, 550)
    assert (sam.final, sam.status.code) == (False, 451)
    assert isinstance(sam.outcome, Deferred)


async def test_a_server_that_does_not_answer_is_left() -> None:
    async with scripted((0, GREETING), (1, HELLO), (3, b""), stay=True) as (port, _):
        [result] = await send(port, ["bob@example.com"], reply=0.1)
    assert not result.final
    assert str(result.status) == "451 4.4.2 the server did not answer in time"


async def test_an_address_outside_ascii_where_it_is_not_taken_fails_alone() -> None:
    steps = ((0, GREETING), (1, HELLO), (3, b"250 ok\r\n250 ok\r\n354 go\r\n"), (4, b"250 2.0.0 fine\r\n"), (1, b"221 bye\r\n"))
    async with scripted(*steps) as (port, _):
        first, second = await send(port, ["jürgen@example.com", "bob@example.com"])
    assert (first.final, first.status.enhanced) == (True, "5.6.7")
    assert second.status.code == 250


@pytest.mark.parametrize(
    "steps", [((0, b"554 5.3.2 go away\r\n"),), ((0, GREETING), (1, b"550 5.0.0 no\r\n")), ((0, b"what?\r\n"),), ()]
)
async def test_a_server_that_does_not_talk(steps: tuple[tuple[int, bytes], ...]) -> None:
    async with scripted(*steps) as (port, _):
        with pytest.raises(LmtpClientError) as caught:
            await send(port, ["bob@example.com"])
    assert caught.value.status.code in {451, 550, 554}


async def test_addresses_that_would_be_commands_are_refused_here() -> None:
    async with scripted((0, GREETING), (1, HELLO), (1, b"221 bye\r\n")) as (port, heard):
        async with LmtpClient("127.0.0.1", port, hello="me") as client:
            for bad in ("bob@example.com>\r\nRSET", "<bob@example.com>", "bob\0"):
                with pytest.raises(ValueError, match="bad address"):
                    await client.send("ann@example.com", [bad], b"")
            with pytest.raises(ValueError, match="no recipients"):
                await client.send("ann@example.com", [], b"")
        with pytest.raises(LmtpClientError):
            await client.send("ann@example.com", ["bob@example.com"], b"")
    assert heard == [b"LHLO me\r\n", b"QUIT\r\n"]
