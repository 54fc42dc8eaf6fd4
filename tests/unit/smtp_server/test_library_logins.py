"""`SmtpServer` with logins: who comes in, what the others hear and when."""

import asyncio
import logging
import smtplib
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import trustme
import uvloop

from posthouse.mail.status import Status
from posthouse.relay.smtp_server import Arrival, Limits, SmtpServer
from posthouse.relay.smtp_server.guessing import MAX_FAILURES, Failures
from support.store_files import LmtpTalk

OK = Status(250, "2.0.0", "good")
MESSAGE = b"Subject: x\r\n\r\ntext\r\n"
QUICK = Limits(login_seconds=0.001)
LOOPS = pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])


def plain(user: str, password: str, acts_for: str = "") -> str:
    return "AUTH PLAIN " + b64encode(f"{acts_for}\0{user}\0{password}".encode()).decode()


class Letting(SmtpServer):
    """Lets ann in with the password `secret`, says what the tests want of the others."""

    said: Any = Status(550, "5.7.8", "ann's password is another one")

    def __init__(self, **options: Any) -> None:
        super().__init__(hostname="mx.example.com", **options)
        self.asked: list[tuple[str, str, str]] = []
        self.arrivals: list[Arrival] = []

    async def login(self, user: str, password: str, address: str) -> Status:
        self.asked.append((user, password, address))
        if (user, password) == ("ann", "secret"):
            return OK
        if isinstance(self.said, Exception):
            raise self.said
        return self.said  # type: ignore[no-any-return]

    async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        self.arrivals.append(arrival)
        return Status(250, "2.6.0", "taken")


@pytest.fixture
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and its clients'."""
    authority = trustme.CA()
    certificate, trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(certificate)
    authority.configure_trust(trust)
    return certificate, trust


@pytest.fixture
async def in_clear() -> AsyncIterator[Letting]:
    async with Letting(login_in_clear=True, limits=QUICK) as server:
        yield server


async def talk_to(server: SmtpServer, hello: str = "EHLO client.example.org") -> LmtpTalk:
    return await LmtpTalk.connect(int(server.address[1]), hello)


def own(talk: LmtpTalk) -> tuple[str, int]:
    """The client's address, as the server sees it."""
    address, port = talk.writer.get_extra_info("sockname")
    return address, port


def reset(talk: LmtpTalk) -> None:
    """Break the connection off, so that the server can say nothing more."""
    connection = talk.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.writer.transport.abort()


def run(loop_of: Callable[[], asyncio.AbstractEventLoop], main: Any) -> None:
    with asyncio.Runner(loop_factory=loop_of) as runner:
        runner.run(main)


