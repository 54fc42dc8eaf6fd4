"""The people of the reference's LDIF example as dicts, and a directory that answers questions from such entries."""

from collections.abc import Generator, Iterable, Mapping
from typing import TypeVar

from posthouse.mail.address import unquote
from posthouse.relay.directory.question import (
    Absent,
    Ambiguous,
    Answer,
    Domain,
    Entry,
    Found,
    Kind,
    NeedDn,
    NeedDomain,
    NeedEntry,
    NeedMembers,
    NeedUrl,
    Question,
    Unknown,
)

T = TypeVar("T")
Attributes = Mapping[str, tuple[str, ...]]
USER = ("inetMailUser", "inetLocalMailRecipient")
GROUP = ("inetMailGroup", "inetLocalMailRecipient")

EXAMPLE: dict[str, Attributes] = {
    "o=example.com,o=usergroup": {
        "sunpreferreddomain": ("example.com",),
        "inetdomainstatus": ("active",),
        "maildomainstatus": ("active",),
        "mailroutingsmarthost": ("legacy.example.com",),
    },
    "o=hosted.example.org,o=usergroup": {
        "sunpreferreddomain": ("hosted.example.org",),
        "associateddomain": ("hosted.example.net",),
        "inetdomainstatus": ("active",),
        "maildomainstatus": ("active",),
        "maildomaincatchalladdress": ("info@hosted.example.org",),
    },
    "uid=jdoe,ou=People,o=example.com,o=usergroup": {
        "uid": ("jdoe",),
        "mail": ("john.doe@example.com",),
        "mailalternateaddress": ("jd@example.com",),
        "mailhost": ("store1.example.com",),
        "maildeliveryoption": ("mailbox",),
        "mailuserstatus": ("active",),
        "inetuserstatus": ("active",),
        "mailquota": ("50M",),
        "mailmsgquota": ("5000",),
        "mailsieverulesource": ('require ["fileinto"];',),
    },
    "uid=asmith,ou=People,o=example.com,o=usergroup": {
        "uid": ("asmith",),
        "mail": ("ann.smith@example.com",),
        "mailhost": ("store2.example.com",),
        "maildeliveryoption": ("mailbox", "autoreply"),
        "vacationstartdate": ("20260701000000Z",),
        "vacationenddate": ("20260715000000Z",),
        "mailquota": ("-1",),
    },
    "uid=bfwd,ou=People,o=example.com,o=usergroup": {
        "uid": ("bfwd",),
        "mail": ("bob@example.com",),
        "mailhost": ("store1.example.com",),
        "maildeliveryoption": ("mailbox", "forward"),
        "mailforwardingaddress": ("bob@remote.test", "ann.smith@example.com"),
    },
    "uid=SMiller,ou=People,o=hosted.example.org,o=usergroup": {
        "uid": ("SMiller",),
        "mail": ("sue@hosted.example.org",),
        "mailhost": ("store2.example.com",),
        "maildeliveryoption": ("mailbox",),
        "mailquota": ("1G",),
    },
    "uid=info,ou=People,o=hosted.example.org,o=usergroup": {
        "uid": ("info",),
        "mail": ("info@hosted.example.org",),
        "mailhost": ("store1.example.com",),
    },
    "uid=gone,ou=People,o=hosted.example.org,o=usergroup": {
        "uid": ("gone",),
        "mail": ("gone@hosted.example.org",),
        "mailhost": ("store1.example.com",),
        "mailuserstatus": ("deleted",),
    },
    "cn=staff,ou=Groups,o=example.com,o=usergroup": {
        "kind": ("group",),
        "mail": ("staff@example.com",),
        "maildeliveryoption": ("members",),
        "inetmailgroupstatus": ("active",),
        "uniquemember": (
            "uid=jdoe,ou=People,o=example.com,o=usergroup",
            "uid=SMiller,ou=People,o=hosted.example.org,o=usergroup",
        ),
        "mgrprfc822mailmember": ("ext@remote.test",),
        "mgrperrorsto": ("mailto:owner-staff@example.com",),
        "mgrpalloweddomain": ("example.com",),
        "mgrpmsgmaxsize": ("1000000",),
        "mailrejecttext": ("staff is for example.com senders only",),
    },
}


class MemoryDirectory:
    """Answers from entries: those with sunpreferreddomain are domains, the others users, or groups where `kind` says so."""

    def __init__(self, entries: Mapping[str, Attributes], default_domain: str = "example.com") -> None:
        self.entries = entries
        self.default_domain = default_domain
        self.silent = False
        self.asked: list[Question] = []
        self.urls: dict[str, str] = {}
        self.members: dict[str, tuple[str, ...]] = {}

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        if self.silent:
            return Unknown("the server does not answer")
        match question:
            case NeedDomain(domain):
                return self._domain(domain.lower())
            case NeedEntry():
                return self._entry(question)
            case NeedUrl(url):
                return Found(self.urls[url]) if url in self.urls else Absent()
            case NeedDn(dn):
                return self._by_name(dn)
            case NeedMembers(url):
                return Found(self.members[url]) if url in self.members else Unknown(f"no answer for {url}")

    def _domain(self, name: str) -> Answer:
        for dn, attributes in self.entries.items():
            names = attributes.get("sunpreferreddomain", ()) + attributes.get("associateddomain", ())
            if "sunpreferreddomain" in attributes and name in names:
                return Found(Domain(name, attributes["sunpreferreddomain"][0].lower(), dn, dn, attributes))
        return Absent()

    def _entry(self, question: NeedEntry) -> Answer:
        local = unquote(question.local).lower()
        names = {question.given_domain.lower(), question.domain.canonical}
        addresses = {f"{local}@{name}" for name in names}
        found = list(self._matching(addresses))
        if len(found) > 1:
            return Ambiguous(tuple(entry.dn for entry in found))
        return Found(found[0]) if found else Absent()

    def _matching(self, addresses: Iterable[str]) -> Iterable[Entry]:
        wanted = set(addresses)
        for dn, attributes in self.entries.items():
            if "sunpreferreddomain" in attributes:
                continue
            listed = {
                value.lower()
                for name in ("mail", "mailalternateaddress", "mailequivalentaddress")
                for value in attributes.get(name, ())
            }
            if listed & wanted:
                kind = Kind.GROUP if attributes.get("kind") == ("group",) else Kind.USER
                yield Entry(dn, kind, attributes.get("uid", ("",))[0], attributes)

    def _by_name(self, dn: str) -> Answer:
        for name, attributes in self.entries.items():
            if name.lower() == dn.lower():
                kind = Kind.OTHER if "sunpreferreddomain" in attributes else Kind.USER
                kind = Kind.GROUP if attributes.get("kind") == ("group",) else kind
                return Found(Entry(name, kind, attributes.get("uid", ("",))[0], attributes))
        return Absent()

    def run(self, asking: Generator[Question, Answer, T]) -> T:
        """Drive a generator of questions to its end."""
        try:
            question = next(asking)
            while True:
                question = asking.send(self.answer(question))
        except StopIteration as end:
            result: T = end.value
            return result


def with_entries(changes: Mapping[str, Attributes]) -> dict[str, Attributes]:
    """The example with entries added or replaced; an empty entry removes one."""
    merged = {**EXAMPLE, **changes}
    return {dn: attributes for dn, attributes in merged.items() if attributes}
