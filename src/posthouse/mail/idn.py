"""The two forms of a domain outside ASCII (RFC 5890): `bücher.example` and `xn--bcher-kva.example`. Pure.

Only for looking a name up a second time: what is no valid label in either form finds nothing, as it does as it stands.
"""

import unicodedata


def other_form(domain: str) -> str:
    """The domain with A-labels for its U-labels, or the other way round; empty for one that has neither.

    Args:
        domain: lower case.
    """
    try:
        if not domain.isascii():
            other = ".".join(map(_to_ascii, unicodedata.normalize("NFC", domain).split(".")))
        else:
            other = ".".join(map(_to_unicode, domain.split("."))) if "xn--" in domain else ""
    except UnicodeError:
        return ""
    return other if domain.isprintable() and other.isprintable() else ""


def _to_ascii(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")


def _to_unicode(label: str) -> str:
    return label[4:].encode("ascii").decode("punycode") if label.startswith("xn--") else label
