"""What `posthouse check` says of entries that ask for what cannot be done."""

from pathlib import Path

import pytest

from posthouse.cli.check_entries import check_entries
from posthouse.config.configuration import Configuration
from posthouse.config.fault import Severity
from support.relay_files import OPTIONS, relay_configuration

ROOT = "o=example.com,o=usergroup"
WAITS = "their mail is answered 450"
USER = "dn: uid={uid},o=example.com,o=usergroup\nobjectClass: inetMailUser\nuid: {uid}\nmailHost: {host}\n"


def relay(folder: Path, ldif: str) -> Configuration:
    options = f"{OPTIONS}LDAP_LDIF_FILE=directory.ldif\n"
    return relay_configuration(folder, options=options, more={"directory.ldif": ldif})


def user(uid: str, *lines: str, host: str = "store1.example.com") -> str:
    return USER.format(uid=uid, host=host) + "".join(f"{line}\n" for line in lines) + "\n"


def test_nothing_to_say(tmp_path: Path) -> None:
    assert check_entries(relay(tmp_path, user("ann", "mailSieveRuleSource: keep;") + user("bob"))) == []


def test_what_cannot_be_done_is_counted_and_the_first_named(tmp_path: Path) -> None:
    ldif = (
        user("here", host="relay1.example.com")
        + user("ann", "mailSieveRuleSource: fileinto;")
        + user("bob", "mailSieveRuleSource: keep;", "mailProgramDeliveryInfo: nobody-knows")
        + user("cora", "mailSieveRuleSource: what;", "mailProgramDeliveryInfo: neither")
    )
    host, script, program = check_entries(relay(tmp_path, ldif))
    assert (host.file, host.severity) == ("config/option.dat", Severity.ERROR)
    assert "sends 1 users by LMTP to this very host (first: uid=here,o=example.com,o=usergroup)" in host.reason
    assert script.severity is program.severity is Severity.WARNING
    assert script.file == program.file == "config/directory.ldif"
    assert script.reason.startswith("2 entries have a Sieve script with a fault: their mail is kept in INBOX (first: uid=ann,")
    assert program.reason == (
        "2 values of mailprogramdeliveryinfo name no registered program: "
        "their mail waits (first: uid=bob,o=example.com,o=usergroup, 'nobody-knows')"
    )


def test_a_store_runs_the_programs_of_its_own_users(tmp_path: Path) -> None:
    """`program` without `#`: the others' mail goes to their mailHost, where their programs are."""
    options = OPTIONS.replace("#program=", "program=")
    assert options != OPTIONS
    options += "LDAP_LDIF_FILE=directory.ldif\n"
    far = user("ann", "mailProgramDeliveryInfo: there")
    near = user("bob", "mailDeliveryOption: program", "mailProgramDeliveryInfo: nobody-knows", host="Relay1.example.com")
    (found,) = check_entries(relay_configuration(tmp_path, options=options, more={"directory.ldif": far + near}))
    assert found.reason.startswith("1 values of mailprogramdeliveryinfo name no registered program: their")
    assert "(first: uid=bob," in found.reason


def test_options_nobody_delivers_and_scripts_of_domains_are_counted(tmp_path: Path) -> None:
    domain = "dn: o=example.com,o=usergroup\nobjectClass: mailDomain\nmailDomainSieveRuleSource: keep;\n\n"
    ldif = (
        domain
        + user("ann", "mailDeliveryOption: mailbox")
        + user("bob", "mailDeliveryOption: UNIX", "mailDeliveryOption: forward")
    )
    default = "LDAP_LOCAL_HOST=relay1.example.com\nLDAP_DEFAULT_DOMAIN=example.com\nLDAP_LDIF_FILE=directory.ldif\n"
    found = check_entries(relay_configuration(tmp_path, options=default, more={"directory.ldif": ldif}))
    assert [fault.reason for fault in found] == [
        f"1 values of maildeliveryoption name an option nobody delivers: {WAITS} (first: uid=bob,{ROOT}, UNIX)",
        "1 domains have a Sieve script, which is not run (first: o=example.com,o=usergroup)",
    ]


@pytest.mark.parametrize(
    ("option", "given", "meant"),
    [("", "inetDomain", 1), ("LDAP_SCHEMALEVEL=2\n", "inetDomain", 1), ("LDAP_SCHEMALEVEL=1\n", "sunManagedOrganization", 2)],
)
def test_domains_of_the_other_schema_only_are_told_of(tmp_path: Path, option: str, given: str, meant: int) -> None:
    text = f"{OPTIONS}{option}LDAP_LDIF_FILE=directory.ldif\n"
    domain = f"dn: dc=example,dc=com,o=internet\nobjectClass: {given}\ndc: example\n\n"
    (found,) = check_entries(relay_configuration(tmp_path, options=text, more={"directory.ldif": domain + user("ann")}))
    assert found.reason == (
        f"there is no domain of schema {3 - meant}, and 1 of schema {meant}: is LDAP_SCHEMALEVEL={meant} meant?"
    )


def test_a_file_that_is_no_ldif_is_the_directorys_to_tell(tmp_path: Path) -> None:
    assert check_entries(relay(tmp_path, "no ldif at all\n")) == []
