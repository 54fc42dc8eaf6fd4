"""What a group changes in the messages it distributes (directory.md 8, 15 and 16): header fields, text before and after.

A line of mgrpAddHeader that is no field is passed over: it would end the header.
"""

import re
from collections.abc import Iterator
from email.header import Header

import msgspec

from posthouse.relay.directory.question import Entry

_FIELD = re.compile(r"[!-9;-~]+:")
"""a field's name (RFC 5322 2.2): a line without one would end the header"""


class ListEdit(msgspec.Struct, frozen=True):
    """The changes of one group, or of several one after another."""

    remove: tuple[str, ...] = ()
    """names of header fields, lower case"""
    add: tuple[str, ...] = ()
    """header lines without their line ends"""
    prefix: str = ""
    """text before the first text part, LF line ends"""
    suffix: str = ""

    def then(self, other: "ListEdit | None") -> "ListEdit":
        """This one, and after it that of a group in the group."""
        if other is None:
            return self
        return ListEdit(self.remove + other.remove, self.add + other.add, other.prefix + self.prefix, self.suffix + other.suffix)


def list_edit(group: Entry) -> ListEdit | None:
    """What the group's entry asks for, None for nothing."""
    lines = (line for value in group.all("mgrpaddheader") for line in _lines(value))
    add = tuple(_field(line) for line in lines if _FIELD.match(line))
    remove = tuple(name for value in group.all("mgrpremoveheader") for name in value.lower().replace(":", " ").split())
    if group.first("mgrpauthpassword"):
        remove += ("approved",)
    prefix = "".join(f"{_text(value)}\n" for value in group.all("mgrpmsgprefixtext"))
    suffix = "".join(f"{_text(value)}\n" for value in group.all("mgrpmsgsuffixtext"))
    return ListEdit(remove, add, prefix, suffix) if add or remove or prefix or suffix else None


def _text(value: str) -> str:
    r"""A text: `$` separates lines, `\24` and `\5c` are `$` and `\`, as in the vacation texts."""
    return "\n".join(value.replace("\r\n", "\n").split("$")).replace("\\24", "$").replace("\\5c", "\\").replace("\\5C", "\\")


def _field(line: str) -> str:
    """A header line as every server takes it: encoded words outside ASCII (RFC 2047)."""
    name, _, value = line.partition(":")
    return line if line.isascii() else f"{name}: {Header(value.strip(), 'utf-8', header_name=name).encode(linesep='')}"


def _lines(value: str) -> Iterator[str]:
    return (line.strip() for line in value.replace("\r", "\n").split("\n") if line.strip())
