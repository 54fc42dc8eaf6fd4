"""A client that sends commands without end, or hears no reply, costs the store neither its memory nor the others' turns."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from posthouse.dispatcher.worker import Connection
from posthouse.store.delivery.local_store import most_recipients
from posthouse.store.lmtp_server.program import LmtpProgram
from posthouse.store.lmtp_server.session import LmtpSession
from support.store_files import LmtpTalk, running_store, store_instance

RCPT = b"RCPT TO:<bob>\r\n"
FACTS = Connection("LMTPSS", "tcp_lmtpss", ("127.0.0.1", 2225), ("127.0.0.1", 40000), "", tls=False, serial=2)


class Wire(asyncio.Transport):
    """What a session does to its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.reading = True
        self.aborted = self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted or self.closed

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


async def opened(program: LmtpProgram) -> tuple[LmtpSession, Wire]:
    session, wire = program.session(FACTS, lambda: None), Wire()
    session.connection_made(wire)
    session.data_received(b"LHLO relay1\r\nMAIL FROM:<s@example.org>\r\n")
    await until(lambda: b"250 2.1.0 OK" in wire.sent)
    return session, wire


async def until(held: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not held():
            await asyncio.sleep(0)


async def within_two_seconds(done: Coroutine[None, None, None]) -> bool:
    try:
        await asyncio.wait_for(done, 2)
    except TimeoutError:
        return False
    return True


async def test_commands_sent_all_at_once_are_obeyed_in_turns(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (program, _):
        session, wire = await opened(program)
        session.data_received(RCPT * 1000)
        assert not wire.reading
        await asyncio.sleep(0)
        assert 0 < wire.sent.count(b"250 2.1.5 OK") + wire.sent.count(b"452 4.5.3") < 1000
        await until(lambda: wire.sent.count(b"250 2.1.5 OK") + wire.sent.count(b"452 4.5.3") == 1000)
        assert wire.sent.count(b"250 2.1.5 OK") == most_recipients()  # as many as this machine lets a process open
        await until(lambda: wire.reading)
        session.connection_lost(None)


async def test_chunks_of_one_octet_are_obeyed_in_turns(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (program, _):
        session, wire = await opened(program)
        session.data_received(RCPT + b"BDAT 8\r\nA: b\r\n\r\n" + b"BDAT 1\r\nx" * 1000)
        await asyncio.sleep(0)
        assert wire.sent.count(b" octets received") < 1000
        await until(lambda: wire.sent.count(b" octets received") == 1001)
        session.connection_lost(None)


async def test_who_does_not_read_is_not_read_and_is_answered_once_he_reads(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (program, _):
        session, wire = await opened(program)
        session.pause_writing()
        assert not wire.reading
        session.data_received(RCPT * 10)
        assert b"250 2.1.5 OK" not in wire.sent
        assert session.eof_received()
        session.resume_writing()
        await until(lambda: wire.closed)
        assert wire.sent.count(b"250 2.1.5 OK") == 10
        session.connection_lost(None)


@pytest.mark.parametrize("wanted", [False, True], ids=["deadline", "others wait"])
async def test_who_does_not_read_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, wanted: bool) -> None:
    async with running_store(store_instance(tmp_path)) as (program, _):
        session, wire = await opened(program)
        session.data_received(b"RSET\r\n")
        session.pause_writing()
        assert session.idle_since() is None
        if wanted:
            monkeypatch.setattr("posthouse.store.lmtp_server.session.PATIENCE", -1.0)
            assert session.idle_since() is not None
            session.shed()
        else:
            session.expire()
        assert wire.aborted
        session.connection_lost(None)


async def test_what_a_deaf_client_costs_is_bounded(tmp_path: Path) -> None:
    """Real sockets: the client sends until nobody takes it any more, then reads every reply."""
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        assert (await client.say("MAIL FROM:<s@example.org>")).startswith("250")
        transport = client.writer.transport
        transport.set_write_buffer_limits(0)
        client_reads = client.reader._transport  # type: ignore[attr-defined] # a stream has no pause of its own
        client_reads.pause_reading()
        sent, taken = 0, True
        while taken and sent * len(RCPT) < 64 << 20:
            client.writer.write(RCPT * 10_000)
            sent += 10_000
            taken = await within_two_seconds(client.writer.drain())
        assert not taken
        client_reads.resume_reading()
        async with asyncio.timeout(180):
            answers = [(await client.reader.readline())[:9] for _ in range(sent)]
        most = most_recipients()
        assert answers == [b"250 2.1.5"] * most + [b"452 4.5.3"] * (sent - most)
        await client.close()


@pytest.mark.parametrize(("files", "most"), [(256, 100), (1024, 104), (4096, 616), (65_536, 1000)])
async def test_no_more_recipients_than_their_mailboxes_can_be_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, files))
    async with running_store(store_instance(tmp_path)) as (program, _):
        session, wire = await opened(program)
        session.data_received(RCPT * 1001)
        await until(lambda: wire.sent.count(b"250 2.1.5") + wire.sent.count(b"452 4.5.3") == 1001)
        assert wire.sent.count(b"250 2.1.5") == most
        session.connection_lost(None)
