"""The replies of routing: one table of codes and texts, each text replaceable by its ERROR_TEXT_ option (directory.md 4).

A reply reads `code enhanced text: address-as-given`; of the address, characters that do not print become `?` and what is
beyond 300 characters is cut, so that it stays one line. Line ends in an option's
text become blanks.
"""

from collections.abc import Callable, Mapping
from enum import Enum

from posthouse.mail.status import Status

_MAX_SHOWN = 300


class Refusal(Enum):
    """Every reason for which a recipient or sender is refused: option name, code, enhanced code, default text."""

    UNKNOWN_HOST = ("UNKNOWN_HOST", 550, "5.1.2", "unknown host or domain")
    UNKNOWN_ALIAS = ("UNKNOWN_ALIAS", 550, "5.1.1", "unknown or illegal alias")
    DISABLED_USER = ("DISABLED_USER", 550, "5.2.1", "user disabled; cannot receive new mail")
    DISABLED_GROUP = ("DISABLED_GROUP", 550, "5.2.1", "group disabled; cannot receive new mail")
    INACTIVE_USER = ("INACTIVE_USER", 452, "4.2.1", "mailbox temporarily disabled")
    INACTIVE_GROUP = ("INACTIVE_GROUP", 452, "4.2.1", "group temporarily disabled")
    DELETED_USER = ("DELETED_USER", 550, "5.1.6", "recipient no longer on server")
    DELETED_GROUP = ("DELETED_GROUP", 550, "5.1.6", "group no longer on server")
    OVER_QUOTA = ("OVER_QUOTA", 452, "4.2.2", "user over quota; cannot receive new mail")
    TEMPORARY_FAILURE = ("TEMPORARY_FAILURE", 450, "4.3.0", "temporary error returned by alias expansion")
    DUPLICATE_ADDRS = ("DUPLICATE_ADDRS", 550, "5.1.4", "duplicate/ambiguous directory match")
    ALIAS_AUTH = ("ALIAS_AUTH", 550, "5.7.1", "you are not allowed to use this list")
    ACCESS_FAILURE = ("ACCESS_FAILURE", 550, "5.7.1", "you are not allowed to send to this address")
    BLOCK_OVER = ("BLOCK_OVER", 550, "5.2.3", "channel limit of %d kilobytes on message size exceeded")
    LINE_OVER = ("LINE_OVER", 550, "5.2.3", "channel limit of %d lines in a message exceeded")
    REWRITE_LOOP = ("", 550, "5.4.6", "rewrite loop")
    EXPANSION_LOOP = ("", 550, "5.4.6", "alias expansion loop")
    NOT_BUILT = ("", 450, "4.3.5", "")
    SYNTAX = ("", 501, "5.1.3", "syntax error in address")
    RELAYING = ("", 550, "5.7.1", "Relaying not permitted")


class Refusals:
    """The texts in force.

    Args:
        option: value of an option of option.dat, or None.
    """

    def __init__(self, option: Callable[[str], str | None]) -> None:
        self._texts: Mapping[Refusal, str] = {refusal: _text(refusal, option) for refusal in Refusal}

    def status(self, refusal: Refusal, address: str, text: str | None = None) -> Status:
        """The reply for one address; `text` replaces the table's."""
        return reply(refusal.value[1], refusal.value[2], text or self._texts[refusal], address)

    def text(self, refusal: Refusal) -> str:
        """The text in force, for composing replies."""
        return self._texts[refusal]


def reply(code: int, enhanced: str, text: str, address: str) -> Status:
    """A reply that names an address, in one printable line."""
    if len(address) > _MAX_SHOWN:
        address = address[:_MAX_SHOWN] + "..."
    if not address.isprintable():
        address = "".join(char if char.isprintable() else "?" for char in address)
    return Status(code, enhanced, f"{text}: {address}")


def _text(refusal: Refusal, option: Callable[[str], str | None]) -> str:
    name, _, _, default = refusal.value
    if not name:
        return default
    return " ".join((option(f"ERROR_TEXT_{name}") or default).split())
