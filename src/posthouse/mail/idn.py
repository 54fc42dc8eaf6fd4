"""The two forms of a domain outside ASCII (RFC 5890): `bücher.example` and `xn--bcher-kva.example`. Pure.

Only for looking a name up a second time: what is no valid label in either form finds nothing, as it does as it stands.
`xn--example-.com` is not example.com: an A-label stands for the one U-label it is made from (RFC 5890 2.3.2.1).
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
    if not label.startswith("xn--"):
        return label
    other = label[4:].encode("ascii").decode("punycode")
    if other.isascii() or unicodedata.normalize("NFKC", other.lower()) != other or _to_ascii(other) != label:
        raise UnicodeError(label)
    return other
