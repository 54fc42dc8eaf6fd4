"""The short way for usual recipients comes to what the general way comes to, and asks nothing else."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.relay.directory.question import Answer, NeedEntry, Question, Unknown
from posthouse.relay.routing.result import Routed, RouteRequest
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.usual import usual_recipient, usual_result
from support.people import Attributes, MemoryDirectory
from support.relay_files import CHANNELS, MAPPINGS, OPTIONS, RULES, relay_rules


def mostly(usual: Any, others: list[Any]) -> st.SearchStrategy[Any]:
    """Three times of four the first."""
    return st.integers(0, 3).flatmap(lambda place: st.sampled_from(others) if place == 1 else st.just(usual))


PLAIN_NAMES = st.sampled_from(["jdoe", "J.Doe", "a-b_c", "uQiDgApQ", "n" * 64, "postmaster", "sue", "MAX", "info", "x.y.z"])
ODD_NAMES = st.sampled_from(["x+y", "u%d", "a..b", ".a", "é", "p q", "n" * 65])
HOSTS = mostly("store1.example.com", ["STORE2.example.com", "relay1.example.com", "other.test", ""])
OPTIONAL: dict[str, Any] = {
    "maildeliveryoption": st.sampled_from([("mailbox",), ("mailbox", "autoreply"), ("forward",), ("MAILBOX",), ("hold",), ()]),
    "mailuserstatus": st.sampled_from([("active",), ("hold",), ("overquota",), ("deleted",)]),
    "mailquota": st.sampled_from([("50M",), ("-1",)]),
    "mailmsgmaxblocks": st.just(("3",)),
    "mailroutingaddress": st.just(("other@example.com",)),
    "mailsieverulesource": st.just(("keep;",)),
    "mailforwardingaddress": st.just(("x@remote.test",)),
}
USUAL_TEMPLATE = "@$X.LMTP:$M%$\\$2I$_+$2S@lmtpcs-daemon"
TEMPLATES = mostly(
    USUAL_TEMPLATE,
    [
        "@$X.LMTP:$M@lmtpcs-daemon", "$M%$\\$2I$_+$2S@ims-ms-daemon", "$M@example.com",
        "$^$M@ims-ms-daemon", "$0M$M@ims-ms-daemon", "$M$M@ims-ms-daemon", "$M$2S@ims-ms-daemon", "$3S$M@ims-ms-daemon",
        "$U@ims-ms-daemon", "@$M.lmtp:$M@lmtpcs-daemon", "$M@$M.test", "$M@$X", "$A", "@hold-daemon:$A",
        "@$X.LMTP:$M%$D@lmtpcs-daemon",
    ]
)  # fmt: skip
KEYWORDS = mostly("", ["routelocal", "enqueueremoveroute", "aliaslocal", "viaaliasrequired", "blocklimit 2"])
MORE_RULES = mostly("", ["$*  $U%$H$^$V$H@relay1.example.com\n", ".lmtp  $U%$H.lmtp@bitbucket\n", "$*  $E$F$U%$H$?no\n"])
TABLES = mostly(
    MAPPINGS,
    [
        MAPPINGS + "\nSEND_ACCESS\n\n  *|*|*|jdoe*  $NNo\n  *|*|tcp_lmtpcs|*  $HYes\n",
        MAPPINGS + "\nMAIL_ACCESS\n\n  *a-b*   $B\n  *j.doe*  $C$]ldap:///o=x?cn?sub?(cn=$0)[$N\n",
    ]
)  # fmt: skip


class Remembering(MemoryDirectory):
    """Gives the same answer again as the same object, as a directory's memory does: entries of one shape are recognised."""

    def __init__(self, entries: dict[str, Attributes]) -> None:
        super().__init__(entries)
        self.known: dict[Question, Answer] = {}
        self.forgets_entries = False

    def answer(self, question: Question) -> Answer:
        if self.forgets_entries and isinstance(question, NeedEntry):
            self.asked.append(question)
            return Unknown("no answer for entries")
        if self.silent or question not in self.known:
            answer = super().answer(question)
            return answer if self.silent else self.known.setdefault(question, answer)
        self.asked.append(question)
        return self.known[question]


