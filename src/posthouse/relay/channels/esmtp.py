"""MAIL and RCPT arguments for an SMTP server, by what it lists. Pure.

    MAIL   BODY=8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), RET and ENVID where DSN is listed (RFC 3461 4)
    RCPT   NOTIFY and ORCPT where DSN is listed, as they were given to us

SIZE (RFC 1870) is the dialogue's. LIMITS (RFC 9422): RCPTMAX bounds the recipients of a transaction, which are never more than
100, what every server has to take (RFC 5321 4.5.3.1.8); MAILMAX bounds the transactions of a session.
"""

from collections.abc import Mapping

from posthouse.mail.envelope import Envelope, Recipient

MOST_RECIPIENTS = 100


def mail_parameters(envelope: Envelope, listed: Mapping[str, str], *, eight_bit: bool) -> bytes:
    """Parameters of MAIL, separated by blanks.

    Args:
        envelope: of the message.
        listed: what the server lists.
        eight_bit: the body goes out with octets above 127.
    """
    found = ["BODY=8BITMIME"] if eight_bit and "8BITMIME" in listed else []
    if envelope.utf8 and "SMTPUTF8" in listed:
        found.append("SMTPUTF8")
    if "DSN" in listed:
        found += [f"RET={envelope.ret}"] if envelope.ret else []
        found += [f"ENVID={envelope.envid}"] if envelope.envid else []
    return " ".join(found).encode("utf-8", "surrogateescape")


def rcpt_argument(wire: str, recipient: Recipient, listed: Mapping[str, str]) -> bytes:
    """What stands behind `RCPT TO:`.

    Args:
        wire: the address as it goes out.
        recipient: whose it is.
        listed: what the server lists.
    """
    found = f"<{wire}>"
    if "DSN" in listed:
        found += f" NOTIFY={recipient.notify}" if recipient.notify else ""
        if recipient.orcpt and (recipient.orcpt.isascii() or "SMTPUTF8" in listed):
            found += f" ORCPT={recipient.orcpt}"
    return found.encode("utf-8", "surrogateescape")


def limit(listed: Mapping[str, str], name: str) -> int:
    """A number in LIMITS, 0 where there is none."""
    for word in listed.get("LIMITS", "").upper().split():
        key, _, value = word.partition("=")
        if key == name and value.isdigit():
            return int(value[:9])
    return 0


def most_recipients(listed: Mapping[str, str]) -> int:
    """Recipients of one transaction."""
    return min(limit(listed, "RCPTMAX") or MOST_RECIPIENTS, MOST_RECIPIENTS)


def most_octets(listed: Mapping[str, str]) -> int:
    """The size the server takes at most, 0 where it does not say."""
    text = listed.get("SIZE", "").partition(" ")[0]
    return int(text) if text.isdigit() and len(text) < 16 else 0
