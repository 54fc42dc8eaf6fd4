"""The short way for usual recipients comes to what the general way comes to, and asks nothing else.

Each test has one thing that is not as usual, so that every one is tried whatever is drawn, and sometimes a second one.
"""

from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.relay.directory.question import Answer, NeedEntry, Question, Unknown
from posthouse.relay.routing.result import Routed, RouteRequest
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.usual import usual_recipient, usual_result
from support.people import Attributes, MemoryDirectory
from support.relay_files import CHANNELS, MAPPINGS, OPTIONS, RULES, relay_rules

PLAIN_NAMES = ["jdoe", "J.Doe", "a-b_c", "uQiDgApQ", "n" * 64, "postmaster", "sue", "MAX", "info", "x.y.z"]
OTHERS = [
    "nobody@example.com", "jdoe@elsewhere.test", "jdoe+x@example.com", "JDOE@EXAMPLE.COM", "sue@HOSTED.TEST",
    "@x.test:jdoe@example.com", "@relay1.example.com,@relay1.example.com:jdoe@example.com", "@RELAY1.example.com:sue@hosted.test",
    "@relay1.example.com:@example.com", '"jdoe"@example.com', "postmaster", f"{'n' * 65}@example.com",
    "sue@store1.example.com.lmtp",
]  # fmt: skip
USUAL_TEMPLATE = "@$X.LMTP:$M%$\\$2I$_+$2S@lmtpcs-daemon"
SEND = "\nSEND_ACCESS\n\n"


class Odd(NamedTuple):
    """One thing that is not as usual."""

    what: str
    value: Any

    def __str__(self) -> str:
        return f"{self.what}: {self.value}"


