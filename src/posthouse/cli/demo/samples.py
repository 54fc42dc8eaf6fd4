"""The samples and what is expected of them: samples.toml and the folder messages (its comment is the format)."""

import tomllib
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from enum import StrEnum
from importlib import resources
from typing import Any

_HERE = resources.files("posthouse.cli.demo")
SENDER = "alice@outside.test"


class End(StrEnum):
    """Where a recipient can end."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    REFUSED = "refused"
    RETURNED = "returned"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Expected:
    """One recipient of a sample and where it must end."""

    address: str
    outcome: End
    reply: str = ""
    """how the last reply begins"""
    store: str = ""
    owner: str = ""
    folder: str = "INBOX"

    @property
    def words(self) -> str:
        """For people: `store1 jdoe INBOX` or `refused 550 5.1.1`."""
        return f"{self.store} {self.owner} {self.folder}" if self.outcome is End.DELIVERED else f"{self.outcome} {self.reply}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One message as it is sent."""

    name: str
    sender: str
    body: bytes
    """CRLF line ends, not dot-stuffed"""
    message_id: str
    options: tuple[str, ...]
    recipients: tuple[Expected, ...]


def load_samples() -> list[Sample]:
    """All samples, in the file's order."""
    described = tomllib.loads((_HERE / "samples.toml").read_text(encoding="utf-8"))["sample"]
    return [_sample(one) for one in described]


def people() -> str:
    """The demo's directory, as LDIF."""
    return (_HERE / "people.ldif").read_text(encoding="utf-8")


def _sample(described: dict[str, Any]) -> Sample:
    name = described["file"]
    body = (_HERE / "messages" / f"{name}.eml").read_bytes().replace(b"\n", b"\r\n")
    missing = described.get("pad_to", 0) - len(body)
    if missing > 0:
        line = b"Filling, so that the message is large enough to be streamed to the disk.\r\n"
        body += line * (missing // len(line) + 1)
    return Sample(
        name=name,
        sender=described.get("from", SENDER),
        body=body,
        message_id=BytesHeaderParser().parsebytes(body)["Message-ID"],
        options=tuple(described.get("options", ())),
        recipients=tuple(Expected(**{**to, "outcome": End(to["outcome"])}) for to in described["to"]),
    )
