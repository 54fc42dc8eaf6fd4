"""An SMTP server in 15 lines: `smtp_server.py PORT`. Try `swaks --server 127.0.0.1:PORT --to bob@example.com`."""

import asyncio
import sys
from collections.abc import Sequence

from posthouse.mail.status import Status
from posthouse.relay.smtp_server import Arrival, SmtpServer


async def deliver(sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
    print(f"{len(message)} octets from <{sender}> for {', '.join(recipients)}, by {arrival.protocol} from {arrival.helo}")
    return Status(250, "2.6.0", f"taken as {arrival.id}")


async def main(port: int) -> None:
    async with SmtpServer(deliver, port=port):
        print(f"listening on port {port}")
        await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
