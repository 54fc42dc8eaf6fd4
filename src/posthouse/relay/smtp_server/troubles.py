"""What keeps an SMTP worker from taking mail, looked at once a second and told when it changes: no message costs more for it.

A directory that is down is asked each second, as far as its servers' rests allow: else nobody would know that it is back before
the next recipient comes. A refusal for want of room, or for a disk that fails, counts until none has come for KEPT
seconds and the journal can grow.
"""

import time
from collections.abc import Callable

from posthouse.dispatcher.trouble import Since, Tell, Wrong
from posthouse.mail.status import Status
from posthouse.relay.directory.directory import Directory

KEPT = 60.0


class Troubles:
    """Those of one worker.

    Args:
        tell: takes all there are now.
        now: Unix seconds.
    """

    def __init__(self, tell: Tell, now: Callable[[], float] = time.time) -> None:
        self._since = Since(tell, now)
        self._now = now
        self._refused: tuple[float, str] | None = None
        """when last, and why"""

    def refused(self, error: OSError, reply: Status) -> None:
        """A message could not be made safe."""
        self._refused = self._now(), f"mail is refused ({error.strerror or error}): senders get {reply.code}"

    def look(self, directory: Directory, journal: OSError | None) -> None:
        """Say what is wrong now.

        Args:
            directory: that recipients are looked up in.
            journal: why the journal cannot grow, if it cannot.
        """
        found: Wrong = {}
        state, _, why = directory.health().partition(": ")
        if state == "down":
            found["directory"] = f"no directory server answers ({why}): recipients that are not in the cache get 450"
            directory.probe()
        elif state != "degraded" and not state.startswith("ok"):
            found["directory"] = f"directory: {state}: {why}"
        if self._refused is not None and journal is None and self._now() - self._refused[0] > KEPT:
            self._refused = None
        if self._refused is not None:
            found["queue"] = self._refused[1]
        elif journal is not None:
            why = journal.strerror or str(journal)
            found["queue"] = f"the journal cannot grow ({why}): senders get 452 when its last segment is full"
        self._since.say(found)
