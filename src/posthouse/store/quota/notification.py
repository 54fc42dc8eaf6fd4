"""The mail that tells an owner about the quota: when it is due, and its octets. No files, no clock (message-store 4).

Due when the usage has passed `store.quotawarn` per cent of a limit, with overdraft when it has passed the limit itself;
never for a limit that is unlimited or 0. At most one in `store.quotaexceededmsginterval`; 100 per cent without overdraft
is never passed.

The text is `store.quotaexceededmsg`: header lines, `$$`, body, every `$` a line end. In it

    [ID] owner   [DISKUSAGE] octets used   [NUMMSG] messages   [PERCENT] the threshold   [QUOTA] [MSGQUOTA] the limits

stand for values. Date, From, To, Message-ID, Auto-Submitted (RFC 3834 5) and the MIME fields are added where the text has
none. Header lines that are not US-ASCII are encoded (RFC 2047).
"""

import re
import zlib
from email.header import Header
from email.utils import formatdate
from typing import NamedTuple

from posthouse.store.quota.decision import Usage
from posthouse.store.quota.limits import Limits

_NEEDS_QUOTES = re.compile(r"[\s\"<>()\[\],;:\\@]|^\.|\.\.|\.\Z")
_VARIABLE = re.compile(r"\[(?:ID|DISKUSAGE|NUMMSG|PERCENT|QUOTA|MSGQUOTA)\]")
_LINE = 76


class Notification(NamedTuple):
    """How owners are told; a store that does not tell them has none."""

    percent: int
    """usage above it is told: `store.quotawarn`, 100 with overdraft"""
    interval: float
    """seconds between two notices to one owner"""
    text: str
    """as in store.conf"""
    host: str
    """the store's name"""
    domain: str
    """of owners whose name has none; empty: the store's name"""

    def passed(self, usage: Usage, limits: Limits) -> bool:
        """Whether the owner uses more than is told without a notice.

        Args:
            usage: without notices.
            limits: resolved, a negative one is unlimited.
        """
        return _above(usage.bytes, limits.bytes, self.percent) or _above(usage.messages, limits.messages, self.percent)

    def rests(self, noticed: float, now: float) -> bool:
        """Whether the owner was told so recently that there is no second notice. A clock set back does not silence it."""
        return 0 <= now - noticed < self.interval

    def compose(self, owner: str, usage: Usage, limits: Limits, now: float) -> bytes:
        """The mail as it is stored: line ends LF, the null sender in front."""
        values = {
            "[ID]": owner,
            "[DISKUSAGE]": str(usage.bytes),
            "[NUMMSG]": str(usage.messages),
            "[PERCENT]": f"{self.percent}%",
            "[QUOTA]": _limit(limits.bytes),
            "[MSGQUOTA]": _limit(limits.messages),
        }
        text = _VARIABLE.sub(lambda match: values[match[0]], self.text.replace("$", "\n"))
        head, _, body = text.partition("\n\n")
        written = head.split("\n")
        there = {line.partition(":")[0].strip().lower() for line in written if line[:1] not in {" ", "\t"}}
        local, _, domain = owner.partition("@")
        domain = domain or self.domain or self.host
        octets = body.rstrip("\n").encode() + b"\n"
        plain = octets.isascii()
        number = zlib.crc32(owner.encode())
        fields = {
            "Date": formatdate(now),
            "From": f"Mail store <postmaster@{domain}>",
            "To": f"<{_local(local)}@{domain}>",
            "Message-ID": f"<quota.{int(now * 1_000_000)}.{number:08x}@{self.host}>",
            "MIME-Version": "1.0",
            "Content-Type": f"text/plain; charset={'us-ascii' if plain else 'utf-8'}",
            "Content-Transfer-Encoding": "7bit" if plain else "8bit",
            "Auto-Submitted": "auto-generated",
        }
        added = [f"{name}: {value}" for name, value in fields.items() if name.lower() not in there]
        lines = [*added, *(_header_line(line) for line in written)]
        return b"Return-Path: <>\n" + "\n".join(lines).encode() + b"\n\n" + octets


def _above(used: int, limit: int, percent: int) -> bool:
    return limit > 0 and used * 100 > limit * percent


def _limit(limit: int) -> str:
    return str(limit) if limit >= 0 else "unlimited"


def _local(local: str) -> str:
    """The local part as it stands in an address."""
    if not _NEEDS_QUOTES.search(local):
        return local
    quoted = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def _header_line(line: str) -> str:
    """A line of the text's header; what is not US-ASCII is encoded."""
    if line.isascii():
        return line
    name, colon, value = line.partition(":")
    return f"{name}{colon} " + Header(value.strip(), "utf-8", maxlinelen=_LINE, header_name=name).encode()
