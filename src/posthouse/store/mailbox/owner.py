r"""Who owns the mailbox a delivery address names, and which folder it asks for (message-store 1, lmtp 2).

    address  uid [ "+" folder ] [ "@" domain ]        with or without <>, the local part perhaps quoted
             uid "%" domain [ "+" folder ] [ "@" tag ] read as uid [+folder] @domain

The owner is `uid` in the default domain and `uid@domain` elsewhere, lower case, and is the name of one folder in the
partition: never empty, no `/`, no NUL or other control character, no leading `.` or `=`, at most 128 octets of UTF-8.
Anything else names no mailbox (`MailboxNonexistent`). The folder's text is taken as it stands, case and all.
"""

import re
from dataclasses import dataclass

from posthouse.mail.address import unquote
from posthouse.store.mailbox.errors import MailboxNonexistent

MAX_OWNER = 128
"""octets of an owner's name"""
_REFUSED = re.compile(r"^[.=]|[/\x00-\x1f\x7f-\x9f\u2028\u2029]")
_USUAL = re.compile(rb"<([A-Za-z0-9_-][A-Za-z0-9_.-]{0,63})(?:@([A-Za-z0-9.-]+))?>")
"""as nearly every relay writes it, taken without looking at it again and again"""
_PLAIN = re.compile(r"[a-z0-9_-][a-z0-9_.-]*")
_DOMAIN = re.compile(r"[^\s@/+%\"<>()\\,;:]+")


@dataclass(frozen=True, slots=True)
class Target:
    """One mailbox folder a message is for."""

    owner: str
    folder: str = ""
    """as in the address, "" for the INBOX"""


def check_owner(owner: str) -> str:
    """The owner's name as it is.

    Raises:
        MailboxNonexistent: no mailbox can have that name.
    """
    try:
        octets = len(owner.encode("utf-8"))
    except UnicodeEncodeError:
        raise MailboxNonexistent("the owner's name is not UTF-8") from None
    if not octets or octets > MAX_OWNER or _REFUSED.search(owner):
        raise MailboxNonexistent(f"no mailbox can have the name {owner[:150]!r}")
    return owner


def parse_target(token: bytes, default_domain: str) -> Target:
    """The mailbox and folder a RCPT address names.

    Args:
        token: the address as it was typed, with or without `<>`.
        default_domain: lower case; its users are owners without a domain.

    Raises:
        MailboxNonexistent: it names none.
    """
    if (usual := _USUAL.fullmatch(token)) is not None and (usual[2] is None or usual[2].decode().lower() == default_domain):
        return Target(usual[1].decode().lower())
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        raise MailboxNonexistent("the address is not UTF-8") from None
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    local, domain = local_and_domain(text)
    uid, _, folder = local.partition("+")
    routed, percent, host = uid.rpartition("%")
    if percent:
        uid, domain = routed, host
    if not uid:
        raise MailboxNonexistent("the address has no uid")
    owner, domain = uid.lower(), domain.lower()
    if domain and domain != default_domain:
        if not _DOMAIN.fullmatch(domain):
            raise MailboxNonexistent(f"no domain has the name {domain[:150]!r}")
        owner = f"{owner}@{domain}"
    return Target(owner if _PLAIN.fullmatch(owner) and len(owner) <= MAX_OWNER else check_owner(owner), folder)


def local_and_domain(text: str) -> tuple[str, str]:
    """Local part without quotes, and domain: a source route is passed over, the last `@` divides."""
    if text.startswith("@"):
        text = text.partition(":")[2]
    if text.startswith('"'):
        end = 1
        while end < len(text) and text[end] != '"':
            end += 2 if text[end] == "\\" else 1
        local, rest = text[: end + 1], text[end + 1 :]
        if end >= len(text) or (rest and rest[0] != "@"):
            raise MailboxNonexistent("the quoted local part does not end")
        return unquote(local), rest[1:]
    local, at, domain = text.rpartition("@")
    return (local, domain) if at else (text, "")
