"""A reply as a value: code, enhanced code, text (RFC 5321 4.2, RFC 3463)."""

import re

import msgspec

_REPLY = re.compile(r"(\d{3})(?:[ -](?:(\d\.\d{1,3}\.\d{1,3})(?:\s+|$))?(.*))?", re.DOTALL)


class Status(msgspec.Struct, frozen=True):
    """What a server said, or what we say.

    Args:
        code: three digits, 200 to 599.
        enhanced: `class.subject.detail`, or "" where the reply had none.
        text: the rest of the reply without line ends.
    """

    code: int
    enhanced: str
    text: str

    @property
    def is_success(self) -> bool:
        """Whether the code is 2yz."""
        return 200 <= self.code < 300

    @property
    def is_permanent(self) -> bool:
        """Whether the code is 5yz; anything that is neither success nor permanent is temporary."""
        return 500 <= self.code < 600

    @property
    def is_temporary(self) -> bool:
        """Whether the sender should try again later."""
        return not self.is_success and not self.is_permanent

    def __str__(self) -> str:
        """The reply line without its line end."""
        if self.enhanced and self.text:
            return f"{self.code} {self.enhanced} {self.text}"
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)

    @classmethod
    def parse(cls, line: str) -> "Status":
        """The status in one reply line.

        An enhanced code is taken only when its class agrees with the reply's first digit (RFC 2034 4).
        A line that is no reply at all becomes 451 4.5.0, so that nonsense from a peer is never permanent.
        """
        match = _REPLY.match(line.strip("\r\n"))
        if not match or not 2 <= int(match[1][0]) <= 5:
            return cls(451, "4.5.0", f"unintelligible reply: {line.strip()!r}"[:200])
        code, enhanced, text = int(match[1]), match[2] or "", match[3] or ""
        if enhanced and enhanced[0] != match[1][0]:
            enhanced, text = "", f"{enhanced} {text}".strip()
        return cls(code, enhanced, text)
