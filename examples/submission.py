"""Users hand in mail after a login, under TLS: `submission.py PORT FILE`, the file with key and certificate.

Try `swaks --server 127.0.0.1:PORT --tls --auth-user ann --auth-password secret --from ann@example.org --to bob@example.com`.
"""

import asyncio
import hashlib
import hmac
import ssl
import sys
from collections.abc import Sequence

from posthouse.mail.status import Status
from posthouse.relay.smtp_server import Arrival, SmtpServer

USERS = {"ann": (b"salt of ann", "da056ffe1f7d4290efddd253459d729dc350eb12b9009aa9e0eaae97bfde3d99")}


def is_right(user: str, password: str) -> bool:
    salt, known = USERS.get(user, (b"nobody", ""))  # as much work for a name that is not there
    found = hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1, dklen=32)
    return hmac.compare_digest(found.hex(), known)


class Submission(SmtpServer):
    async def login(self, user: str, password: str, address: str) -> Status:
        right = await asyncio.to_thread(is_right, user, password)
        return Status(250, "2.0.0", "welcome") if right else Status(550, "5.7.8", "wrong name or password")

    async def recipient(self, sender: str, recipient: str, arrival: Arrival) -> Status:
        if sender.partition("@")[0] != arrival.user:
            return Status(550, "5.7.1", f"{arrival.user} is not {sender}")
        return Status(250, "2.1.5", "OK")

    async def deliver(self, sender: str, recipients: Sequence[str], message: bytes, arrival: Arrival) -> Status:
        print(f"{arrival.user} sends {len(message)} octets to {', '.join(recipients)}, by {arrival.protocol}")
        return Status(250, "2.6.0", f"taken as {arrival.id}")


async def main(port: int, certificate: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with Submission(port=port, tls=context, login_first=True):
        print(f"listening on port {port}")
        await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
