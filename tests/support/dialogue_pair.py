"""A client's and a server's dialogue joined: what one says the other hears, in pieces of any size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from posthouse.dialogue import event as heard
from posthouse.dialogue.client import LmtpClient, Transaction
from posthouse.dialogue.client_event import ClientEvent, Ready, RecipientResult, TransactionDone, WantBody
from posthouse.dialogue.server import Server
from posthouse.dialogue.stuffing import on_wire
from posthouse.mail.status import Status


@dataclass
class Pair:
    """Sends the messages one after the other, then leaves."""

    server: Server
    messages: Sequence[tuple[Transaction, bytes]]
    judge: Callable[[heard.Rcpt], Status] = lambda _rcpt: Status(250, "2.1.5", "OK")
    piece: int = 1 << 20
    client: LmtpClient = field(default_factory=lambda: LmtpClient("relay1"))
    told: list[ClientEvent] = field(default_factory=list)
    received: list[heard.Event] = field(default_factory=list)
    recipients: list[heard.Rcpt] = field(default_factory=list)

    def run(self) -> None:
        waiting = list(self.messages)
        to_client = self.server.to_send()
        while to_client and not self.client.closed:
            to_server = self._client_hears(to_client, waiting)
            to_client = b"".join(
                self._server_hears(to_server[start : start + self.piece]) for start in range(0, len(to_server), self.piece)
            )

    def results(self) -> list[tuple[int, int, bool]]:
        return [(event.index, event.status.code, event.final) for event in self.told if isinstance(event, RecipientResult)]

    def _client_hears(self, octets: bytes, waiting: list[tuple[Transaction, bytes]]) -> bytes:
        out = b""
        for start in range(0, len(octets), self.piece):
            self.client.feed(octets[start : start + self.piece])
            while (event := self.client.next_event()) is not None:
                self.told.append(event)
                if isinstance(event, Ready | TransactionDone):
                    if waiting:
                        transaction, self._body = waiting.pop(0)
                        self.client.begin(transaction)
                    else:
                        self.client.quit()
                elif isinstance(event, WantBody):
                    out += self.client.to_send() + on_wire(self._body)
                    self.client.body_sent()
            out += self.client.to_send()
        return out

    def _server_hears(self, octets: bytes) -> bytes:
        server = self.server
        server.feed(octets)
        while (event := server.next_event()) is not None:
            self.received.append(event)
            if isinstance(event, heard.Mail):
                self.recipients.clear()
                server.accept()
            elif isinstance(event, heard.Rcpt):
                status = self.judge(event)
                server.answer(status)
                if status.is_success:
                    self.recipients.append(event)
            elif isinstance(event, heard.Message | heard.MessageEnd):
                server.answer_data([b"250 2.5.0 " + rcpt.raw + b" OK" for rcpt in self.recipients])
        return server.to_send()
