r"""Folder names: the text of an address as the name of a Maildir++ folder's directory (message-store 6).

    folder a/b  ->  directory `.a.b`, every part in modified UTF-7 (RFC 3501 5.1.3)

A relay may send a part in modified UTF-7 already (source-routes 5), so a part that is modified UTF-7 as RFC 3501 writes it
is taken for that: `Entw&APw-rfe` and `Entwürfe` are one folder, `R&-D` and `R&D` too. What only looks like it is plain text.

`INBOX` in any case is the inbox, `INBOX/x` is `x`. Not representable, and therefore delivered to the INBOX: an empty
part, a `.` in a part, control characters, a `~` in front (Dovecot cannot open it), a directory name over 240 octets, and the
names of the two lock files. With `store.listescape`, for a Dovecot with its plugin of that name, a `.`, a `\` and the `~` in
front are written as the plugin does: `\2e`, `\5c`, `\7e`.
"""

import re
from enum import Enum

from posthouse.mail.modified_utf7 import decode_utf7, encode_utf7
from posthouse.store.mailbox.maildir import ADMIN_LOCK, LOCK

MAX_DIRECTORY = 240
"""octets of a folder's directory name: leaves room under the 255 of Linux file systems"""
_PLAIN = re.compile(r"[\x20-\x25\x27-\x2d\x30-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_LOCKS = frozenset({LOCK, ADMIN_LOCK})


class Unwritable(Enum):
    """What becomes of characters that a Maildir++ has no way to write."""

    REFUSED = "refused"
    ESCAPED = "escaped"
    """as Dovecot's plugin listescape does"""


def folder_directory(folder: str, unwritable: Unwritable = Unwritable.REFUSED) -> str | None:
    """The directory name of a folder below the Maildir++ root.

    Returns:
        "" for the INBOX, None for a name that no directory can stand for.
    """
    if _CONTROL.search(folder):
        return None
    parts = folder.split("/")
    while parts and parts[0].upper() == "INBOX":
        del parts[0]
    if not parts or parts == [""]:
        return ""
    if "&" in folder:
        parts = [decode_utf7(part) for part in parts]
    if not all(parts) or any(_CONTROL.search(part) for part in parts):
        return None
    if unwritable is Unwritable.ESCAPED:
        parts = [part.replace("\\", "\\5c").replace(".", "\\2e") for part in parts]
        if parts[0][0] == "~":
            parts[0] = "\\7e" + parts[0][1:]
    elif parts[0][0] == "~" or any("." in part for part in parts):
        return None
    directory = "." + ".".join([part if _PLAIN.fullmatch(part) else encode_utf7(part) for part in parts])
    return directory if len(directory) <= MAX_DIRECTORY and directory not in _LOCKS else None
