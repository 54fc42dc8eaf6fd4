"""Send one message to an LMTP server and tell what became of each recipient: `lmtp_client.py PORT RECIPIENT...`."""

import asyncio
import sys

from posthouse.lmtp_client import LmtpClient

MESSAGE = b"From: Ann <ann@example.com>\nSubject: greetings\n\nHello.\n"


async def main(port: int, recipients: list[str]) -> None:
    async with LmtpClient("127.0.0.1", port) as client:
        for result in await client.send("ann@example.com", recipients, MESSAGE):
            print(f"{result.recipient}: {type(result.outcome).__name__}: {result.status}")


asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
