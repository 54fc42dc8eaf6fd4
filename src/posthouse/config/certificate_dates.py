"""From when to when a certificate is good, read from its PEM text, and what to say of that. Pure: the time is passed in.

`told` is empty while all is well. "Soon" is 14 days, or the last third of the life of one that is made for less than six weeks.
"""

import binascii
import re
from datetime import UTC, datetime

SOON_SECONDS = 14 * 86400
_EXPLICIT_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_BEGIN, _END = re.compile("-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----"), "-----END "  # all that OpenSSL takes


def dates(pem: str) -> tuple[float, float] | None:
    """Unix times at which the first certificate of a PEM text begins and ends; None where there is none that can be read."""
    begin = _BEGIN.search(pem)
    if begin is None or (end := pem.find(_END, begin.end())) < 0:
        return None
    try:
        octets = binascii.a2b_base64(pem[begin.end() : end])
        signed = _items(_items(octets)[0][1])[0][1]
        fields = [content for tag, content in _items(signed) if tag != _EXPLICIT_VERSION]
        before, after = (_moment(tag, content) for tag, content in _items(fields[3]))
    except (ValueError, IndexError):
        return None
    return before, after


def told(span: tuple[float, float] | None, now: float) -> str:
    """What is wrong with these dates, or will be soon: words that stay the same until that changes."""
    if span is None:
        return ""
    before, after = span
    if now >= after:
        return f"certificate has expired, {_stamp(after)}"
    if now < before:
        return f"certificate is not yet valid, before {_stamp(before)}"
    if after - now < min(SOON_SECONDS, (after - before) / 3):
        return f"certificate ends soon, {_stamp(after)}"
    return ""


def _items(octets: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each DER item, one behind the other."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(octets):
        tag, length, at = octets[at], octets[at + 1], at + 2
        if length & 0x80:
            more = length & 0x7F
            length, at = int.from_bytes(octets[at : at + more]), at + more
        found.append((tag, octets[at : at + length]))
        at += length
    return found


def _moment(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # RFC 5280 4.1.2.5.1: two digits of the year, 50 is 1950
        text = f"{'19' if text[:2] >= '50' else '20'}{text}"
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"tag {tag} is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
