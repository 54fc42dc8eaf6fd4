"""`fileinto`: the folder put into the address of a recipient, as its channel's keyword says (source-routes.md 5).

    fileinto @$4O:$U+$S@$D      $O source route  $U mailbox without subaddress  $S the folder  $D the domain part

The edited address is not rewritten again. `INBOX` takes the subaddress away. Folder names outside printable ASCII travel in
modified UTF-7. A channel without the keyword, and a name no address can carry, leave the mail to the inbox.
"""

import re
from functools import lru_cache

from posthouse.mail.address import Address, AddressError, parse_address, quote, unquote
from posthouse.mail.modified_utf7 import encode_utf7
from posthouse.relay.routing.clause_template import (
    ClauseError,
    ClauseInputs,
    ClauseTemplate,
    OwnerValues,
    parse_clause_template,
    render_clause,
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NOBODY = OwnerValues("", "", "")


def folder_address(keyword: str | None, address: str, folder: str, separator: str) -> str | None:
    """The address with the folder in it; None when the folder cannot be named, and the inbox gets the mail.

    Args:
        keyword: argument of the channel's `fileinto`, or None.
        address: active address of the recipient.
        folder: as the script names it, not the inbox.
        separator: SUBADDRESS_CHAR.
    """
    template = _template(keyword) if keyword else None
    if template is None or _CONTROL.search(folder):
        return None
    try:
        parsed = parse_address(address)
    except AddressError:
        return None
    mailbox = unquote(parsed.local).partition(separator)[0]
    route = ",@".join(parsed.route)
    inputs = ClauseInputs(address, parsed.local, mailbox, encode_utf7(folder), parsed.domain, route, _NOBODY)
    made = render_clause(template, inputs)
    try:
        return made if made is not None and parse_address(made) else None
    except AddressError:
        return None


def inbox_address(address: str, separator: str) -> str:
    """The address without a subaddress."""
    try:
        parsed = parse_address(address)
    except AddressError:
        return address
    mailbox = unquote(parsed.local).partition(separator)[0]
    return str(Address(parsed.route, quote(mailbox), parsed.domain)) if mailbox else address


@lru_cache(100)
def _template(keyword: str) -> ClauseTemplate | None:
    try:
        return parse_clause_template(keyword)
    except ClauseError:
        return None