TEMPLATES = [
    "@$X.LMTP:$M@lmtpcs-daemon", "$M%$\\$2I$_+$2S@ims-ms-daemon", "$M@example.com", "$^$M@ims-ms-daemon", "$0M$M@ims-ms-daemon",
    "$M$M@ims-ms-daemon", "$M$2S@ims-ms-daemon", "$3S$M@ims-ms-daemon", "$U@ims-ms-daemon", "@$M.lmtp:$M@lmtpcs-daemon",
    "$M@$M.test", "$M@$X", "$A", "**", "@hold-daemon:$A", "@$X.LMTP:$M%$D@lmtpcs-daemon", f"@$X.LMTP:{'y' * 950}$M@lmtpcs-daemon",
    "a|$M@ims-ms-daemon",
]  # fmt: skip
TABLES = [
    SEND + "  *|*|*|jdoe*  $NNo\n  *|*|tcp_lmtpcs|*  $HYes\n",
    SEND + "  tcp_intranet|*|tcp_lmtpcs|*  $HYes\n",
    SEND + "  tcp_local|x@*|tcp_*|*sue*  $NNo\n",
    SEND + "  *sue*  $NNo\n",
    SEND + "  *|*|*|*|jdoe@*  $NNo\n",
    "\nMAIL_ACCESS\n\n  *a-b*   $B\n  *j.doe*  $C$]ldap:///o=x?cn?sub?(cn=$0)[$N\n",
    "\nMAIL_ACCESS\n\n  *|SMTP/|MAIL|tcp_local|*|*|*  $NNo\n",
    "\nORIG_MAIL_ACCESS\n\n  *|MAIL|tcp_intranet|*|l|*  $H\n",
]
FIRST_TABLES = ["  tcp_local|*|l|J*  $H\n", "  tcp_intranet|x@*|*|*  $NNo\n", "  *|x?y@*|l|*  $NNo\n", "  $A*|*|l|*  $H\n"]
"""entries for ORIG_SEND_ACCESS, which is there already"""
ATTRIBUTES = [
    ("maildeliveryoption", ("mailbox", "autoreply")), ("maildeliveryoption", ("forward",)), ("maildeliveryoption", ("MAILBOX",)),
    ("maildeliveryoption", ("hold",)), ("maildeliveryoption", ()), ("maildeliveryoption", ("autoreply",)),
    ("mailuserstatus", ("hold",)), ("mailuserstatus", ("overquota",)), ("mailuserstatus", ("deleted",)),
    ("inetuserstatus", ("inactive",)), ("mailquota", ("50M",)), ("mailquota", ("-1",)), ("mailmsgquota", ("7",)),
    ("mailmsgmaxblocks", ("3",)), ("mailroutingaddress", ("other@example.com",)), ("mailsieverulesource", ("keep;",)),
    ("mailforwardingaddress", ("x@remote.test",)), ("mailhost", ("STORE2.example.com",)), ("mailhost", ("relay1.example.com",)),
    ("mailhost", ("other.test",)), ("mailhost", ()), ("spare3", ("w",)), ("uid", ("x+y",)), ("uid", ("u%d",)), ("uid", ("a..b",)),
    ("uid", (".a",)), ("uid", ("é",)), ("uid", ("p q",)), ("uid", ("n" * 65,)), ("uid", ("uQiDgApQ",)), ("kind", ("group",)),
]  # fmt: skip
ELSEWHERE = Odd("clause", "*mailbox=$M%$\\$2I$_+$2S@ims-ms-daemon")
"""mailboxes are not on this machine: their mail goes to mailHost with the address as it was received"""
HERE = Odd("template", "$M%$\\$2I$_+$2S@ims-ms-daemon")
"""mailboxes are on this machine"""
ODD = [
    Odd("nothing", ""),
    *(Odd("template", one) for one in TEMPLATES),
    *(Odd("keywords", one) for one in ("routelocal", "enqueueremoveroute", "aliaslocal", "viaaliasrequired", "blocklimit 2")),
    *(Odd("rules", one) for one in (
        "$*  $U%$H$^$V$H@relay1.example.com\n", ".lmtp  $U%$H.lmtp@bitbucket\n", "$*  $E$F$U%$H$?no\n",
        "$*  $U%$H$V$H@b.test@relay1.example.com\n", ".lmtp  $U%example.com$Vexample.com@lmtpcs-daemon\n",
        "example.com  $U%hosted.test$Mtcp_intranet@relay1.example.com\n", "$*  $U%$H$V$H@tcp-daemon\n",
        ".lmtp  $U%$H.lmtp$Vnowhere.test@lmtpcs-daemon\n",
        "$*  $A$E$F$U%hosted.test$V$H@relay1.example.com\n",
        "$*  $A$E$F$U%$H$V$H$Vhosted.test@relay1.example.com\n",
        "relay1.example.com  $U%$D$Tx@relay1.example.com\nx|example.com  $U%$D@tcp-daemon\n",
        "relay1.example.com  $U%$D$Vnowhere.test@relay1.example.com\n", "relay1.example.com  $S$U%$D@tcp-daemon\n",
        "relay1.example.com  $U%x.test@relay1.example.com\n", "store1.example.com  $U%$D@relay1.example.com\n",
        ".example.com  $U%$H.example.com$Vhosted.test@tcp_intranet-daemon\n", ".example.com  $U%$H@b.test@tcp_intranet-daemon\n",
        ".example.com  $S$\\$U%$D@tcp_intranet-daemon\n",
    )),
    ELSEWHERE,
    *(Odd("tables", one) for one in TABLES),
    *(Odd("first tables", one) for one in FIRST_TABLES),
    *(Odd("options", one) for one in (
        "MAX_ALIAS_LEVELS=0\n", "MAX_ALIAS_LEVELS=1\nBLOCK_LIMIT=5\n", "BLOCK_LIMIT=2\n",
    )),
    *(Odd("hosts", one) for one in (("relay1.example.com",), ("elsewhere.test",))),
    *(Odd("domain", one) for one in ("ims-ms-daemon", "lmtpcs-daemon", "store1.example.com")),
    *(Odd(who, one) for who, one in product(("all", "one"), ATTRIBUTES)),
    Odd("ACCESS_ORCPT=1", "  *|*|l|*|*j*@*  $H\n"),
    Odd("two clauses", "#*program=$M@ims-ms-daemon"),
    Odd("clause", "#/mailbox=@$X.LMTP:$M@lmtpcs-daemon"),
    Odd("clause", "#@mailbox=@$X.LMTP:$M@lmtpcs-daemon"),
    Odd("clause", "#!mailbox=@$X.LMTP:$M@lmtpcs-daemon"),
]  # fmt: skip


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


