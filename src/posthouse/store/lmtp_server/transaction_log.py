"""The store's lines of the transaction log: one for each recipient (logging.md 5, last paragraph).

<time> tcp_lmtpss - <D|Q|R>L <size> <from> <rcpt> <mailbox> <file name> <message-id> <reply>

A relay of ours says its id of the message with each recipient (XQID): `posthouse trace` finds it in both logs.
"""

import re

from posthouse.store.delivery.transaction import Addressee, Transaction
from posthouse.store.lmtp_server.status_table import Row
from posthouse.trace.record import Record

_BLOCK = 1024
_HEADER_LIMIT = 65_536
_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r\n[ \t]+)?(<[^>\r\n]{1,500}>)", re.IGNORECASE | re.MULTILINE)


def message_id(data: bytes, header_end: int) -> bytes:
    """The Message-ID field of a header, with its brackets; empty when there is none."""
    end = min(header_end, _HEADER_LIMIT)
    first = data[:end].lower().find(b"message-id:")
    if first < 0:
        return b""
    found = _MESSAGE_ID.search(data, max(first - 1, 0), end)
    return found[1] if found else b""


def text_of(octets: bytes) -> str:
    """Octets from the wire as text for the log."""
    return octets.decode("utf-8", "backslashreplace")


def mailbox_name(addressee: Addressee) -> str:
    """`user/<owner>/<folder's directory>` where it is, `user/<owner>` where it was to go; a file's path."""
    place = addressee.place
    if place is not None and addressee.fault is None:
        return f"user/{place.owner}/{place.directory[1:].replace('.', '/')}" if place.directory else f"user/{place.owner}"
    target = addressee.target
    return "" if isinstance(target, Exception) else f"user/{target.owner}" if target.owner else target.folder


def recipient_record(
    transaction: Transaction, addressee: Addressee, row: Row, *, ts: str, channel: str, process: str, transport: str
) -> Record:
    """The line of one recipient."""
    address, message = text_of(addressee.token), transaction.message
    fault, place = addressee.fault, addressee.place
    identity, _, number = addressee.xqid.rpartition(b".")
    return Record(
        ts=ts,
        ac=row.action,
        mo="L",
        sc=channel,
        dc="-",
        sz=-(-message.size // _BLOCK) if message is not None else 0,
        so=text_of(transaction.sender),
        od=f"rfc822;{address[1:-1] if address.startswith('<') else address}",
        de=mailbox_name(addressee),
        fi=place.base if place is not None and fault is None else "",
        ei=text_of(identity),
        ri=int(number) if identity and number.isdigit() and len(number) < 10 else -1,
        mi=text_of(transaction.message_id),
        pi=process,
        re=str(fault) if fault is not None else "",
        di=f"smtp;{row.code} {row.enhanced} {address} {row.text}",
        tr=transport,
        co=row.code,
        en=row.enhanced,
        tx=row.text,
    )
