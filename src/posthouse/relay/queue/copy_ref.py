"""Where one waiting copy of a message stands: in the journal or in a queue file.

A copy is all recipients of one message with the same copy number: one transaction for one host of one channel. References
are values; they travel between processes as tagged msgpack.
"""

import msgspec


class JournalCopy(msgspec.Struct, frozen=True, tag="j", array_like=True):
    """A copy that stands in a record."""

    segment: str
    offset: int
    copy: int


class FileCopy(msgspec.Struct, frozen=True, tag="f", array_like=True):
    """A copy that stands in a queue file."""

    channel: str
    subdir: str
    """three digits, or empty"""
    name: str

    @property
    def path(self) -> str:
        """The path below the queue's root."""
        return "/".join(part for part in (self.channel, self.subdir, self.name) if part)


CopyRef = JournalCopy | FileCopy
