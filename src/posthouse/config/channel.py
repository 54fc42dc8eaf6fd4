"""One channel block of imta.cnf as a value, with the keywords the rest of the system asks about typed (imta-cnf 3)."""

from collections.abc import Mapping
from dataclasses import dataclass

from posthouse.config.value import duration
from posthouse.mail.envelope import Priority

DEFAULT_NOTICES = (3, 6, 9, 12)
"""ages in days (job-controller-cnf 5)"""
_MINUTES: Mapping[Priority, tuple[int, ...]] = {
    Priority.URGENT: (30, 60, 60, 120, 120, 120, 240),
    Priority.NORMAL: (60, 120, 120, 240, 240, 240, 480),
    Priority.NON_URGENT: (120, 240, 240, 480, 480, 480, 960),
}
_OWN: Mapping[Priority, str] = {Priority.URGENT: "urgent", Priority.NORMAL: "normal", Priority.NON_URGENT: "nonurgent"}
_SMTP = ("smtp", "smtp_crlf", "smtp_cr", "smtp_crorlf", "smtp_lf")


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel.

    Args:
        name: lower case.
        official_host: as written; the tag used in templates.
        aliases: further hosts, `(proper-name, alias)`; alias is the proper name again where none was written.
        keywords: lower-case keyword to its arguments; of each group only the one that counts, `defaults` merged in.
        unknown: words that are no keywords, as written.
        local_notices: what holds for a channel without `notices`: those of channel `l`, else the built-in ones.
        file: of the block's first line.
        line: of the block's first line.
    """

    name: str
    official_host: str
    aliases: tuple[tuple[str, str], ...]
    keywords: Mapping[str, tuple[str, ...]]
    unknown: tuple[str, ...]
    file: str
    line: int
    local_notices: tuple[int, ...] = DEFAULT_NOTICES

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every tag that means this channel, as written: official host, proper names, aliases."""
        return tuple(dict.fromkeys((self.official_host, *(host for pair in self.aliases for host in pair))))

    def has(self, keyword: str) -> bool:
        """Whether the keyword (lower case) counts for this channel."""
        return keyword in self.keywords

    def value(self, keyword: str, default: str | None = None) -> str | None:
        """The keyword's first argument, or the default when the keyword is absent."""
        arguments = self.keywords.get(keyword)
        return arguments[0] if arguments else default

    def number(self, keyword: str, default: int) -> int:
        """The keyword's argument as a number, or the default when the keyword is absent."""
        arguments = self.keywords.get(keyword)
        return int(arguments[0]) if arguments else default

    def proper_name(self, host: str) -> str | None:
        """The proper name of an alias of this channel, any case; None when the host is no alias."""
        folded = host.lower()
        return next((proper for proper, alias in self.aliases if alias.lower() == folded), None)

    @property
    def port(self) -> int:
        """TCP port to connect to."""
        return self.number("port", 25)

    @property
    def maxjobs(self) -> int:
        """Most jobs of the channel at once."""
        return self.number("maxjobs", 100)

    @property
    def pool(self) -> str | None:
        """Pool of the job controller, as written; None means its first pool."""
        return self.value("pool")

    @property
    def subdirs(self) -> int:
        """Sub-folders of the queue, 0 when the queue has none."""
        return self.number("subdirs", 0)

    @property
    def threaddepth(self) -> int:
        """Messages for one client session before another is started."""
        return self.number("threaddepth", 10)

    @property
    def single(self) -> bool:
        """One recipient for each message copy."""
        return self.has("single")

    @property
    def single_sys(self) -> bool:
        """One message copy for each destination host."""
        return self.has("single_sys")

    @property
    def addrsperfile(self) -> int | None:
        """Most recipients of one copy; None means no limit."""
        return self.number("addrsperfile", 0) or None

    @property
    def is_lmtp(self) -> bool:
        """The channel speaks LMTP."""
        return self.has("lmtp")

    @property
    def is_smtp(self) -> bool:
        """The channel speaks SMTP."""
        return any(self.has(keyword) for keyword in _SMTP)

    @property
    def logging(self) -> bool:
        """mail.log records are written for the channel."""
        return self.has("logging")

    def backoff(self, priority: Priority) -> tuple[float, ...]:
        """Waits in seconds before the first, second, ... retry; the last one repeats (job-controller-cnf 4)."""
        written = self.keywords.get(_OWN[priority] + "backoff") or self.keywords.get("backoff")
        if written:
            return tuple(duration(text) for text in written)
        return tuple(60.0 * minutes for minutes in _MINUTES[priority])

    def notices(self, priority: Priority) -> tuple[int, ...]:
        """Ages in units of RETURN_UNITS at which a delay notice goes out; the last one returns the message."""
        written = self.keywords.get(_OWN[priority] + "notices") or self.keywords.get("notices")
        return tuple(int(text) for text in written) if written else self.local_notices
