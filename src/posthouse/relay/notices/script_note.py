"""The message that tells a user of a fault in his Sieve script. Pure: values in, octets out."""

from posthouse.relay.notices.dsn import rfc_date
from posthouse.relay.notices.field_text import phrase
from posthouse.relay.notices.notifier import Wording

_TEXT = """Your mail filter (Sieve script) has a fault:

  {fault}

While it has, everything the filter would decide is kept in your inbox. Nothing is lost.
You are told of this fault once, not for every message.
"""


def note_octets(fault: str, address: str, wording: Wording, message_id: str, now: float) -> bytes:
    """The message, CRLF line ends.

    Args:
        fault: `line N: reason`.
        address: of the script's owner.
        wording: who says so.
        message_id: with angle brackets.
        now: Unix seconds.
    """
    text = _TEXT.format(fault=" ".join(fault.split()))
    charset = "us-ascii" if text.isascii() else "utf-8"
    lines = [
        f"From: {phrase(wording.personal)} <{wording.postmaster}>",
        f"To: {' '.join(address.split())}",
        "Subject: Your mail filter has a fault",
        f"Date: {rfc_date(now)}",
        f"Message-ID: {message_id}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f"Content-Type: text/plain; charset={charset}",
        "Content-Transfer-Encoding: " + ("7bit" if text.isascii() else "8bit"),
        "",
        *text.split("\n"),
    ]
    return "\r\n".join(lines).encode("utf-8", "replace")
