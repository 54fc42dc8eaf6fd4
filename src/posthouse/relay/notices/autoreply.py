r"""The vacation answer an entry's attributes describe (directory.md 10). Pure: values in, a `Vacation` or None out.

    mailAutoReplyMode     reply, vacation: the text alone; echo: the message is added
    mailAutoReplySubject  else `Re: ` and the message's own
    mailAutoReplyText     and mailAutoReplyTextInternal for senders of the same canonical domain; none: no answer
    mailAutoReplyTimeOut  hours between two answers, else the domain's, else AUTOREPLY_TIMEOUT_DEFAULT (168)

`$SUBJECT` and `$FROM` stand for the message's fields; then `$` separates lines, `\24` is `$` and `\5c` is `\`. What comes from
the message separates nothing. Of values with a language (`mailAutoReplyText;lang-de`) the first that the message's
Accept-Language or Content-Language names is taken, else the one without.
"""

import re
from dataclasses import dataclass

from posthouse.relay.directory.question import Domain, Entry
from posthouse.relay.notices.vacation import Vacation, original_field

DEFAULT_HOURS = 168
_ADDRESSES = ("mail", "mailalternateaddress", "mailequivalentaddress", "autoreplyaddresses")
_LANGUAGES = ("accept-language", "x-accept-language", "content-language")
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")
_CODE = re.compile(r"\$SUBJECT|\$FROM|\$|\\24|\\5c", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Absence:
    """Who is away, and to whom that is said.

    Args:
        domain: the user's.
        entry: the user.
        owner: names him in the memory of answers.
        header: of the message.
        reached: the addresses he was reached by.
        internal: whether the sender's domain is the user's.
        default_hours: AUTOREPLY_TIMEOUT_DEFAULT.
    """

    domain: Domain
    entry: Entry
    owner: str
    header: bytes
    reached: tuple[str, ...] = ()
    internal: bool = False
    default_hours: int = DEFAULT_HOURS


def vacation_of(absence: Absence) -> Vacation | None:
    """What he wants said; None when he says nothing."""
    entry = absence.entry
    mail = entry.first("mail")
    tags = languages(absence.header)
    text = (_tagged(entry, "mailautoreplytextinternal", tags) if absence.internal else "") or _tagged(
        entry, "mailautoreplytext", tags
    )
    if not text or not mail:
        return None
    own = {address.lower() for name in _ADDRESSES for address in entry.all(name)} | {one.lower() for one in absence.reached}
    subject = _tagged(entry, "mailautoreplysubject", tags)
    return Vacation(
        owner=absence.owner,
        mail=mail,
        addresses=frozenset(own),
        text=fill(text, absence.header),
        subject=" ".join(fill(subject, absence.header, line="$").split()),
        seconds=_hours(absence) * 3600.0,
        echo=entry.first("mailautoreplymode").strip().lower() == "echo",
    )


def fill(text: str, header: bytes, line: str = "\n") -> str:
    """The text with its codes replaced; line: what a lone `$` becomes."""

    def one(found: re.Match[str]) -> str:
        match found[0].upper():
            case "$SUBJECT":
                return original_field(header, "subject")
            case "$FROM":
                return original_field(header, "from")
            case "\\24":
                return "$"
            case "\\5C":
                return "\\"
            case _:
                return line

    return _CODE.sub(one, text)


def languages(header: bytes) -> tuple[str, ...]:
    """Language tags the message names, lower case, the most wanted first as far as their order says so."""
    found: list[str] = []
    for name in _LANGUAGES:
        for part in original_field(header, name).split(","):
            tag = part.partition(";")[0].strip().lower()
            if _LANGUAGE.fullmatch(tag):
                found += [tag, tag.partition("-")[0]]
    return tuple(dict.fromkeys(found))


def _tagged(entry: Entry, name: str, tags: tuple[str, ...]) -> str:
    for tag in tags:
        value = entry.first(f"{name};lang-{tag}")
        if value:
            return value
    return entry.first(name)


def _hours(absence: Absence) -> int:
    for text in (absence.entry.first("mailautoreplytimeout"), absence.domain.first("mailautoreplytimeout")):
        if text.strip().isascii() and text.strip().isdecimal():
            return int(text)
    return absence.default_hours
