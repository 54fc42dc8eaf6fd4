"""option-dat.md 2: prefixes, which clauses are active, faults with file and line, the check for single-system deployments."""

from pathlib import Path

import pytest

from posthouse.config.fault import ConfigurationError, Severity
from posthouse.relay.directory.question import Entry, Kind
from posthouse.relay.routing.clause_template import ClauseInputs, OwnerValues
from posthouse.relay.routing.delivery_options import DEFAULT, active_clauses, ignored_values, parse_delivery_options
from posthouse.relay.routing.expansion import clause_addresses
from posthouse.relay.routing.rules import check
from posthouse.relay.routing.rules import compile as compile_rules
from support.people import EXAMPLE
from support.relay_files import CHANNELS, OPTIONS, RULES, relay_configuration
from support.routing_relay import AUGUST, JULY, MakeRelay

SEED = OPTIONS[OPTIONS.index("DELIVERY_OPTIONS=") + 17 :].replace("\\\n", "").replace("    ", "").strip()


def entry(kind: Kind = Kind.USER, *options: str, **attributes: str) -> Entry:
    values = {name: (value,) for name, value in attributes.items()}
    return Entry("uid=x", kind, "x", {"maildeliveryoption": options, **values} if options else values)


def active(text: str, who: Entry, now: float = AUGUST, *, held: bool = False) -> list[str]:
    clauses, faults = parse_delivery_options(text, "option.dat", 7)
    assert not faults
    return [clause.name for clause in active_clauses(clauses, who, now, held=held)]


DATES = {"vacationstartdate": "20260701000000Z", "vacationenddate": "20260715000000Z"}


@pytest.mark.parametrize(
    ("who", "now", "names"),
    [
        (entry(Kind.USER, "mailbox"), AUGUST, ["mailbox"]),
        (entry(Kind.USER), AUGUST, ["mailbox"]),
        (entry(Kind.GROUP), AUGUST, ["members"]),
        (entry(Kind.GROUP, "mailbox"), AUGUST, ["members"]),
        (entry(Kind.USER, "members"), AUGUST, ["mailbox"]),
        (entry(Kind.USER, "nonsense"), AUGUST, ["mailbox"]),
        (entry(Kind.USER, "FORWARD", "MailBox"), AUGUST, ["mailbox", "forward"]),
        (entry(Kind.GROUP, "members_offline", "forward", "program"), AUGUST, ["members_offline", "program", "forward"]),
        (entry(Kind.USER, "mailbox", "autoreply", **DATES), JULY, ["mailbox", "autoreply"]),
        (entry(Kind.USER, "mailbox", "autoreply", **DATES), AUGUST, ["mailbox"]),
        (entry(Kind.USER, "autoreply", **DATES), AUGUST, ["mailbox"]),
        (entry(Kind.USER, "autoreply", vacationstartdate="20260701000000Z"), AUGUST, ["autoreply"]),
        (entry(Kind.USER, "autoreply", vacationenddate="20260701000000Z"), AUGUST, ["mailbox"]),
        (entry(Kind.USER, "autoreply", vacationenddate="soon"), AUGUST, ["autoreply"]),
        (entry(Kind.USER, "autoreply"), AUGUST, ["autoreply"]),
    ],
)
def test_active_clauses(who: Entry, now: float, names: list[str]) -> None:
    assert active(SEED, who, now) == names


def test_hold_replaces_everything() -> None:
    assert active(SEED, entry(Kind.USER, "mailbox", "forward"), held=True) == ["hold"]
    assert active(SEED, entry(Kind.GROUP, "members"), held=True) == ["hold"]
    assert active("*mailbox=$M@x,&members=*", entry(Kind.USER, "mailbox"), held=True) == []


def test_percent_prefix_is_the_opposite_of_the_dates() -> None:
    text = "*mailbox=$M@x,&members=*,*%native=$M@native-daemon"
    assert active(text, entry(Kind.USER, "native", **DATES), AUGUST) == ["native"]
    assert active(text, entry(Kind.USER, "native", **DATES), JULY) == ["mailbox"]


def test_values_without_a_clause_are_named() -> None:
    clauses, _ = parse_delivery_options(SEED, "", 0)
    assert ignored_values(clauses, entry(Kind.USER, "mailbox", "members", "Odd")) == ("members", "Odd")


def test_prefixes_of_the_default() -> None:
    clauses, faults = parse_delivery_options(DEFAULT, "", 0)
    assert not faults
    found = {clause.name: clause for clause in clauses}
    assert list(found)[:2] == ["mailbox", "members"]
    assert [name for name, clause in found.items() if clause.any_host] == ["forward"]
    assert [name for name, clause in found.items() if clause.offline] == ["members_offline"]
    assert [name for name, clause in found.items() if clause.hold] == ["hold"]
    assert [name for name, clause in found.items() if clause.autoreply and clause.inside_dates] == ["autoreply"]
    assert [name for name, clause in found.items() if clause.users and clause.groups] == ["hold", "program", "forward"]
    assert [name for name, clause in found.items() if not clause.users] == ["members", "file", "members_offline"]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("mailbox", ("@store1.example.com.LMTP:jdoe@lmtpcs-daemon",)),
        ("hold", ("@hold-daemon:john.doe@example.com",)),
        ("program", ("jdoe%procmail@pipe-daemon",)),
        ("forward", ("a@remote.test", "b@remote.test")),
        ("autoreply", ("jdoe+example.com@bitbucket",)),
        ("members", ()),
    ],
)
def test_every_clause_of_the_chapter_is_evaluated(name: str, made: tuple[str, ...]) -> None:
    clauses, _ = parse_delivery_options(SEED, "", 0)
    (clause,) = [clause for clause in clauses if clause.name == name]
    values = OwnerValues("jdoe", "", "store1.example.com", program="procmail")
    inputs = ClauseInputs("john.doe@example.com", "john.doe", "john.doe", "", "example.com", "", values)
    who = Entry("uid=jdoe", Kind.USER, "jdoe", {"mailforwardingaddress": ("a@remote.test", "b@remote.test")})
    assert clause_addresses(clause, inputs, who) == made


