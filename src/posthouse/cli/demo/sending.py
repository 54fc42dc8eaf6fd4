"""Hands a sample to the relay with Python's own SMTP client, and keeps each recipient's reply."""

import smtplib
from dataclasses import dataclass

from posthouse.cli.demo.samples import Sample


@dataclass(frozen=True, slots=True)
class Sent:
    """What the relay answered."""

    message_id: str
    """the relay's id, "" when the message was not taken"""
    replies: tuple[str, ...]
    """one for each recipient, in order: its RCPT reply, or the final reply when that was taken"""
    taken: tuple[bool, ...]


def send(host: str, port: int, sample: Sample) -> Sent:
    """One connection, one message."""
    with smtplib.SMTP(host, port, local_hostname="outside.test", timeout=60) as client:
        client.ehlo()
        options = list(sample.options)
        if "SMTPUTF8" in options:
            client.command_encoding = "utf-8"
        code, text = client.mail(sample.sender, [*options, f"size={len(sample.body)}"])
        if code != 250:
            reply = _line(code, text)
            return Sent("", (reply,) * len(sample.recipients), (False,) * len(sample.recipients))
        answers = [client.rcpt(recipient.address) for recipient in sample.recipients]
        taken = tuple(code == 250 for code, _ in answers)
        replies = [_line(code, text) for code, text in answers]
        message_id = ""
        if any(taken):
            code, text = client.data(sample.body)
            final = _line(code, text)
            if code == 250:
                message_id = final.split()[-1]
            replies = [final if one else reply for one, reply in zip(taken, replies, strict=True)]
            taken = tuple(one and code == 250 for one in taken)
        return Sent(message_id, tuple(replies), taken)


def _line(code: int, text: bytes) -> str:
    return f"{code} {text.decode('utf-8', 'replace')}"
