"""What one worker keeps of mail it has not answered yet (DURABILITY 4.12).

Counted are the octets of bodies from their arrival to their answer; of a body that streams to its file only what is kept
besides. Beyond `limit` lines that receive a body stop reading, and go on in their order as room appears. Should all
the room belong to bodies that do not end, the oldest of them are to be hung up (`overfull()`), so that nobody waits for ever.
"""

from collections import deque
from collections.abc import Callable

from posthouse.dispatcher.client_connection import READ_AHEAD

LIMIT = 64 << 20


class Memory:
    """The account.

    Args:
        limit: octets beyond which nothing more is read of bodies.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit
        self.held = 0
        self._stalled: deque[Callable[[], None]] = deque()

    def change(self, octets: int) -> None:
        """So many octets more are held, or less."""
        self.held += octets
        if octets < 0 and self._stalled:
            self.resume()

    @property
    def is_full(self) -> bool:
        """Whether bodies are to wait."""
        return self.held > self.limit

    def overfull(self) -> bool:
        """Whether somebody waits, and there is not even a quarter of the room free for those who do."""
        return bool(self._stalled) and self.held > self.most

    @property
    def most(self) -> int:
        """Octets that leave a quarter of the room."""
        return self.limit * 3 // 4

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have this called, once, when there is room."""
        self._stalled.append(go_on)

    def resume(self) -> None:
        """Let as many go on as there is room for one read each."""
        for _ in range(min(len(self._stalled), -(-(self.limit - self.held) // READ_AHEAD))):
            self._stalled.popleft()()
