"""Whether this sender may send to this group, and who gets the message then (directory.md 8, 1 to 10).

    mgrpBroadcasterPolicy  mgrpAllowedBroadcaster  mgrpAllowedDomain  mgrpDisallowedDomain  mgrpDisallowedBroadcaster
    mgrpMsgMaxSize, mailMsgMaxBlocks  mgrpAuthPassword  mgrpModerator

"from" is the envelope From, or the authenticated address where SMTP AUTH is demanded. Checks 4 to 7 must all be passed, with
OR_CLAUSES=1 or the policy OR one of the two Allowed ones; who matches mgrpAllowedBroadcaster is exempt from 4 and 5. A failed
check is a refusal, or with mgrpMsgRejectAction TOMODERATOR the moderators' affair. What needs the message itself
(`Approved:`, a size that was not announced) is put off to the reprocess channel. A directory that does not answer is NoAnswer.
"""

import hmac
import re
from enum import Enum
from fnmatch import translate
from urllib.parse import unquote

from posthouse.relay.directory.question import Entry, Kind
from posthouse.relay.routing.inquiry import AmbiguousEntry, Asking, Inquiry
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.result import RouteRequest
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.standing import Refuse
from posthouse.relay.routing.way import Postpone

MAX_NESTED = 10
"""groups within groups that are looked into for a broadcaster or moderator"""
_ADDRESSES = ("mail", "mailalternateaddress", "mailequivalentaddress")


class Judgement(Enum):
    """What becomes of a message that is not refused."""

    MEMBERS = "members"
    MODERATORS = "moderators"


