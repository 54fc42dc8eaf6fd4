"""Modified UTF-7 (RFC 3501 5.1.3): how names of folders are written where only printable US-ASCII can stand.

A store writes its folders' directories so, a relay the folder in an address. base64 is imported by the first name that needs it.
"""

import re

_RUN = re.compile(r"[^\x20-\x7e]+|&")
_ENCODED = re.compile(r"&([A-Za-z0-9+,]*)-")


def encode_utf7(text: str) -> str:
    """The text in modified UTF-7: printable US-ASCII as itself, `&` as `&-`, the rest in base64 of UTF-16."""
    import base64

    def run(match: re.Match[str]) -> str:
        if match[0] == "&":
            return "&-"
        octets = base64.b64encode(match[0].encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
        return f"&{octets.decode('ascii')}-"

    return _RUN.sub(run, text)


def decode_utf7(text: str) -> str:
    """The text that modified UTF-7 stands for; text that is not in the one form `encode_utf7` writes comes back as it is."""
    if not text.isascii():  # a directory's name may be any octets
        return text
    import base64

    def run(match: re.Match[str]) -> str:
        if not match[1]:
            return "&"
        octets = match[1].replace(",", "/")
        return base64.b64decode(octets + "=" * (-len(octets) % 4)).decode("utf-16-be")

    try:
        decoded = _ENCODED.sub(run, text)
    except ValueError:
        return text
    return decoded if encode_utf7(decoded) == text else text
