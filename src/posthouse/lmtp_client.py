"""An LMTP client for any Python program: one connection, one message after the other, a result for each recipient (RFC 2033 4.2).

    async with LmtpClient("127.0.0.1", 2400) as client:
        for result in await client.send("ann@example.com", ["bob@example.com"], message):
            print(result.recipient, result.status)

Promise: `send` returns one result for each recipient, in their order, however the conversation ends. A result is `final` only
when the server said it of this recipient, or of the sender or the message as a whole. The others are unsettled: the connection
broke or the server was too slow, the message may have been delivered or not, and is to be sent again to exactly them.

Line ends are made CRLF and dots are stuffed here. SIZE, BODY=8BITMIME and SMTPUTF8 are sent where the server lists them.
Runs on asyncio's loop and on uvloop's. One `send` at a time.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from posthouse.dialogue.client import ClientPhase, Transaction
from posthouse.dialogue.client import LmtpClient as Dialogue
from posthouse.dialogue.client_event import (
    Bye,
    ClientEvent,
    ProtocolError,
    Ready,
    RecipientResult,
    Refused,
    TransactionDone,
    WantBody,
)
from posthouse.dialogue.stuffing import count_growth, on_wire, wire_size
from posthouse.mail.outcome import Deferred, Outcome, Scope, outcome_of
from posthouse.mail.status import Status

_BLOCK = 65_536
_LINE_END = re.compile(rb"\r\n|\r|\n")
_BRACKET_OR_CONTROL = re.compile(r"[\x00-\x1f\x7f]|^<|>$")
_NO_UTF8 = Status(553, "5.6.7", "the server takes no internationalized addresses")
_SLOW = Status(451, "4.4.2", "the server did not answer in time")
_LEFT = Status(451, "4.4.2", "connection lost before the reply")


class LmtpClientError(ConnectionError):
    """The connection cannot be had, or cannot be used any more. `status` is what the server said, if it did."""

    def __init__(self, status: Status) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds the server may take (RFC 5321 4.5.3.2)."""

    connect: float = 30.0
    """for the connection"""
    reply: float = 300.0
    """for the greeting and the reply to a command"""
    final: float = 600.0
    """for the reply of each recipient, and for taking the message"""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one recipient."""

    recipient: str
    status: Status
    final: bool
    """whether the status is this recipient's own; if not, it is unsettled and to be tried again"""

    @property
    def outcome(self) -> Outcome:
        """Delivered, Deferred or Failed; an unsettled recipient is always Deferred."""
        return outcome_of(self.status) if self.final else Deferred(self.status, Scope.SESSION)