class ListPolicy:
    """One group's decision about one message.

    Args:
        rules: compiled configuration.
        inquiry: of this decision.
        request: the recipient's.
        group: the group.
    """

    def __init__(self, rules: Rules, inquiry: Inquiry, request: RouteRequest, group: Entry) -> None:
        self._rules = rules
        self._inquiry = inquiry
        self._request = request
        self._group = group
        self._identities: frozenset[str] | None = None
        self._dn = ""
        self._waived = False
        tokens = {token.strip().upper() for value in group.all("mgrpbroadcasterpolicy") for token in value.split(",")}
        self._free = "NO_REQUIREMENTS" in tokens
        self.needs_auth = not self._free and bool(tokens & {"SMTP_AUTH_REQUIRED", "AUTH_REQ"})
        self.needs_password = not self._free and bool(tokens & {"PASSWORD_REQUIRED", "PASSWD_REQUIRED", "PASSWD_REQ"})
        self._any = "OR" in tokens or (rules.or_clauses and "AND" not in tokens)
        self.sender = request.authenticated if self.needs_auth else request.sender
        self.notes: list[str] = []

    def judge(self) -> Asking[Judgement]:
        """Decide.

        Raises:
            Refuse: the message is not for this group.
            Postpone: the message itself is needed.
            NoAnswer: the directory is silent.
        """
        failure = (yield from self._failure()) or self._size_failure()
        moderators = self._group.all("mgrpmoderator")
        password = self._group.first("mgrpauthpassword")
        approved = False
        if not failure and password and (moderators or not self._free):
            approved = self._approved(password)
            self.notes.append(f"Approved: {'right' if approved else 'missing or wrong'}")
            if not approved and (self.needs_password or not moderators):
                failure = self._refusal("Approved: with the group's password is missing")
        if failure is not None:
            if moderators and self._group.first("mgrpmsgrejectaction").strip().upper() == "TOMODERATOR":
                passed = self._approved(password) if password else (yield from self._is_among(moderators))
                passed = passed and (bool(self.sender) or not self.needs_auth)
                self._waived = passed
                self.notes.append(f"{failure.reason}: {'but a moderator has approved' if passed else 'to the moderators'}")
                return Judgement.MEMBERS if passed else Judgement.MODERATORS
            raise failure
        if not moderators or approved:
            return Judgement.MEMBERS
        if (yield from self._is_among(moderators)):
            self.notes.append(f"{self.sender} is a moderator")
            return Judgement.MEMBERS
        self.notes.append(f"{self.sender or 'the null sender'} is no moderator")
        return Judgement.MODERATORS

    @property
    def block_limit(self) -> int:
        """Octets a message may have, 0 for no limit: what a moderator sends on has been seen."""
        if self._waived:
            return 0
        size = self._group.first("mgrpmsgmaxsize").strip()
        blocks = self._group.first("mailmsgmaxblocks").strip()
        limits = [int(size) if _is_number(size) else 0, int(blocks) * self._rules.block_size if _is_number(blocks) else 0]
        return min((limit for limit in limits if limit), default=0)

    def _failure(self) -> Asking[Refuse | None]:
        """Checks 3 to 7."""
        group = self._group
        if self.needs_auth and not self.sender:
            return self._refusal("SMTP authentication is required")
        broadcasters, domains = group.all("mgrpallowedbroadcaster"), group.all("mgrpalloweddomain")
        exempt = bool(broadcasters) and (yield from self._is_among(broadcasters))
        in_domain = exempt or self._in_domains(domains)
        if broadcasters and exempt:
            self.notes.append(f"{self.sender} matches mgrpAllowedBroadcaster")
        elif domains and in_domain:
            self.notes.append(f"{self.sender} matches mgrpAllowedDomain")
        passed = [exempt] * bool(broadcasters) + [in_domain] * bool(domains)
        if passed and not (any(passed) if self._any else all(passed)):
            missed = "mgrpAllowedDomain" if domains and not in_domain else "mgrpAllowedBroadcaster"
            return self._refusal(f"{self.sender or 'the null sender'} is not in {missed}")
        if not exempt and self._in_domains(group.all("mgrpdisalloweddomain")):
            return self._refusal(f"{self.sender} is in mgrpDisallowedDomain")
        barred = group.all("mgrpdisallowedbroadcaster")
        if barred and (yield from self._is_among(barred)):
            return self._refusal(f"{self.sender} is in mgrpDisallowedBroadcaster")
        return None

    def _size_failure(self) -> Refuse | None:
        limit = self.block_limit
        if not limit:
            return None
        size = self._request.size
        if size is None:
            if self._group.first("mgrpmsgrejectaction").strip().upper() == "TOMODERATOR":
                raise Postpone("the size decides whether moderators see the message")
            return None
        if size <= limit:
            return None
        text = self._rules.refusals.text(Refusal.BLOCK_OVER).replace("%d", str(limit // 1024))
        return Refuse(Refusal.BLOCK_OVER, f"{size} octets; the group takes {limit}", text)

    def _approved(self, password: str) -> bool:
        if self._request.approved is None:
            raise Postpone("the header decides: Approved")
        return hmac.compare_digest(self._request.approved.encode(), password.encode())

    def _refusal(self, reason: str) -> Refuse:
        text = (self._group.first("mailrejecttext") or self._group.first("mgrpmsgrejecttext")).strip().split("\n")[0].strip()
        printable = text if text.isascii() and text.isprintable() else ""
        return Refuse(Refusal.ALIAS_AUTH, f"{self._group.dn}: {reason}", printable or None)

    def _in_domains(self, patterns: tuple[str, ...]) -> bool:
        domain = self.sender.rpartition("@")[2].lower() if "@" in self.sender else ""
        return bool(domain) and any(re.fullmatch(translate(one.strip().lower()), domain) for one in patterns)

    def _is_among(self, values: tuple[str, ...], depth: int = 0) -> Asking[bool]:
        """Whether the sender is one of those that URLs, DNs and addresses name."""
        if not self.sender:
            return False
        identities = yield from self._who()
        for value in values:
            if (yield from self._is_one_of(value.strip(), identities, depth)):
                return True
        return False

    def _is_one_of(self, value: str, identities: frozenset[str], depth: int) -> Asking[bool]:
        if value[:7].lower() == "mailto:":
            return address_of(value).lower() in identities
        if value.lower().startswith(("ldap://", "ldaps://", "ldapi://")):
            found = yield from self._inquiry.members(value, every=True)
            return not identities.isdisjoint(one.lower() for one in found)
        if "=" not in value or ("@" in value and "=" not in value.partition("@")[0]):
            return value.lower() in identities
        if value.lower() == self._dn.lower():
            return True
        entry = yield from self._inquiry.named(value)
        if entry is None:
            return False
        if any(one.lower() in identities for name in _ADDRESSES for one in entry.all(name)):
            return True
        inside = (*entry.all("uniquemember"), *entry.all("mgrpdeliverto"), *entry.all("memberurl"))
        plain = (*entry.all("mgrprfc822mailmember"), *entry.all("rfc822mailmember"))
        if entry.kind is Kind.USER or depth >= MAX_NESTED:
            return False
        if self._dn and any(one.lower() == self._dn.lower() for one in inside):
            return True
        return any(one.lower() in identities for one in plain) or (yield from self._is_among(inside, depth + 1))

    def _who(self) -> Asking[frozenset[str]]:
        """Every address of the sender that the directory knows, lower case."""
        if self._identities is None:
            found = {self.sender.lower()}
            local, _, name = self.sender.rpartition("@")
            domain = (yield from self._inquiry.domain(name)) if local else None
            entry = None
            if domain is not None:
                try:
                    entry = yield from self._inquiry.entry(local, domain, name)
                except AmbiguousEntry:
                    entry = None
            if entry is not None:
                self._dn = entry.dn
                found.update(one.lower() for attribute in _ADDRESSES for one in entry.all(attribute))
            self._identities = frozenset(found)
        return self._identities


def address_of(value: str) -> str:
    """The address in `mailto:address` or a plain address."""
    text = value.strip()
    if text[:7].lower() == "mailto:":
        text = unquote(text[7:].partition("?")[0])
    return text


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
