"""Strings of a script as they are meant: encoded characters (RFC 5228 2.4.2.4) and variables (RFC 5229 3) found at compile time.

    ${hex: 24 c3 a9}   octets      ${unicode: 263a}   characters, never a surrogate or above 10FFFF
    ${name}            a variable  ${0} ... ${32}     what the last `:matches` matched
    ${space.name}      refused: no extension with a namespace is known

What looks like these but is none stays as it is written.
"""

import re

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.run import Template

_ENCODED = re.compile(r"\$\{(hex|unicode):[ \t\r\n]*([0-9a-f]+(?:[ \t\r\n]+[0-9a-f]+)*)[ \t\r\n]*\}", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{(?:([0-9]+)|([A-Za-z_]\w*(?:\.\w+)*))\}", re.ASCII)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*\Z", re.ASCII)


class BadString(ValueError):  # noqa: N818 - the caller makes a fault of it
    """The string must not be used; the message says why."""


def decoded(text: str) -> str:
    """The text with its encoded characters put in.

    Raises:
        BadString: a character there is none of.
    """

    def put(match: re.Match[str]) -> str:
        numbers = match[2].split()
        if match[1].lower() == "hex":
            if any(len(number) > 2 for number in numbers):
                return match[0]
            return bytes(int(number, 16) for number in numbers).decode("latin-1").translate(_KEPT)
        out = ""
        for number in numbers:
            digits = number.lstrip("0") or "0"
            code = int(digits, 16) if len(digits) <= 8 else limits.NUMBER
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise BadString(f"${{unicode:{number}}} is no character")
            out += chr(code)
        return out

    if "${" not in text:
        return text
    made = _ENCODED.sub(put, text)
    return _HELD.sub(_octets, made)


def _octets(match: re.Match[str]) -> str:
    return bytes(ord(char) - _HOLD for char in match[0]).decode("utf-8", "surrogateescape")


_HOLD = 0x10F700
"""octets of ${hex:} stand as private characters until the whole string is known: two of them may be one UTF-8 character"""
_KEPT = {octet: _HOLD + octet for octet in range(128, 256)}
_HELD = re.compile(f"[{chr(_HOLD + 128)}-{chr(_HOLD + 255)}]+")


def template(text: str, line: int) -> str | Template:
    """The text, or what its variables are to be put into.

    Raises:
        BadString: a variable there cannot be.
    """
    if "${" not in text:
        return text
    parts: list[tuple[str, str | int]] = []
    at = 0
    for match in _VARIABLE.finditer(text):
        if match.start() > at:
            parts.append(("text", text[at : match.start()]))
        at = match.end()
        parts.append(_reference(match))
    if not parts:
        return text
    if at < len(text):
        parts.append(("text", text[at:]))
    return Template(tuple(parts), line)


def _reference(match: re.Match[str]) -> tuple[str, str | int]:
    if match[1]:
        digits = match[1].lstrip("0") or "0"
        if len(digits) > 3 or int(digits) > limits.MATCH_VARIABLES:
            raise BadString(f"match variable {match[0]} is out of range (0 to {limits.MATCH_VARIABLES})")
        return "match", int(digits)
    name = match[2]
    if "." in name:
        raise BadString(f"variable in the unknown namespace '{name.partition('.')[0]}'")
    if len(name) > limits.VARIABLE_NAME:
        raise BadString(f"the variable name '{name[:40]}' is longer than {limits.VARIABLE_NAME} characters")
    return "name", name.lower()
