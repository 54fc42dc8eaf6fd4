"""Stored passwords (RFC 2307, RFC 3112): is this the one?

    {SSHA} {SHA} {SSHA256} {SHA256} {SSHA384} {SHA384} {SSHA512} {SHA512}     base64 of digest, and salt behind it
    {CRYPT}                                              crypt(3), where this Python has it
    {CLEARTEXT} {PLAIN}, or no scheme                    the password itself

Compared in constant time. A scheme that is not known, or broken base64, is no password's; nothing is raised.
"""

import base64
import binascii
import hashlib
import hmac
import re
import warnings
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TypeAlias

from posthouse.relay.directory.question import Unknown

_SCHEME = re.compile(r"\{([A-Za-z0-9/_-]{1,20})\}")
_DIGESTS = {"SHA": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}
_CLEAR = frozenset({"CLEARTEXT", "PLAIN"})


class Password(Enum):
    """What the directory says of a password."""

    RIGHT = "right"
    WRONG = "wrong"
    """or nobody of that name"""


PasswordAnswer: TypeAlias = Password | Unknown


def _load_crypt() -> Callable[[str, str], str | None] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            from crypt import crypt
        except ImportError:  # gone with Python 3.13
            return None
    return crypt


crypt = _load_crypt()


def among(stored: Iterable[str], password: str) -> bool:
    """Whether the password is one of those stored. All of them are looked at; slow with {CRYPT}: for a thread."""
    results = [_is(each, password) for each in stored]
    return any(results)


def _is(stored: str, password: str) -> bool:
    match = _SCHEME.match(stored)
    scheme = match[1].upper() if match else "CLEARTEXT"
    rest = stored[match.end() :] if match else stored
    given = password.encode("utf-8", "surrogateescape")
    if scheme in _CLEAR:
        return hmac.compare_digest(rest.encode("utf-8", "surrogateescape"), given)
    if scheme == "CRYPT":
        return _is_crypted(rest, password)
    salted = scheme.startswith("SS")
    digest = _DIGESTS.get(scheme[1:] if salted else scheme)
    if digest is None:
        return False
    try:
        octets = base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError):
        return False
    size = hashlib.new(digest).digest_size
    if len(octets) < size or (len(octets) > size) != salted:
        return False
    return hmac.compare_digest(octets[:size], hashlib.new(digest, given + octets[size:]).digest())


def _is_crypted(rest: str, password: str) -> bool:
    if crypt is None or not rest or "\0" in password:
        return False
    try:
        made = crypt(password, rest)
    except (OSError, ValueError):
        return False
    return made is not None and not made.startswith("*") and hmac.compare_digest(made.encode(), rest.encode())
