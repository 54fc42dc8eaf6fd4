"""Sieve scripts of users and channels between the final dot and the journal: what they decide replaces the recipients' targets.

A message that every recipient's script rejects is refused with the script's reason (RFC 5429 2.1): no notice has to be sent.
Unless `reject` has a reason outside ASCII, which a reply would garble: who sent it, if anybody, gets it by notice (RFC 5429 2.2).
Everything else a script wants is a recipient of the message, durable with it before 250 (DURABILITY 4.1).
When scripts of many recipients take too much work together, those that are left are run on channel `process`.
Of a message that was streamed to disk a script sees the header and as much of the body as is in memory.
"""

import time
from typing import TYPE_CHECKING

import msgspec

from posthouse.mail.status import Status
from posthouse.relay.filtering.limits import BUDGET
from posthouse.relay.filtering.message import Message
from posthouse.relay.filtering.run import Surroundings
from posthouse.relay.scripts.decisions import Decisions, rejection
from posthouse.relay.smtp_server.mail import Client
from posthouse.relay.smtp_server.transaction import Transaction

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.relay import Relay

_LONGEST = 400
_WORK = 2 * BUDGET
"""of all scripts of one message: the worker serves others too"""


def run_scripts(relay: "Relay", transaction: Transaction, octets: bytes, size: int, end: int, client: Client) -> Status | None:
    """Let the scripts decide; the reply that refuses the message, or None.

    Args:
        relay: what the worker's sessions share.
        transaction: whose recipients get new targets.
        octets: the message from its header on, perhaps not all of it.
        size: of all of it.
        end: offset behind the header fields, where the empty line stands.
        client: who sends it.
    """
    now, body = relay.now(), end + 2 * octets.startswith(b"\r\n", end)
    zone = time.localtime(now).tm_gmtoff // 60
    around = Surroundings(now, zone, None, relay.host, transaction.rules.subaddress_char)
    message = Message(octets, size, body)
    decisions = Decisions(transaction.rules, transaction.sender, message, around, relay.report, work=_WORK, user=client.user)
    decided = [
        msgspec.structs.replace(taken, targets=decisions.targets(taken.original, taken.targets, client.channel))
        for taken in transaction.recipients
    ]
    reason = rejection(target for taken in decided for target in taken.targets)
    if reason is not None:
        return Status(550, "5.7.1", _one_line(reason))
    transaction.recipients = decided
    return None


def _one_line(reason: str) -> str:
    """A reply's text: one line of ASCII, as a client without SMTPUTF8 wants it."""
    text = " ".join(reason.split()).encode("ascii", "replace").decode()
    return "".join(char if char.isprintable() else "?" for char in text)[:_LONGEST] or "message rejected by the recipient"
