"""The LMTP server of the store (LMTP chapter 16.5): sessions, Table 16-1, and the worker program of the Dispatcher.

`LmtpServer` serves the same sessions inside any Python program (docs/library.md). It is imported with its first use, so that
neither the commands nor the workers pay for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posthouse.store.lmtp_server.calls import Limits
    from posthouse.store.lmtp_server.server import LmtpServer

__all__ = ["Limits", "LmtpServer"]


def __getattr__(name: str) -> Any:
    """The two names of the library.

    Raises:
        AttributeError: it is neither of them.
    """
    if name == "LmtpServer":
        from posthouse.store.lmtp_server.server import LmtpServer

        return LmtpServer
    if name == "Limits":
        from posthouse.store.lmtp_server.calls import Limits

        return Limits
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
