"""Questions of one routing decision: each domain is asked for once, and every kind of look-up is one generator.

Unknown answers are not hidden: a look-up that needs the directory and gets Unknown raises NoAnswer, which route.py
turns into the temporary refusal; nothing here ever makes "not there" of "no answer".
"""

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from posthouse.mail.idn import other_form
from posthouse.mapping.question import DomainAttribute, LdapUrl
from posthouse.mapping.table import UNDECIDED, Result, Tables
from posthouse.relay.directory.question import (
    Answer,
    Domain,
    Entry,
    Found,
    NeedDn,
    NeedDomain,
    NeedEntry,
    NeedMembers,
    NeedUrl,
    Question,
    Unknown,
)

T = TypeVar("T")
Asking: TypeAlias = Generator[Question, Answer, T]


class NoAnswer(Exception):  # noqa: N818 - a state of the directory, not a fault of ours
    """The directory did not answer: the decision must be a temporary refusal."""


class AmbiguousEntry(Exception):  # noqa: N818 - a fact about the directory
    """Several entries have the address; the message lists their DNs."""


class Inquiry:
    """The answers one decision has had so far."""

    __slots__ = ("_domains", "answered")

    def __init__(self) -> None:
        self._domains: dict[str, Domain | None] = {}
        self.answered: tuple[NeedEntry, Answer] | None = None
        """a question already asked elsewhere, with its answer: it is not asked again"""

    def domain(self, name: str) -> Asking[Domain | None]:
        """The domain if the directory has it, in either form outside ASCII. A literal or an empty name is never one.

        Raises:
            NoAnswer: the directory is silent.
        """
        key = name.lower()
        if key in self._domains:
            return self._domains[key]
        if not key or key.startswith("["):
            return None
        found = yield from self._domain(key)
        if found is None and (other := other_form(key)):
            found = yield from self._domain(other)
        self._domains[key] = found
        return found

    @staticmethod
    def _domain(key: str) -> Asking[Domain | None]:
        answer = yield NeedDomain(key)
        if isinstance(answer, Unknown):
            raise NoAnswer(answer.reason)
        return answer.value if isinstance(answer, Found) and isinstance(answer.value, Domain) else None

    def known_domain(self, name: str) -> Domain | None:
        """The domain if this decision has met it."""
        return self._domains.get(name.lower())

    def entry(self, local: str, domain: Domain, given: str) -> Asking[Entry | None]:
        """The entry with this address.

        Raises:
            NoAnswer: the directory is silent.
            AmbiguousEntry: more than one has it.
        """
        if (other := other_form(given.lower())) and other == domain.name:
            given = other
        question = NeedEntry(local, domain, given)
        if self.answered is not None and self.answered[0] == question:
            answer = self.answered[1]
        else:
            answer = yield question
        if isinstance(answer, Found):
            return answer.value if isinstance(answer.value, Entry) else None
        if isinstance(answer, Unknown):
            raise NoAnswer(answer.reason)
        dns = getattr(answer, "dns", None)
        if dns is not None:
            raise AmbiguousEntry("; ".join(dns))
        return None

    @staticmethod
    def url(url: str) -> Asking[str | None]:
        """First value of the URL's first entry.

        Raises:
            NoAnswer: the directory is silent.
        """
        answer = yield NeedUrl(url)
        if isinstance(answer, Unknown):
            raise NoAnswer(answer.reason)
        return answer.value if isinstance(answer, Found) and isinstance(answer.value, str) else None

    @staticmethod
    def named(dn: str) -> Asking[Entry | None]:
        """The entry with this name.

        Raises:
            NoAnswer: the directory is silent.
        """
        answer = yield NeedDn(dn.strip())
        if isinstance(answer, Unknown):
            raise NoAnswer(answer.reason)
        return answer.value if isinstance(answer, Found) and isinstance(answer.value, Entry) else None

    @staticmethod
    def members(url: str, *, every: bool = False, limit: int = 0) -> Asking[tuple[str, ...]]:
        """The addresses of everybody a URL finds.

        Raises:
            NoAnswer: the directory is silent, or does not say all.
        """
        answer = yield NeedMembers(url.strip(), every, limit)
        if isinstance(answer, Found) and isinstance(answer.value, tuple):
            return answer.value
        raise NoAnswer(answer.reason if isinstance(answer, Unknown) else f"no answer to {url}")

    def mapping(self, tables: Tables, name: str, text: str, flags: frozenset[str] = frozenset()) -> Asking[Result | None]:
        """Result of a mapping table, its directory call-outs asked as questions of ours.

        Raises:
            NoAnswer: a call-out found the directory silent.
        """
        known = tables.at_once(name, text)
        if known is not UNDECIDED:
            return known
        walk = tables.walk(name, text, flags)
        try:
            asked = next(walk)
            while True:
                asked = walk.send((yield from self._call_out(asked)))
        except StopIteration as end:
            result: Result | None = end.value
            return result

    def _call_out(self, asked: LdapUrl | DomainAttribute) -> Asking[str | None]:
        if isinstance(asked, LdapUrl):
            return (yield from self.url(asked.url))
        domain = yield from self.domain(asked.domain)
        return domain.first(asked.attribute.lower()) or None if domain else None