class LmtpClient:
    """One connection to an LMTP server. Use it as `async with client:`, or `connect` and `close` it.

    Args:
        host: the server.
        port: its port.
        path: connect to this Unix socket instead.
        hello: our name behind LHLO; the system's by default.
        timeouts: how long the server may take.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 24,
        *,
        path: str | None = None,
        hello: str = "",
        timeouts: Timeouts | None = None,
    ) -> None:
        self._host, self._port, self._path = host, port, path
        self._timeouts = timeouts or Timeouts()
        self._hello = hello or socket.gethostname()
        self._dialogue = Dialogue(self._hello)
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None
        self._extensions: frozenset[str] = frozenset()

    @property
    def extensions(self) -> frozenset[str]:
        """What the server lists, in capitals."""
        return self._extensions

    async def connect(self) -> None:
        """Connect and say LHLO.

        Raises:
            LmtpClientError: the server does not want to talk.
            OSError: the connection cannot be had.
            TimeoutError: not in time.
        """
        self._dialogue = Dialogue(self._hello)
        async with asyncio.timeout(self._timeouts.connect):
            if self._path is not None:
                self._reader, self._writer = await asyncio.open_unix_connection(self._path)
            else:
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        try:
            while True:
                event = await self._next()
                if isinstance(event, Ready):
                    self._extensions = frozenset(event.extensions)
                    return
                if isinstance(event, Refused | Bye):
                    raise LmtpClientError(event.status)
                if isinstance(event, ProtocolError):
                    raise LmtpClientError(Status(451, "4.5.0", event.text))
        except BaseException:
            await self._drop()
            raise

    async def send(self, sender: str, recipients: Sequence[str], message: bytes) -> list[Result]:
        """Send one message.

        Args:
            sender: without brackets; empty for the null sender.
            recipients: without brackets.
            message: header and body, with any line ends.

        Returns:
            A result for each recipient, in their order.

        Raises:
            LmtpClientError: there is no connection any more: nothing was sent.
            ValueError: no recipients, or an address with brackets around it or a control character in it.
        """
        for address in (sender, *recipients):
            if _BRACKET_OR_CONTROL.search(address):
                raise ValueError(f"bad address: {address!r}")
        if self._writer is None or self._dialogue.phase is not ClientPhase.IDLE:
            raise LmtpClientError(_LEFT)
        results = [Result(each, _LEFT, final=False) for each in recipients]
        takes_utf8 = "SMTPUTF8" in self._extensions
        places = [place for place, each in enumerate(recipients) if takes_utf8 or (sender + each).isascii()]
        for place in set(range(len(recipients))).difference(places):
            results[place] = Result(recipients[place], _NO_UTF8, final=True)
        if places or not recipients:
            utf8 = takes_utf8 and not (sender + "".join(recipients)).isascii()
            body = _LINE_END.sub(b"\r\n", message)
            self._dialogue.begin(self._transaction(sender, [recipients[place] for place in places], body, utf8=utf8))
            await self._converse(results, places, body)
        return results

    def _transaction(self, sender: str, recipients: list[str], body: bytes, *, utf8: bool) -> Transaction:
        params = [b"BODY=8BITMIME"] if "8BITMIME" in self._extensions and not body.isascii() else []
        return Transaction(
            sender.encode("utf-8", "surrogateescape"),
            wire_size(len(body), count_growth(body)),
            tuple(b"<%b>" % each.encode("utf-8", "surrogateescape") for each in recipients),
            b" ".join([*params, b"SMTPUTF8"] if utf8 else params),
        )

    async def _converse(self, results: list[Result], places: list[int], body: bytes) -> None:
        """Carry the transaction to its end; what breaks it leaves the rest of the results as they are."""
        slow = _LEFT
        try:
            while True:
                event = await self._next()
                if isinstance(event, RecipientResult):
                    place = places[event.index]
                    results[place] = Result(results[place].recipient, event.status, event.final)
                elif isinstance(event, WantBody):
                    await self._write(on_wire(body))
                    self._dialogue.body_sent()
                elif isinstance(event, TransactionDone):
                    break
        except TimeoutError:
            slow = _SLOW
            await self._drop()
        except OSError:
            await self._drop()
        except BaseException:
            await self._drop()
            raise
        for index, result in enumerate(results):
            if not result.final and result.status is _LEFT:
                results[index] = Result(result.recipient, slow, final=False)
        if self._dialogue.closed:
            await self._drop()

    async def close(self) -> None:
        """Say QUIT and close. Closing what is closed changes nothing."""
        if self._writer is not None and self._dialogue.phase is ClientPhase.IDLE:
            self._dialogue.quit()
            with contextlib.suppress(OSError, TimeoutError):
                while not isinstance(await self._next(), Bye | ProtocolError):
                    pass
        await self._drop()

    async def _drop(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _next(self) -> ClientEvent:
        """The next event.

        Raises:
            OSError: the connection is lost.
            TimeoutError: the server is too slow.
        """
        while True:
            event = self._dialogue.next_event()
            if octets := self._dialogue.to_send():
                await self._write(octets)
            if event is not None:
                return event
            if self._dialogue.closed:
                raise LmtpClientError(_LEFT)
            limit = self._timeouts.final if self._dialogue.phase is ClientPhase.FINAL else self._timeouts.reply
            data = await asyncio.wait_for(self._reader.read(_BLOCK), limit)
            if data:
                self._dialogue.feed(data)
            else:
                self._dialogue.eof()

    async def _write(self, octets: bytes) -> None:
        assert self._writer is not None
        self._writer.write(octets)
        await asyncio.wait_for(self._writer.drain(), self._timeouts.final)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
