"""An LMTP server that files mail in Maildirs of the standard library: `maildir_server.py FOLDER SOCKET`.

What blocks runs in a thread; what raises is answered 430 4.3.0, so that the sender keeps the message and tries again.
Ctrl-C or SIGTERM end it: messages under way are answered first.
"""

import asyncio
import contextlib
import mailbox
import re
import signal
import sys
from pathlib import Path

from posthouse.mail.status import Status
from posthouse.store.lmtp_server import Limits, LmtpServer

USER = re.compile(r"([a-z0-9][a-z0-9._-]*)(?:\+[^@]*)?@example\.com")


class MaildirServer(LmtpServer):
    """Files `user@example.com` in `folder/user`."""

    def __init__(self, folder: Path, path: str) -> None:
        super().__init__(path=path, limits=Limits(message_size=10_000_000, calls=8))
        self._folder = folder

    async def deliver(self, sender: str, recipient: str, message: bytes) -> Status:
        user = USER.fullmatch(recipient.lower())
        if user is None:
            return Status(550, "5.1.1", f"{recipient} has no mailbox here")
        key = await asyncio.to_thread(self._add, user[1], f"Return-Path: <{sender}>\n".encode() + message)
        return Status(250, "2.1.5", f"{recipient} stored as {key}")

    def _add(self, user: str, message: bytes) -> str:
        return mailbox.Maildir(self._folder / user).add(message)


async def main(folder: Path, path: str) -> None:
    async with MaildirServer(folder, path) as server:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        print("listening on", server.address, flush=True)
        await stop.wait()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
