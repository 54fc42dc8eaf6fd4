"""The relay's SMTP server: one session for each connection, one file for each decision.

`session` drives the dialogue; `mail`, `rcpt` and `data` decide what is answered; `program` is the worker's process:
configuration, directory, journal and the announcements to the job controller.

`SmtpServer` serves the same connections inside any Python program (docs/library.md). It is imported with its first use, so that
the workers do not pay for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posthouse.relay.smtp_server.arrival import Arrival
    from posthouse.relay.smtp_server.server import Limits, SmtpServer

__all__ = ["Arrival", "Limits", "SmtpServer"]


def __getattr__(name: str) -> Any:
    """The names of the library.

    Raises:
        AttributeError: it is none of them.
    """
    if name in __all__:
        from posthouse.relay.smtp_server import server

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
