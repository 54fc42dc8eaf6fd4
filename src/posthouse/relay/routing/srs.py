"""Senders of forwarded mail in our own name, and the way back for their bounces (the Sender Rewriting Scheme).

    SRS0=HASH=TT=domain=local@SRS_DOMAIN            of local@domain
    SRS1=HASH=first.domain=REST@SRS_DOMAIN          of an SRS0 or SRS1 address of another domain; REST is kept as it stands

HASH signs the rest in 40 bits of HMAC-SHA256 (base32, case-blind: mail servers change case), TT is the day in two base32
digits. `reverse` believes an address for DAYS days, only with one of our secrets; everything else is no SRS address of ours, or
a `SrsFault` that says why. The null sender and addresses without a domain are not rewritten. Pure: the day is passed in.
"""

import base64
import hmac
import re
from dataclasses import dataclass

DAYS = 21
_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_CYCLE = 1024
_SRS = re.compile(r"SRS([01])([=+-])(.*)", re.IGNORECASE | re.DOTALL)
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+")


class SrsFault(Exception):  # noqa: N818 - a fact about the address
    """The address looks like one of ours and is not; the message says why."""


@dataclass(frozen=True, slots=True)
class Srs:
    """Signs and believes.

    Args:
        domain: SRS_DOMAIN, lower case.
        secrets: the first signs.
    """

    domain: str
    secrets: tuple[bytes, ...]

    def rewritten(self, sender: str, day: int) -> str:
        """The sender in our name; itself when it cannot or need not be rewritten."""
        local, _, domain = sender.rpartition("@")
        if not local or not _DOT_ATOM.fullmatch(local) or domain.lower() == self.domain or domain.startswith("["):
            return sender
        found = _SRS.fullmatch(local)
        if found and found[1] == "0":
            rest = f"{domain}={found[2]}{found[3]}"
            return f"SRS1={self._hash(rest, self.secrets[0])}={rest}@{self.domain}"
        if found and found[3].count("=") >= 2:
            rest = found[3].split("=", 1)[1]
            return f"SRS1={self._hash(rest, self.secrets[0])}={rest}@{self.domain}"
        stamp = day % _CYCLE
        rest = f"{_DIGITS[stamp // 32]}{_DIGITS[stamp % 32]}={domain}={local}"
        return f"SRS0={self._hash(rest, self.secrets[0])}={rest}@{self.domain}"

    def reverse(self, address: str, day: int) -> str | None:
        """The address a bounce goes to; None for one that is none of ours.

        Raises:
            SrsFault: it is forged, damaged or too old.
        """
        local, _, domain = address.rpartition("@")
        found = _SRS.fullmatch(local)
        if domain.lower() != self.domain or not found:
            return None
        signature, _, rest = found[3].partition("=")
        if not any(hmac.compare_digest(self._hash(rest, secret), signature.upper()) for secret in self.secrets):
            raise SrsFault("the signature is wrong")
        if found[1] == "1":
            first, _, kept = rest.partition("=")
            return f"SRS0{kept}@{first}"
        stamp, _, rest = rest.partition("=")
        domain, _, local = rest.partition("=")
        if not local or not domain:
            raise SrsFault("it is not complete")
        if (day - self._day(stamp)) % _CYCLE > DAYS:
            raise SrsFault(f"it is older than {DAYS} days")
        return f"{local}@{domain}"

    def _hash(self, rest: str, secret: bytes) -> str:
        digest = hmac.digest(secret, rest.lower().encode("utf-8", "surrogateescape"), "sha256")
        return base64.b32encode(digest[:5]).decode()

    @staticmethod
    def _day(stamp: str) -> int:
        places = [_DIGITS.find(char) for char in stamp.upper()]
        if len(places) != 2 or min(places) < 0:
            raise SrsFault("it is not complete")
        return places[0] * 32 + places[1]
