"""A test that looks at the mail of a program without a loop: the server has a thread of its own. `smtp_in_tests.py`."""

import asyncio
import smtplib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread

from posthouse.mail.status import Status
from posthouse.relay.smtp_server import Arrival, SmtpServer


class Inbox(SmtpServer):
    """Keeps what it takes."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[str, str, Sequence[str], bytes]] = []

    async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        self.taken.append((arrival.protocol, sender, recipients, message))
        return Status(250, "2.6.0", "taken")


@contextmanager
def running(server: SmtpServer) -> Iterator[int]:
    """Serve in a thread; gives the port."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(server.start())
        thread = Thread(target=loop.run_forever)
        thread.start()
        try:
            yield int(server.address[1])
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()


def send_greetings(port: int) -> None:
    """Stands for the program that is tested."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        client.sendmail("ann@example.com", ["bob@example.com"], "Subject: greetings\n\nHello.\n")


inbox = Inbox()
with running(inbox) as port:
    send_greetings(port)
print(inbox.taken)
