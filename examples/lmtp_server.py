"""An LMTP server in 15 lines, each recipient with an answer of its own: `lmtp_server.py PORT`. Then `lmtp_client.py PORT ...`."""

import asyncio
import sys

from posthouse.mail.status import Status
from posthouse.store.lmtp_server import LmtpServer


async def deliver(sender: str, recipient: str, message: bytes) -> Status:
    if recipient.startswith("nobody@"):
        return Status(550, "5.1.1", f"{recipient} has no mailbox here")
    print(f"{len(message)} octets from <{sender}> for {recipient}")
    return Status(250, "2.1.5", f"{recipient} has it")


async def main(port: int) -> None:
    async with LmtpServer(deliver, port=port):
        print(f"listening on port {port}")
        await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
