"""Names of messages in a Maildir: unique for ever, and telling the size (message-store 6, DURABILITY 2).

    <secs>.M<usec>P<pid>R<random of this process>Q<count>[N].<host>,S=<octets>,W=<octets with CRLF line ends>

The random part and the counter make a name unique where pids repeat (containers) and clocks step back. `N` marks a quota
notice of the store itself, which does not count in the quota. In `cur` a name ends in `:2,` and flags, which are no part
of the base name.
"""

import re
from collections.abc import Callable

_SIZE = re.compile(r",S=(\d+)(?=[,:]|$)")
_NOTICE = re.compile(r"(\d+)\.M\d+P\d+R[0-9a-f]+Q\d+N\.")


class BaseNames:
    """Makes base names for one process.

    Args:
        now: Unix time in seconds.
        pid: of this process.
        random: 32 bits or more, another number in every process.
        host: of this store.
    """

    def __init__(self, now: Callable[[], float], pid: int, random: int, host: str) -> None:
        self._now = now
        self._middle = f"P{pid}R{random:x}Q"
        self._host = host.replace("/", "\\057").replace(":", "\\072").replace(",", "\\054")
        self._count = 0

    def next(self, size: int, wire_size: int) -> str:
        """A new name for a message of `size` octets on disk, `wire_size` with CRLF line ends."""
        self._count += 1
        micros = int(self._now() * 1_000_000)
        seconds, micros = divmod(micros, 1_000_000)
        return f"{seconds}.M{micros:06d}{self._middle}{self._count}.{self._host},S={size},W={wire_size}"

    def notice(self, size: int, wire_size: int) -> str:
        """A new name for a quota notice."""
        number = f"Q{self._count + 1}"
        return self.next(size, wire_size).replace(f"{number}.", f"{number}N.", 1)

    def unsized(self) -> str:
        """A name for a message whose size is not known yet; it is renamed when it is."""
        return self.next(0, 0).partition(",")[0]


def size_of(name: str) -> int | None:
    """The octets that the name says the message has, None if it does not say."""
    match = _SIZE.search(name)
    return int(match[1]) if match else None


def notice_seconds(name: str) -> int | None:
    """When the quota notice with this name was made, in Unix seconds; None for any other message."""
    match = _NOTICE.match(name)
    return int(match[1]) if match else None


def base_of(name: str) -> str:
    """The name without its flags."""
    return name.partition(":")[0]