def people(odd: list[Odd], data: st.DataObject) -> dict[str, Attributes]:
    """Two domains of ours, and users of whom most differ in their names only."""
    routing = next((one.value for one in odd if one.what == "hosts"), ())
    found: dict[str, Attributes] = {
        "o=example.com,o=usergroup": {"sunpreferreddomain": ("example.com",)},
        "o=hosted.test,o=usergroup": {"sunpreferreddomain": ("hosted.test",), "mailroutinghosts": routing},
        **{f"o={one.value},o=usergroup": {"sunpreferreddomain": (one.value,)} for one in odd if one.what == "domain"},
    }
    both = data.draw(st.booleans())
    for number, name in enumerate(data.draw(st.lists(st.sampled_from(PLAIN_NAMES), min_size=3, max_size=5, unique=True))):
        domain = "hosted.test" if routing or (both and number % 2) else "example.com"
        user: dict[str, tuple[str, ...]] = {"uid": (name,), "mail": (f"{name}@{domain}",), "mailhost": ("store1.example.com",)}
        for one in odd:
            if one.what == "all" or (one.what == "one" and number == 1):
                user[one.value[0]] = one.value[1]
            elif one.what == "two clauses":
                user["maildeliveryoption"] = ("mailbox", "program")
        found[f"cn={name},o={domain},o=usergroup"] = user
    return found


def some_rules(odd: list[Odd]) -> Rules:
    """Rules of a relay with these peculiarities."""
    options, channels, rules, mappings = OPTIONS, CHANNELS, RULES, MAPPINGS
    for what, value in odd:
        match what:
            case "template":
                options = options.replace(USUAL_TEMPLATE, value)
            case "clause":
                options = options.replace(f"#*mailbox={USUAL_TEMPLATE}", value, 1)
            case "options":
                options += value
            case "keywords":
                channels = channels.replace("tcp_lmtpcs defragment", f"tcp_lmtpcs {value} defragment")
                channels = channels.replace("tcp_intranet smtp", f"tcp_intranet {value} smtp")
            case "rules":
                rules = value + rules
            case "two clauses":
                options = options.replace("#program=$M%$P@pipe-daemon", value)
            case "ACCESS_ORCPT=1":
                options, mappings = f"{options}{what}\n", mappings + value
            case "tables" if value.split()[0] not in mappings.split():
                mappings += value
            case "first tables":
                mappings += value
            case _:
                pass
    with TemporaryDirectory() as folder:
        return relay_rules(Path(folder), rules=rules, channels=channels, options=options, mappings=mappings)


def by_the_short_way(rules: Rules, request: RouteRequest, directory: Remembering) -> Routed:
    """As far as it goes; what is known of domains is not asked."""
    known = directory.known.get if not directory.silent else lambda _: None
    usual = usual_recipient(rules, request.source_channel, request.sender, request.recipient, known)
    if usual is None:
        return directory.run(route_recipient(rules, request))
    answer = directory.answer(usual.question)
    short = usual_result(rules, usual, request.size, answer, known)
    return short or directory.run(route_recipient(rules, request, (usual.question, answer)))


