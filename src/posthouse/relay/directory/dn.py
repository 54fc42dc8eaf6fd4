r"""Distinguished names (RFC 4514): take apart, compare, build.

    name = rdn *( "," rdn )      rdn = attr "=" value *( "+" attr "=" value )

A comma, plus or equals sign in a value is written `\,` or `\2C`. Two names are the same when their normal forms are equal:
lower case, no blanks around separators, escapes in one spelling.
"""

import re

from posthouse.relay.directory.filter import fold

_SPECIAL = re.compile(r'[,+"\\<>;=]|^[ #]| $')
_SEPARATOR = re.compile(r"((?:[^,\\]|\\.)*)(?:,|$)", re.DOTALL)
_HEX_RUN = re.compile(r"((?:\\[0-9A-Fa-f]{2})+)")


def split_dn(name: str) -> list[str]:
    """The relative names from the leaf up, blanks around them gone; none for the empty name."""
    if not name.strip():
        return []
    if "\\" not in name:
        return [part.strip() for part in name.split(",")]
    return [found[1].strip() for found in _SEPARATOR.finditer(name) if found[0]]


def normal_dn(name: str) -> str:
    """The form in which names are compared."""
    if "\\" not in name and " " not in name and name.isascii():
        return name.lower()
    return ",".join(_normal_rdn(part) for part in split_dn(name))


def is_under(normal: str, normal_base: str) -> bool:
    """Whether the name is the base or below it (both in normal form); everything is below the empty name."""
    return not normal_base or normal == normal_base or normal.endswith("," + normal_base)


def escape_value(value: str) -> str:
    """The value as it may stand in a name, so that it can never be more than one value."""
    return _SPECIAL.sub(lambda found: "".join(f"\\{octet:02x}" for octet in found[0].encode()), value.replace("\x00", "\\00"))


def domain_of(name: str) -> str:
    """The domain the leading `dc=` parts of the name spell, `dc=hosted,dc=org,o=internet` is `hosted.org`; "" for none."""
    labels: list[str] = []
    for part in split_dn(name):
        kind, _, value = part.partition("=")
        if kind.strip().lower() != "dc":
            break
        labels.append(value.strip().lower())
    return ".".join(labels)


def _normal_rdn(part: str) -> str:
    kind, _, value = part.partition("=")
    plain = _HEX_RUN.sub(lambda found: bytes.fromhex(found[1].replace("\\", "")).decode("utf-8", "replace"), value)
    plain = re.sub(r"\\(.)", r"\1", plain)
    return kind.strip().lower() + "=" + escape_value(fold(plain))
