"""A memory of vacation answers in memory: it passes the same contract as the one in files."""


class RememberedAnswers:
    """Remembers until it is thrown away."""

    def __init__(self) -> None:
        self.failing: OSError | None = None
        """set it, and every call raises it"""
        self._answered: dict[tuple[str, str], float] = {}

    def claim(self, owner: str, key: str, now: float, seconds: float) -> bool:
        """Whether to answer now; if so it is remembered as done.

        Raises:
            OSError: it is failing.
        """
        if self.failing is not None:
            raise self.failing
        before = self._answered.get((owner.lower(), key))
        if before is not None and before <= now < before + seconds:
            return False
        self._answered[owner.lower(), key] = now
        return True

    def release(self, owner: str, key: str) -> None:
        """Take back the last claim.

        Raises:
            OSError: it is failing.
        """
        if self.failing is not None:
            raise self.failing
        self._answered.pop((owner.lower(), key), None)
