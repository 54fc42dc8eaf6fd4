"""Stored passwords: every scheme, right and wrong, and nothing that raises."""

import base64
import hashlib

import pytest

from posthouse.relay.directory import password as passwords
from posthouse.relay.directory.password import among


def hashed(scheme: str, digest: str, password: str, salt: bytes = b"") -> str:
    made = hashlib.new(digest, password.encode() + salt).digest() + salt
    return f"{{{scheme}}}" + base64.b64encode(made).decode()


STORED = [
    hashed("SSHA", "sha1", "päss word", b"12345678"),
    hashed("ssha512", "sha512", "päss word", b"x"),
    hashed("SSHA256", "sha256", "päss word", b"salt"),
    hashed("SSHA384", "sha384", "päss word", b"salt"),
    hashed("SHA", "sha1", "päss word"),
    hashed("SHA256", "sha256", "päss word"),
    hashed("SHA512", "sha512", "päss word"),
    "{CLEARTEXT}päss word",
    "{PLAIN}päss word",
    "päss word",
]


@pytest.mark.parametrize("stored", STORED, ids=lambda text: text[:10])
def test_the_right_one_and_others(stored: str) -> None:
    assert among([stored], "päss word")
    for other in ("", "päss", "päss word ", "PÄSS WORD", stored, "\udcff"):
        assert other == stored == "päss word" or not among([stored], other)


def test_one_of_several() -> None:
    assert among(["{SSHA}broken", "{X-NEW}abc", *STORED], "päss word")
    assert not among([], "")


@pytest.mark.parametrize(
    "stored",
    ["{SSHA}", "{SSHA}!!!!", "{SSHA}YWJj", "{SHA}", "{SHA512}YWJj", "{UNKNOWN}secret", "{MD5}secret", "{CRYPT}", "{CRYPT}*",
     "{CRYPT}x",     hashed("SSHA", "sha1", "secret"), hashed("SHA", "sha1", "secret", b"salt"), "{", "{}secret", "{SSHA}\udcff"],
)  # fmt: skip
def test_what_cannot_be_understood_is_nobodys(stored: str) -> None:
    assert not among([stored], "secret")


def test_crypt_where_this_python_has_it() -> None:
    crypt = passwords.crypt
    made = "$6$x" if crypt is None else crypt("secret", "$6$saltsalt$")
    assert made is not None
    assert among(["{CRYPT}" + made], "secret") == (crypt is not None)
    assert among(["{crypt}" + made], "secret") == (crypt is not None)
    assert not among(["{CRYPT}" + made], "other")
    assert not among(["{CRYPT}" + made], "sec\0ret")
