"""ESMTP parameters of MAIL and RCPT: names, values, refusals.

    parameter = name [ "=" value ]     name in any case, value without blanks and controls

Values are checked by the table below. A name that is not known is refused (555 5.5.4) or, after a bare LHLO, skipped; a value
that breaks its form, or a name given twice, is `501 5.5.4`.

    SIZE digits            RFC 1870      BODY 7BIT|8BITMIME   RFC 6152       SMTPUTF8, no value      RFC 6531
    RET FULL|HDRS          RFC 3461 4.3  ENVID xtext, <= 100  RFC 3461 4.4   AUTH anything, ignored  RFC 4954 5
    NOTIFY NEVER|list      RFC 3461 4.1  ORCPT type;xtext     RFC 3461 4.2   IGNOREQUOTA, no value   its draft
    XQUOTA size,number     LMTP chapter  XDFLG digits         LMTP chapter   XQID id                 message-store 8
    XFLAGS flag,flag...    mail/imap_flags.py, <= 500

ORCPT may have octets above 127 (RFC 6533 3).
XQUOTA: the size may end in K, M or G, either half, not both without a comma, may be empty; the comma may be missing.
"""

import re
from collections.abc import Mapping

from posthouse.mail.status import Status

_XTEXT = rb"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_FLAG = rb"\\[A-Za-z]{1,20}|(?:[!#$&'\-./0-9:;<>?@A-Z\[^_`a-z|}~]|\+2B|\+2C|\+3D){1,50}"
_FORMS: dict[str, re.Pattern[bytes] | None] = {
    "SIZE": re.compile(rb"[0-9]{1,20}"),
    "BODY": re.compile(rb"7BIT|8BITMIME", re.IGNORECASE),
    "SMTPUTF8": None,
    "RET": re.compile(rb"FULL|HDRS", re.IGNORECASE),
    "ENVID": re.compile(_XTEXT + rb"{1,100}"),
    "AUTH": re.compile(rb"[!-~]+"),
    "NOTIFY": re.compile(rb"NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2}", re.IGNORECASE),
    "ORCPT": re.compile(rb"[A-Za-z0-9.-]{1,32};(?:" + _XTEXT + rb"|[\x80-\xff]){1,500}"),
    "IGNOREQUOTA": None,
    "XQUOTA": re.compile(rb"(?=.)(?:-?[0-9]{1,40}[KMG]?)?(?:,(?:-?[0-9]{1,40})?)?", re.IGNORECASE),
    "XDFLG": re.compile(rb"[0-9]{1,10}"),
    "XQID": re.compile(rb"[!-~]{1,200}"),
    "XFLAGS": re.compile(rb"(?=[!-~]{1,500}\Z)(?:" + _FLAG + rb")(?:,(?:" + _FLAG + rb")){0,29}"),
}
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile(rb"[^\x00-\x20\x7f]+")
_NAMES = {name.encode(): name for name in _FORMS} | {name.lower().encode(): name for name in _FORMS}
"""the common spellings, found without a search"""
_OF_A_RELAY = re.compile(
    rb"SIZE=([0-9]{1,20})|XQUOTA=((?:-[12]|[0-9]{1,40}),(?:-[12]|[0-9]{1,40})) XDFLG=([0-9]{1,10}) XQID=([!-~]{1,200})"
).fullmatch
"""what a relay of ours says with nearly every MAIL and RCPT, taken by one search"""
_OF_RCPT = frozenset({"XQUOTA", "XDFLG", "XQID"})
NO_PARAMETERS: Mapping[str, bytes | None] = {}
"""what most commands have; nobody writes to it"""


class ParameterError(ValueError):
    """A parameter cannot be taken; `reply` says so."""

    def __init__(self, reply: Status) -> None:
        super().__init__(reply.text)
        self.reply = reply


def _refusal(code: int, text: str, name: bytes) -> ParameterError:
    return ParameterError(Status(code, "5.5.4", f"{text}: {name[:64].decode('ascii', 'backslashreplace')}"))


def _name(octets: bytes) -> str:
    if _NAME.fullmatch(octets) is None:
        raise _refusal(501, "bad parameter", octets)
    return octets.upper().decode()


def parse_parameters(rest: bytes, known: frozenset[str], *, skip_unknown: bool) -> dict[str, bytes | None]:
    """The parameters by their names in capitals.

    Args:
        rest: the octets behind the path.
        known: names to be taken.
        skip_unknown: pass over other names instead of refusing them.

    Raises:
        ParameterError: with the reply that refuses them.
    """
    if (usual := _OF_A_RELAY(rest)) is not None:
        size, quota, flags, xqid = usual.groups()
        if size is not None:
            if "SIZE" in known:
                return {"SIZE": size}
        elif known >= _OF_RCPT:
            return {"XQUOTA": quota, "XDFLG": flags, "XQID": xqid}
    found: dict[str, bytes | None] = {}
    for item in rest.split():
        octets, equals, value = item.partition(b"=")
        name = _NAMES.get(octets) or _name(octets)
        if name not in known:
            if skip_unknown:
                continue
            raise _refusal(555, "parameter not recognized or not implemented", octets)
        if name in found:
            raise _refusal(501, "parameter given twice", octets)
        form = _FORMS.get(name, _VALUE)
        if form is None:
            if equals:
                raise _refusal(501, "bad value of parameter", octets)
            found[name] = None
        elif not equals or form.fullmatch(value) is None:
            raise _refusal(501, "bad value of parameter", octets)
        else:
            found[name] = value
    return found