@pytest.mark.parametrize(
    "clause", ["mailbox", "=x", "+mailbox=$M@x", "*mailbox=", "*mailbox=$Q@x", "*mailbox=$M@x$", "*mailbox=$9S@x", "mail box=$M"]
)
def test_faults_have_file_line_and_clause(tmp_path: Path, clause: str) -> None:
    options = f"LDAP_DEFAULT_DOMAIN=example.com\nDELIVERY_OPTIONS={clause},&members=*,*native\n"
    configuration = relay_configuration(tmp_path, options=options)
    with pytest.raises(ConfigurationError) as refused:
        compile_rules(configuration)
    faults = refused.value.faults
    assert [(fault.file, fault.line) for fault in faults] == [("config/option.dat", 2)] * 2
    assert "clause 1" in faults[0].reason
    assert "clause 3" in faults[1].reason
    assert [fault for fault in check(configuration) if fault.severity is Severity.ERROR] == list(faults)


def test_twenty_clauses_at_most_and_each_name_once() -> None:
    many = ",".join(f"*c{number}=$M@x" for number in range(20))
    assert parse_delivery_options(many, "f", 1)[1] == []
    assert ["21 clauses" in fault.reason for fault in parse_delivery_options(many + ",*d=$M@x", "f", 1)[1]] == [True]
    assert ["a twice" in fault.reason for fault in parse_delivery_options("*a=$M@x,*A=$M@y", "f", 1)[1]] == [True]


def test_the_chapter_s_files_have_no_faults_and_no_warnings(tmp_path: Path) -> None:
    assert check(relay_configuration(tmp_path)) == []


@pytest.mark.parametrize("host", ["relay1.example.com", "RELAY1.Example.com", "other.example.com"])
def test_a_clause_that_sends_by_lmtp_to_this_very_host_is_a_fault(tmp_path: Path, host: str) -> None:
    options = OPTIONS.replace("@$X.LMTP", f"@{host}.LMTP") + "LDAP_HOST_ALIAS_LIST=mail.example.com,other.example.com\n"
    (fault,) = check(relay_configuration(tmp_path, options=options))
    assert fault.severity is Severity.ERROR
    assert "single-system" in fault.reason
    assert fault.file == "config/option.dat"


def test_a_clause_that_names_another_host_is_none(tmp_path: Path) -> None:
    assert check(relay_configuration(tmp_path, options=OPTIONS.replace("@$X.LMTP", "@store1.example.com.LMTP"))) == []


@pytest.mark.parametrize(
    ("channels", "word"),
    [
        (CHANNELS.replace("tcp_intranet smtp", "tcp_intranet smtp routelocal"), "routelocal"),
        (CHANNELS.replace("ims-ms defragment", "ims-ms filter file:x"), "Sieve"),
    ],
)
def test_warnings(tmp_path: Path, channels: str, word: str) -> None:
    (warning,) = check(relay_configuration(tmp_path, channels=channels))
    assert warning.severity is Severity.WARNING
    assert word in warning.reason
    assert warning.line > 0


def test_site_routines_in_rules_are_warned_about(tmp_path: Path) -> None:
    (warning,) = check(relay_configuration(tmp_path, rules=RULES + "h $U%$[lib.so,routine,$U]@bitbucket\n"))
    assert (warning.severity, warning.file) == (Severity.WARNING, "config/imta.cnf")


def test_check_and_compile_report_all_faults_of_all_files(tmp_path: Path) -> None:
    mappings = "ORIG_SEND_ACCESS\n\n  *  $Y\n  $[a  $Y\n"
    configuration = relay_configuration(
        tmp_path, rules=RULES + "h $Q\n", options=OPTIONS.replace("$M%", "$Q%"), mappings=mappings
    )
    with pytest.raises(ConfigurationError) as refused:
        compile_rules(configuration)
    assert {fault.file for fault in refused.value.faults} == {"config/imta.cnf", "config/option.dat", "config/mappings"}
    rest = {fault for fault in refused.value.faults if fault.file != "config/mappings"}
    assert rest == set(check(configuration))


@pytest.mark.parametrize("prefix", ["@", "$"])
def test_offline_clause_goes_through_the_reprocess_channel(make_relay: MakeRelay, prefix: str) -> None:
    relay = make_relay(dict(EXAMPLE), options=OPTIONS.replace("#*mailbox", f"#{prefix}*mailbox"))
    assert relay.addresses("john.doe@example.com") == [("reprocess", "@reprocess-daemon:john.doe@example.com")]
    final = relay.addresses("john.doe@example.com", from_reprocess=True)
    assert final == [("tcp_lmtpcs", "@store1.example.com.lmtp:jdoe@lmtpcs-daemon")]


def test_offline_clause_without_a_reprocess_channel(make_relay: MakeRelay) -> None:
    channels = CHANNELS.replace("reprocess\nreprocess-daemon\n\n", "")
    relay = make_relay(dict(EXAMPLE), options=OPTIONS.replace("#*mailbox", "#@*mailbox"), channels=channels)
    assert relay.refusal("john.doe@example.com").startswith("450 4.3.5 ")