@pytest.mark.parametrize("odd", ODD, ids=str)
@settings(max_examples=5)
@given(data=st.data())
def test_the_short_way_is_the_general_way(odd: Odd, data: st.DataObject) -> None:
    odds = [odd, *data.draw(st.lists(st.one_of(st.sampled_from((ELSEWHERE, HERE)), st.sampled_from(ODD)), max_size=2))]
    rules, entries = some_rules(odds), people(odds, data)
    known = [entry["mail"][0] for entry in entries.values() if "mail" in entry]
    directory = Remembering(entries)
    sources = data.draw(st.permutations(["tcp_local", "tcp_intranet"]))
    others = [*known, *OTHERS, *(f"{address.partition('@')[0]}@elsewhere.test" for address in known)]
    routed = [f"@relay1.example.com:{address}" for address in known]
    recipients = data.draw(st.permutations([*known, *routed]))
    recipients += data.draw(st.lists(st.sampled_from(others), min_size=1, max_size=4))
    for source, recipient in product(sources, recipients):
        trouble = data.draw(st.sampled_from(["", "", "", "", "", "", "all", "entries"]))
        request = RouteRequest(
            sender=data.draw(st.sampled_from(["", "x@evil.test", "jdoe@example.com", "x|y@evil.test"])),
            recipient=recipient,
            source_channel=source,
            app_info="SMTP/",
            size=data.draw(st.sampled_from([None, 1000, 4000])),
        )
        directory.asked, directory.silent, directory.forgets_entries = [], trouble == "all", trouble == "entries"
        short = by_the_short_way(rules, request, directory)
        asked, directory.asked = directory.asked, []
        assert short == directory.run(route_recipient(rules, request))
        assert set(asked) <= set(directory.asked)
        assert len(asked) <= len(directory.asked)


@pytest.mark.parametrize(
    ("where", "recipient", "way"),
    [
        (ELSEWHERE, "jdoe@example.com", "@store1.example.com:jdoe@example.com"),
        (HERE, "@relay1.example.com:jdoe@example.com", "jdoe@ims-ms-daemon"),
    ],
)
def test_mail_between_machines_goes_the_short_way(where: Odd, recipient: str, way: str) -> None:
    directory, rules = Remembering(people_of("jdoe", more={})), some_rules([where])
    request = RouteRequest(sender="", recipient=recipient, source_channel="tcp_local", app_info="SMTP/")
    general = directory.run(route_recipient(rules, request))
    usual = usual_recipient(rules, "tcp_local", "", recipient, directory.known.get)
    assert usual is not None
    short = usual_result(rules, usual, None, directory.answer(usual.question), directory.known.get)
    assert short is not None
    assert short == general
    assert [target.address for target in short.recipients] == [way]


def people_of(*names: str, more: Attributes) -> dict[str, Attributes]:
    """Users of example.com."""
    common = {"mailhost": ("store1.example.com",), **more}
    users: dict[str, Attributes] = {name: {"uid": (name,), "mail": (f"{name}@example.com",), **common} for name in names}
    domain: Attributes = {"sunpreferreddomain": ("example.com",)}
    return {"o=example.com,o=usergroup": domain, **{f"cn={name},o=example.com,o=usergroup": user for name, user in users.items()}}


def test_a_script_goes_with_its_owner() -> None:
    names = ("jdoe", "sue")
    directory, rules = Remembering(people_of(*names, more={"mailsieverulesource": ("keep;",)})), some_rules([])
    for name in names:
        request = RouteRequest(sender="", recipient=f"{name}@example.com", source_channel="tcp_local", app_info="SMTP/")
        general = directory.run(route_recipient(rules, request))
        usual = usual_recipient(rules, "tcp_local", "", request.recipient, directory.known.get)
        assert usual is not None
        short = usual_result(rules, usual, None, directory.answer(usual.question), directory.known.get)
        assert short is not None
        assert short == general
        assert [target.filter and target.filter.owner for target in short.recipients] == [name]
