"""What `posthouse check` says of tables nobody asks and of entries that never apply."""

from pathlib import Path

import pytest

from posthouse.cli.check_mappings import check_mappings
from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance
from posthouse.relay.routing import rules
from support.relay_files import OPTIONS, RULES, relay_configuration

NEVER = "this entry never applies:"
LISTS = "DNS_VERIFY_DOMAIN in dispatcher.cnf asks DNS lists"
GENERAL = "asks general.txt, which is empty or not read (USE_TEXT_DATABASES=1)"


def relay(folder: Path, mappings: str, rules: str = RULES, general: str = "") -> Configuration:
    options = f"{OPTIONS}USE_TEXT_DATABASES=1\n" if general else OPTIONS
    return relay_configuration(folder, mappings=mappings, rules=rules, options=options, more={"general.txt": general})


def said(configuration: Configuration) -> list[str]:
    return [f"{fault.line} {fault.severity} {fault.reason}" for fault in check_mappings(configuration)]


STOCK = """PORT_ACCESS

  *|*|*|*|*  $C$|INTERNAL_IP;$3|$Y$E
  *  $YEXTERNAL

INTERNAL_IP

  $(192.0.2.0/24)  $Y
  127.0.0.1  $Y
  *  $N

INTERNAL_TOO

  *  $N

SEND_ACCESS

  tcp_local|*|l|*  $C$|DEEP;$0|$E

DEEP

  *  $Y$|deepest;$0|

Deepest

  *  $Y
"""


def test_nothing_to_say_of_what_is_asked(tmp_path: Path) -> None:
    rule = "[]  $E$R${INTERNAL_IP,$L}$U%[$L]@tcp_intranet-daemon\n[]  $E$R${internal_too,$L}$U%[$L]@tcp_intranet-daemon\n"
    assert said(relay(tmp_path, STOCK, rule + RULES)) == []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("X-ATT-NAMES", "its entries do nothing"),
        ("FORWARD", "addresses are not changed by it; write aliases or rewrite rules"),
        ("REVERSE", "senders' addresses are reversed by the directory only (REVERSE_URL)"),
        ("CONVERSIONS", "messages go on as they came"),
    ],
)
def test_a_table_nobody_asks_is_told_once_and_with_what_is_not_done(tmp_path: Path, name: str, why: str) -> None:
    table = f"{name}\n\n  *  $Y$#IMTA_TABLE:seq|10|8|1000#\n  a*  $[IMTA_LIB:x.so,y,$0]\n  b  $Y\n"
    assert said(relay(tmp_path, table)) == [f"1 warning table {name} is not asked: {why}"]


def test_a_store_asks_who_connects_and_nothing_else(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    (config / "imta.cnf").write_text("\ntcp_lmtpss lmtp flagtransfer\ntcp_lmtpss-daemon\n")
    (config / "dispatcher.cnf").write_text("[SERVICE=LMTPSS]\nPORT=225\nIMAGE=tcp_lmtp_server\nPARAMETER=CHANNEL=tcp_lmtpss\n")
    (config / "mappings").write_text("PORT_ACCESS\n\n  TCP|*|225|*|*  $Y\n\nSEND_ACCESS\n\n  *  $Nno\n")
    assert said(load(Instance(tmp_path))) == ["5 warning table SEND_ACCESS is not asked on a store: its entries do nothing"]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (
            "$C$[IMTA_LIB:dns_verify.so,dns_verify_domain_port,$1,list.test,no]$N",
            f"site routine dns_verify.so dns_verify_domain_port is not built in; {LISTS}",
        ),
        ("$C$[/opt/libgross.so,grosscheck,$1]$E", "site routine libgross.so grosscheck is not built in"),
        ("$C$[IMTA_LIB:conn_throttle.so,throttle_x,$1,10]$N", "site routine conn_throttle.so throttle_x is not built in"),
        ("$C$|NOSUCH;$1|$Y", "there is no table NOSUCH"),
        ("$C$#f|10|8|9#$Y", "there are no sequence numbers ($#...#)"),
        ("$C$]ldap:///o=x?mail?sub?(uid=$0)[$Y", "the directory is not asked about connections"),
        ("$C${conf:$0}$Y", f"${{...}} {GENERAL}"),
    ],
)
def test_an_entry_that_never_applies_is_told_with_the_reason(tmp_path: Path, template: str, why: str) -> None:
    mappings = f"PORT_ACCESS\n\n  TCP|*|25|*|*  {template}\n  *  $Y\n"
    assert said(relay(tmp_path, mappings)) == [f"3 warning table PORT_ACCESS: {NEVER} {why}"]


def test_what_can_be_called_is_not_told_of(tmp_path: Path) -> None:
    mappings = (
        "PORT_ACCESS\n\n  TCP|*|25|*|*  $C$[IMTA_LIB:conn_throttle.so,throttle,$1,10]$N421$ later$E\n  *  $C${conf:$0}$Y\n\n"
        "SEND_ACCESS\n\n  *|*|*|*  $]ldap:///o=x?mail?sub?(uid=$0)[$Y\n"
    )
    assert said(relay(tmp_path, mappings, general="conf:x  y\n")) == []


def test_an_entry_that_cannot_be_compiled_is_an_error_with_its_line_and_hides_no_warning(tmp_path: Path) -> None:
    assert said(relay(tmp_path, "SITE\n\n  a  b$\n\nPORT_ACCESS\n\n  a  $9\n  b  $|NO;x|$Y\n")) == [
        "3 error table SITE: $ at the end of the template",
        "7 error table PORT_ACCESS: $9: the pattern saves 0 wildcards, numbered from 0",
        "1 warning table SITE is not asked: its entries do nothing",
        f"8 warning table PORT_ACCESS: {NEVER} there is no table NO",
    ]


@pytest.mark.parametrize("pattern", ["$%", "$!"])
def test_a_rewrite_rule_for_percents_or_bangs_is_told_of(tmp_path: Path, pattern: str) -> None:
    found = [str(fault) for fault in rules.check(relay(tmp_path, "", f"{pattern}  $U%$H@tcp-daemon\n" + RULES))]
    assert found == [
        f"config/imta.cnf:1: rewrite rule {pattern}: there are no rules for `%` and `!` in local parts: it never applies"
    ]


def test_a_rewrite_rule_that_asks_a_database_there_is_not_is_told_of(tmp_path: Path) -> None:
    rule = "old.example.com  $U%$(moved|$0U)@relay1.example.com\n"
    asked = [str(fault) for fault in rules.check(relay(tmp_path, "", rule + RULES))]
    assert asked == [f"config/imta.cnf:1: rewrite rule old.example.com: $(...) {GENERAL}: it never applies"]
    assert rules.check(relay(tmp_path / "with", "", rule + RULES, general="moved|ann  b\n")) == []