@st.composite
def people(draw: st.DrawFn) -> dict[str, Attributes]:
    """Two domains of ours and some users."""
    found: dict[str, Attributes] = {
        "o=example.com,o=usergroup": {"sunpreferreddomain": ("example.com",)},
        "o=hosted.test,o=usergroup": {"sunpreferreddomain": ("hosted.test",), "mailroutinghosts": draw(
            st.sampled_from([(), ("relay1.example.com",), ("elsewhere.test",)])
        )},
    }  # fmt: skip
    common = {"mailhost": (draw(HOSTS),)}
    for attribute in draw(mostly((), [(one,) for one in OPTIONAL])):
        common[attribute] = draw(OPTIONAL[attribute])
    domain = draw(st.sampled_from(["example.com", "hosted.test"]))
    for name in draw(st.lists(PLAIN_NAMES, min_size=2, max_size=5)) + draw(st.lists(ODD_NAMES, max_size=2)):
        found[f"uid={name},o={domain},o=usergroup"] = {"uid": (name,), "mail": (f"{name}@{domain}",), **common}
    if draw(st.booleans()):
        dn = draw(st.sampled_from(sorted(one for one in found if one.startswith("uid="))))
        attribute = draw(st.sampled_from([*OPTIONAL, "kind"]))
        found[dn] = {**found[dn], attribute: draw(OPTIONAL[attribute]) if attribute in OPTIONAL else ("group",)}
    return found


@st.composite
def some_rules(draw: st.DrawFn) -> Rules:
    """Rules of a relay with one or another peculiarity."""
    options = OPTIONS.replace(USUAL_TEMPLATE, draw(TEMPLATES))
    options += draw(mostly("", ["MAX_ALIAS_LEVELS=0\n", "MAX_ALIAS_LEVELS=1\nBLOCK_LIMIT=5\n"]))
    channels = CHANNELS.replace("tcp_lmtpcs defragment", f"tcp_lmtpcs {draw(KEYWORDS)} defragment")
    with TemporaryDirectory() as folder:
        rules = draw(MORE_RULES) + RULES
        return relay_rules(Path(folder), rules=rules, channels=channels, options=options, mappings=draw(TABLES))


def by_the_short_way(rules: Rules, request: RouteRequest, directory: Remembering) -> Routed:
    """As far as it goes; what is known of domains is not asked."""
    known = directory.known.get if not directory.silent else lambda _: None
    usual = usual_recipient(rules, request.source_channel, request.sender, request.recipient, known)
    if usual is None:
        return directory.run(route_recipient(rules, request))
    answer = directory.answer(usual.question)
    short = usual_result(rules, usual, request.size, answer)
    return short or directory.run(route_recipient(rules, request, (usual.question, answer)))


@settings(max_examples=150, deadline=None)
@given(rules=some_rules(), entries=people(), data=st.data())
def test_the_short_way_is_the_general_way(rules: Rules, entries: dict[str, Attributes], data: st.DataObject) -> None:
    known = [entry["mail"][0] for entry in entries.values() if "mail" in entry]
    others = ["nobody@example.com", "jdoe@elsewhere.test", "jdoe+x@example.com", "JDOE@EXAMPLE.COM", "sue@HOSTED.TEST"]
    addresses = st.sampled_from([*known, *known, *others])
    directory = Remembering(entries)
    for recipient in data.draw(st.lists(addresses, min_size=4, max_size=10)):
        trouble = data.draw(st.integers(0, 9))
        request: dict[str, Any] = {
            "sender": data.draw(st.sampled_from(["", "x@evil.test", "jdoe@example.com"])),
            "source_channel": data.draw(st.sampled_from(["tcp_local", "tcp_intranet"])),
            "size": data.draw(st.sampled_from([None, 1000, 4000])),
        }
        directory.asked, directory.silent, directory.forgets_entries = [], trouble == 0, trouble == 1
        short = by_the_short_way(rules, RouteRequest(recipient=recipient, **request), directory)
        asked, directory.asked = directory.asked, []
        assert short == directory.run(route_recipient(rules, RouteRequest(recipient=recipient, **request)))
        assert set(asked) <= set(directory.asked)
        assert len(asked) <= len(directory.asked)
