"""Folder names: the text of an address as the name of a Maildir++ folder's directory (message-store 6).

    folder a/b  ->  directory `.a.b`, every part in modified UTF-7 (RFC 3501 5.1.3)

A relay may send a part in modified UTF-7 already (source-routes 5), so a part that is modified UTF-7 as RFC 3501 writes it
is taken for that: `Entw&APw-rfe` and `Entwürfe` are one folder, `R&-D` and `R&D` too. What only looks like it is plain text.

`INBOX` in any case is the inbox, `INBOX/x` is `x`. Not representable, and therefore delivered to the INBOX: an empty
part, a `.` in a part, control characters, a directory name over 240 octets.
"""

import re

MAX_DIRECTORY = 240
"""octets of a folder's directory name: leaves room under the 255 of Linux file systems"""
_PLAIN = re.compile(r"[\x20-\x25\x27-\x2d\x30-\x7e]+")
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


def folder_directory(folder: str) -> str | None:
    """The directory name of a folder below the Maildir++ root.

    Returns:
        "" for the INBOX, None for a name that no directory can stand for.
    """
    parts = folder.split("/")
    if parts[0].upper() == "INBOX":
        parts = parts[1:]
    if not parts or parts == [""]:
        return ""
    parts = [decode_utf7(part) if "&" in part else part for part in parts]
    for part in parts:
        if not part or "." in part or any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in part):
            return None
    encoded = ["" if not part else part if _PLAIN.fullmatch(part) else encode_utf7(part) for part in parts]
    directory = "." + ".".join(encoded)
    return directory if len(directory) <= MAX_DIRECTORY else None
