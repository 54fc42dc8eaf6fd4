"""Subjects made of somebody else's: what he wrote is not repeated at any length."""

LONGEST = 256


def echoed(subject: str) -> str:
    """The subject, or its first characters and an ellipsis."""
    return subject if len(subject) <= LONGEST else subject[: LONGEST - 1].rstrip() + "…"