@LOOPS
def test_logins_are_offered_under_tls_and_the_message_says_who_came(
    loop_of: Callable[[], asyncio.AbstractEventLoop], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    certificate, trust = contexts

    async def main() -> None:
        async with Letting(tls=certificate, login_first=True) as server:

            def submit() -> None:
                with smtplib.SMTP("localhost", int(server.address[1])) as client:
                    client.ehlo()
                    assert not client.has_extn("auth")
                    assert client.docmd("AUTH", "PLAIN AGEAYg==")[0] == 538
                    assert client.mail("a@example.org") == (530, b"5.7.0 Must issue a STARTTLS command first")
                    client.starttls(context=trust)
                    client.ehlo()
                    assert client.esmtp_features["auth"].split() == ["PLAIN", "LOGIN"]
                    assert client.mail("a@example.org") == (530, b"5.7.0 Authentication required")
                    client.login("ann", "secret")
                    client.sendmail("a@example.org", ["bob@example.com"], MESSAGE)

            await asyncio.to_thread(submit)
            assert server.asked == [("ann", "secret", "127.0.0.1")]
            [arrival] = server.arrivals
            assert (arrival.user, arrival.protocol) == ("ann", "ESMTPSA")

    run(loop_of, main())


@pytest.mark.parametrize(
    "command",
    [
        plain("ann", "wrong"),
        plain("nobody", "secret"),
        plain("ann", "secret", acts_for="bob"),
        "AUTH PLAIN " + b64encode(b"\0ann\0\xff").decode(),
        "AUTH PLAIN " + b64encode(b"\0\xff\0x").decode(),
    ],
)
async def test_every_refusal_has_the_same_words(in_clear: Letting, command: str) -> None:
    talk = await talk_to(in_clear)
    assert await talk.say(command) == "535 5.7.8 Authentication credentials invalid"
    assert await talk.say(plain("ann", "secret")) == "235 2.7.0 PLAIN authentication successful."
    assert (await talk.say(plain("ann", "secret"))).startswith("503")
    await talk.close()


async def test_the_third_wrong_password_ends_the_connection(in_clear: Letting) -> None:
    talk = await talk_to(in_clear)
    for _ in range(3):
        assert (await talk.say(plain("ann", "wrong"))).startswith("535")
    assert (await talk.reply()).startswith("421 4.7.0 Too many failed logins")
    assert await talk.reader.read() == b""
    talk.writer.close()


async def test_a_refusal_comes_late_and_each_one_later() -> None:
    loop, took = asyncio.get_running_loop(), []
    async with Letting(login_in_clear=True, limits=Limits(login_seconds=0.05)) as server:
        talk = await talk_to(server)
        for password in ("wrong", "wrong", "secret"):
            began = loop.time()
            await talk.say(plain("ann", password))
            took.append(loop.time() - began)
        await talk.close()
    assert took[0] >= 0.05
    assert took[1] >= 0.1


@pytest.mark.parametrize("said", [Status(451, "4.3.0", "the database is away"), LookupError("ann"), "yes"])
async def test_a_login_nobody_can_judge_is_to_be_tried_later(in_clear: Letting, said: object) -> None:
    in_clear.said = said
    talk = await talk_to(in_clear)
    for _ in range(4):
        assert (await talk.say(plain("ann", "wrong"))).startswith("454 4.7.0 Temporary authentication failure")
    await talk.close()


async def test_an_address_that_guesses_is_not_asked_about_any_more(in_clear: Letting) -> None:
    for _ in range(MAX_FAILURES // 3):
        talk = await talk_to(in_clear)
        for _ in range(3):
            await talk.say(plain("ann", "wrong"))
        talk.writer.close()
    asked = len(in_clear.asked)
    talk = await talk_to(in_clear)
    assert (await talk.say(plain("ann", "secret"))).startswith("454 4.7.0 Too many failed logins from your address")
    assert len(in_clear.asked) == asked == MAX_FAILURES
    await talk.close()


async def test_a_client_that_goes_away_while_it_is_judged_changes_nothing() -> None:
    judged = asyncio.Event()

    class Slow(Letting):
        async def login(self, user: str, password: str, address: str) -> Status:
            await judged.wait()
            return OK

    async with Slow(login_in_clear=True, limits=QUICK) as server:
        talk = await talk_to(server)
        talk.writer.write(plain("ann", "secret").encode() + b"\r\n")
        await talk.writer.drain()
        talk.writer.transport.abort()
        judged.set()
        other = await talk_to(server)
        assert (await other.say(plain("ann", "secret"))).startswith("235")
        await other.close()


async def test_octets_that_are_no_utf_8_never_reach_the_program(in_clear: Letting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "posthouse.smtp")
    talk = await talk_to(in_clear)
    assert (await talk.say("AUTH PLAIN " + b64encode(b"\0ann\0\xff").decode())).startswith("535")
    assert (await talk.say(plain("ann", "secret", acts_for="bob"))).startswith("535")
    assert in_clear.asked == []
    assert [record.getMessage() for record in caplog.records] == [
        "a login of 'ann' from 127.0.0.1 was refused: 535 5.7.8 not UTF-8",
        "a login of 'ann' from 127.0.0.1 was refused: 535 5.7.8 acting for somebody else",
    ]
    await talk.close()


async def test_a_nul_in_a_name_or_password_is_no_login(in_clear: Letting) -> None:
    for name, password in (("an\0n", "secret"), ("ann", "sec\0ret")):
        talk = await talk_to(in_clear)
        assert (await talk.say("AUTH LOGIN " + b64encode(name.encode()).decode())).startswith("334")
        assert (await talk.say(b64encode(password.encode()).decode())).startswith("501 5.5.2")
        await talk.close()
    assert in_clear.asked == []


@LOOPS
@pytest.mark.parametrize("said", ["AUTH LOGIN", plain("ann", "wrong")])
def test_who_dawdles_over_a_login_keeps_nobody_out_and_holds_no_end_up(
    loop_of: Callable[[], asyncio.AbstractEventLoop], said: str
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limits = Limits(connections=2, login_seconds=16, drain_seconds=10)
        async with Letting(login_in_clear=True, limits=limits) as server, asyncio.timeout(30):
            first, second = await talk_to(server), await talk_to(server)
            for talk in (first, second):
                talk.writer.write(f"{said}\r\n".encode())
            while said != "AUTH LOGIN" and len(server.asked) < 2:
                await asyncio.sleep(0)
            third = await talk_to(server)
            reads = [asyncio.create_task(talk.reader.read()) for talk in (first, second)]
            done, left = await asyncio.wait(reads, timeout=5, return_when=asyncio.FIRST_COMPLETED)  # as old as each other
            for read in left:
                read.cancel()
            [replies] = [read.result().decode() for read in done]
            assert replies.endswith("421 4.3.2 service is shutting down or busy; try again\r\n")
            assert len(server.sessions) == 2
            began = loop.time()
            await server.stop()
            assert loop.time() - began < 5
            for talk in (first, second, third):
                talk.writer.close()

    run(loop_of, main())


async def test_a_login_that_the_end_cuts_short_is_told_so() -> None:
    class Stuck(Letting):
        async def login(self, user: str, password: str, address: str) -> Status:
            await super().login(user, password, address)
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    server = Stuck(login_in_clear=True, limits=Limits(drain_seconds=0))
    await server.start()
    talk = await talk_to(server)
    talk.writer.write(plain("ann", "secret").encode() + b"\r\n")
    async with asyncio.timeout(5):
        while not server.asked:
            await asyncio.sleep(0)
        await server.stop()
    assert (await talk.reply()).startswith("454 4.7.0 Temporary")
    assert (await talk.reply()).startswith("421 4.3.2")
    talk.writer.close()


async def test_guesses_made_at_once_are_judged_as_if_one_after_the_other() -> None:
    class OneByOne(Letting):
        async def login(self, user: str, password: str, address: str) -> Status:
            await asyncio.sleep(0)
            return await super().login(user, password, address)

    async with OneByOne(login_in_clear=True, limits=Limits(calls=1, login_seconds=0.001)) as server:
        talks = [await talk_to(server) for _ in range(MAX_FAILURES + 10)]
        replies = await asyncio.gather(*(talk.say(plain("ann", f"guess {n}")) for n, talk in enumerate(talks)))
        assert sorted(reply[:3] for reply in replies) == ["454"] * 10 + ["535"] * MAX_FAILURES
        assert len(server.asked) == MAX_FAILURES
        for talk in talks:
            await talk.close()


async def test_nobody_is_asked_about_a_client_that_is_gone_before_its_turn() -> None:
    turn = asyncio.Event()

    class Slow(Letting):
        async def login(self, user: str, password: str, address: str) -> Status:
            status = await super().login(user, password, address)
            await turn.wait()
            return status

    async with Slow(login_in_clear=True, limits=Limits(calls=1, login_seconds=0.001)) as server:
        first, gone, last = [await talk_to(server) for _ in range(3)]
        first.writer.write(plain("ann", "secret").encode() + b"\r\n")
        gone.writer.write(plain("ann", "wrong").encode() + b"\r\nNOOP\r\n")
        async with asyncio.timeout(5):
            while not any(session.server.awaiting for session in server.sessions if session.connection.peer == own(gone)):
                await asyncio.sleep(0)
            reset(gone)
            while len(server.sessions) > 2:
                await asyncio.sleep(0)
        turn.set()
        assert (await first.reply()).startswith("235")
        assert (await last.say(plain("ann", "secret"))).startswith("235")
        assert [password for _, password, _ in server.asked] == ["secret", "secret"]
        await first.close()
        await last.close()


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:db8:0:2::1"),
        ("fe80::1%eth0", "fe80::2%eth0", "fec0::1"), ("", "", "::1"),
    ],
)  # fmt: skip
def test_whoever_has_a_network_of_ipv6_addresses_has_the_tries_of_one(address: str, same: str, other: str) -> None:
    failures = Failures(lambda: 1000.0)
    for _ in range(MAX_FAILURES):
        failures.note(address)
    assert [failures.too_many(each) for each in (address, same, other)] == [True, True, False]


def test_logins_that_could_never_be_are_errors() -> None:
    async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        return OK

    with pytest.raises(TypeError, match="async def login"):
        SmtpServer(deliver, login_first=True)
    with pytest.raises(ValueError, match="login_in_clear"):
        Letting()
