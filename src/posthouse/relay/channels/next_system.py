"""What an SMTP server lists, and what follows from it for a message. Pure.

    MAIL   BODY=8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531) where it was given to us or an address is outside ASCII, as a member of a
           group or a forward may be; RET and ENVID where DSN is listed (RFC 3461 4)
    RCPT   NOTIFY and ORCPT where DSN is listed, as they were given to us
    SIZE   (RFC 1870) what is larger than the server takes is not sent: 5.3.4
    LIMITS (RFC 9422) RCPTMAX bounds the recipients of a transaction, which are never more than 100, what every server has to take
           (RFC 5321 4.5.3.1.8); MAILMAX bounds the transactions of a session

Without 8BITMIME, or without SMTPUTF8 where only header fields need it, a message is converted (`seven_bit`). What must not be
changed, because it is signed, is refused with 5.6.1; an address or field without another form with 5.6.7.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from posthouse.dialogue.stuffing import wire_size
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.channels.seven_bit import Survey, convert

MOST_RECIPIENTS = 100
NEEDS_UTF8 = Status(550, "5.6.7", "the next system does not take internationalized addresses")
_NEEDS_UTF8_FIELDS = Status(550, "5.6.7", "the next system does not take internationalized header fields")
_NEEDS_8_BIT = Status(554, "5.6.1", "the next system takes no 8-bit content, and this message must not be converted")


def is_wide(envelope: Envelope, arguments: Iterable[bytes]) -> bool:
    """Whether a transaction needs SMTPUTF8, by its envelope and by what stands behind its `RCPT TO:` (RFC 6531 3.4)."""
    return envelope.utf8 or not envelope.sender.isascii() or not all(map(bytes.isascii, arguments))


@dataclass(frozen=True, slots=True)
class NextSystem:
    """One server.

    Args:
        name: as people know it.
        wide: it takes addresses and header fields outside ASCII.
        eight_bit: it takes bodies outside ASCII.
        notifies: it takes over the duty to tell the sender.
        largest: octets of a message, 0 where it does not say.
        most_recipients: of one transaction.
        most_messages: transactions of one session, 0 where it does not say.
    """

    name: str = ""
    wide: bool = False
    eight_bit: bool = False
    notifies: bool = False
    largest: int = 0
    most_recipients: int = MOST_RECIPIENTS
    most_messages: int = 0

    @classmethod
    def of(cls, name: str, listed: Mapping[str, str]) -> "NextSystem":
        """The server that listed these keywords, with their parameters."""
        size, limits = listed.get("SIZE", "").partition(" ")[0], listed.get("LIMITS", "")
        return cls(
            name=name,
            wide="SMTPUTF8" in listed,
            eight_bit="8BITMIME" in listed,
            notifies="DSN" in listed,
            largest=int(size) if size.isascii() and size.isdigit() and len(size) < 16 else 0,
            most_recipients=min(_limit(limits, "RCPTMAX") or MOST_RECIPIENTS, MOST_RECIPIENTS),
            most_messages=_limit(limits, "MAILMAX"),
        )

    # the message

    def needs_survey(self, envelope: Envelope) -> bool:
        """Whether the message may have octets this server does not take."""
        return (envelope.utf8 and not self.wide) or (envelope.eight_bit and not self.eight_bit)

    def refusal(self, envelope: Envelope, found: Survey | None) -> Status | None:
        """Why the message cannot go to this server at all.

        Args:
            envelope: of the message.
            found: what was found in it, where it needed a survey.
        """
        largest = self.largest
        if largest and wire_size(envelope.size, envelope.wire_growth) > largest:
            return Status(552, "5.3.4", f"a message of {envelope.size} octets is more than the {largest} that {self.name} takes")
        if not self.wide and not envelope.sender.isascii():
            return NEEDS_UTF8
        if found is None:
            return None
        header = found.header and self._narrow_header(envelope)
        if found.fixed and (header or (found.body and not self.eight_bit)):
            return _NEEDS_8_BIT
        return _NEEDS_UTF8_FIELDS if found.speechless and header else None

    def _narrow_header(self, envelope: Envelope) -> bool:
        return not self.wide and (envelope.utf8 or not self.eight_bit)

    def body(self, parts: Iterable[bytes], found: Survey | None) -> Iterator[bytes]:
        """The message as it goes out."""
        if found is None or not (found.header or (found.body and not self.eight_bit)):
            return iter(parts)
        return convert(parts, found, body=not self.eight_bit)

    # commands

    def mail_parameters(self, envelope: Envelope, arguments: Iterable[bytes]) -> bytes:
        """Parameters of MAIL, separated by blanks.

        Args:
            envelope: of the message.
            arguments: what stands behind `RCPT TO:` in the transaction.
        """
        found = ["BODY=8BITMIME"] if envelope.eight_bit and self.eight_bit else []
        if self.wide and is_wide(envelope, arguments):
            found.append("SMTPUTF8")
        if self.notifies:
            found += [f"RET={envelope.ret}"] if envelope.ret else []
            found += [f"ENVID={envelope.envid}"] if envelope.envid else []
        return " ".join(found).encode("utf-8", "surrogateescape")

    def rcpt_argument(self, wire: str, recipient: Recipient) -> bytes:
        """What stands behind `RCPT TO:`.

        Args:
            wire: the address as it goes out.
            recipient: whose it is.
        """
        found = f"<{wire}>"
        if self.notifies:
            found += f" NOTIFY={recipient.notify}" if recipient.notify else ""
            if recipient.orcpt and (recipient.orcpt.isascii() or self.wide):
                found += f" ORCPT={recipient.orcpt}"
        return found.encode("utf-8", "surrogateescape")


def _limit(listed: str, name: str) -> int:
    for word in listed.upper().split():
        key, _, value = word.partition("=")
        if key == name and value.isascii() and value.isdigit():
            return int(value[:9])
    return 0
