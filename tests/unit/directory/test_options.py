import sys
from pathlib import Path

import pytest

from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.relay.directory.layout import read_layout, split_url
from posthouse.relay.directory.ldap_options import LdapOptions, read_ldap_options
from posthouse.relay.directory.open import open_directory
from posthouse.testing.directory import options


def servers(host: str, **more: str) -> LdapOptions:
    return read_ldap_options(options(LDAP_HOST=host, **more), Path)


@pytest.mark.parametrize(
    ("host", "more", "uris"),
    [
        ("a", {}, ("ldap://a:389",)),
        ("a b:1389", {}, ("ldap://a:389", "ldap://b:1389")),
        ("a", {"LDAP_PORT": "3389"}, ("ldap://a:3389",)),
        ("a b:1", {"LDAP_TLS": "ldaps"}, ("ldaps://a:636", "ldaps://b:1")),
        ("ldaps://a ldap://b:1/ ldapi://%2Frun%2Fslapd", {}, ("ldaps://a", "ldap://b:1/", "ldapi://%2Frun%2Fslapd")),
        ("::1 [::1]:1389", {}, ("ldap://[::1]:389", "ldap://[::1]:1389")),
    ],
)
def test_hosts(host: str, more: dict[str, str], uris: tuple[str, ...]) -> None:
    assert servers(host, **more).uris == uris


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"LDAP_HOST": " "}, "LDAP_HOST: names no server"),
        ({"LDAP_HOST": "http://a"}, "LDAP_HOST: 'http://a' is no"),
        ({"LDAP_HOST": "a:b"}, "LDAP_HOST: 'a:b'"),
        ({"LDAP_HOST": "a", "LDAP_TLS": "yes"}, "LDAP_TLS: 'yes' is not"),
        ({"LDAP_HOST": "a", "LDAP_CA_FILE": "/nowhere/ca.pem"}, "LDAP_CA_FILE: /nowhere/ca.pem: No such file"),
        ({"LDAP_HOST": "a", "LDAP_USERNAME": "cn=x"}, "LDAP_USERNAME: needs"),
        ({"LDAP_HOST": "a", "LDAP_TIMEOUT": "0"}, "LDAP_TIMEOUT: must be more"),
    ],
)
def test_bad_server_options(given: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigurationError) as problem:
        read_ldap_options(options(**given), Path)
    assert [reason in fault.reason for fault in problem.value.faults] == [True]


def test_the_password_file_is_read_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old\n")
    found = servers("a", LDAP_USERNAME="cn=x", LDAP_PASSWORD_FILE=str(path))
    assert found.secret() == "old"
    path.write_text("new\r\nmore\n")
    assert found.secret() == "new"
    assert servers("a", LDAP_USERNAME="cn=x", LDAP_PASSWORD="given").secret() == "given"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"LDAP_SCHEMALEVEL": "3"}, "LDAP_SCHEMALEVEL"),
        ({"ALIAS_URL0": "mailto:x"}, "ALIAS_URL0"),
        ({"ALIAS_URL0": "ldap:///$V?*?sub?(mail=$A"}, "ALIAS_URL0"),
        ({"ALIAS_URL1": "ldap:///$V?*?sub?(mail=$Q)"}, "ALIAS_URL1"),
        ({"ALIAS_URL2": "ldap:///$V?*?deep?(mail=$A)"}, "ALIAS_URL2"),
        ({"DOMAIN_MATCH_URL": "ldap://"}, "DOMAIN_MATCH_URL"),
        ({"LDAP_DOMAIN_FILTER_SCHEMA2": "o=$D"}, "LDAP_DOMAIN_FILTER_SCHEMA2"),
    ],
)
def test_bad_layout_options(given: dict[str, str], name: str) -> None:
    with pytest.raises(ConfigurationError) as problem:
        read_layout(options(**given))
    assert [fault.reason.startswith(name + ": ") for fault in problem.value.faults] == [True]


def test_all_bad_options_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as problem:
        read_layout(options(LDAP_SCHEMALEVEL="9", ALIAS_URL0="x", ALIAS_URL2="y"))
    assert len(problem.value.faults) == 3


def test_urls() -> None:
    assert split_url("ldap:///o=x?a,b?sub?(c=d)") == ("o=x", ("a", "b"), "sub", "(c=d)")
    assert split_url("LDAP://host:389/o=a%20b??one") == ("o=a b", (), "one", "(objectClass=*)")
    assert split_url("ldap:///?*?base") == ("", (), "base", "(objectClass=*)")


def instance(folder: Path, option_dat: str) -> Instance:
    config = folder / "config"
    config.mkdir()
    (config / "imta.cnf").write_text("! nothing\n\nl\nrelay1.example.com\n")
    (config / "dispatcher.cnf").write_text("MIN_PROCS=1\n")
    (config / "option.dat").write_text(option_dat)
    return Instance(folder)


async def test_an_instance_opens_its_ldif_file(tmp_path: Path) -> None:
    where = instance(tmp_path, "LDAP_LDIF_FILE=people.ldif\n")
    (tmp_path / "config" / "people.ldif").write_text("dn: o=x\no: x\n")
    directory = open_directory(load(where))
    await directory.start()
    assert directory.health().startswith("ok: 1 entries")
    await directory.close()


async def test_an_instance_opens_its_servers(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    where = instance(tmp_path, "LDAP_HOST=ldap://127.0.0.1:9 ldap://127.0.0.1:10\nLDAP_USER_ROOT=o=usergroup\n")
    assert open_directory(load(where)).health() == "ok: ldap://127.0.0.1:9 ldap://127.0.0.1:10"


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("", ["neither LDAP_HOST nor LDAP_LDIF_FILE is set", "neither LDAP_USER_ROOT nor LDAP_DOMAIN_ROOT is set"]),
        ("LDAP_USER_ROOT=o=x\n", ["neither LDAP_HOST nor LDAP_LDIF_FILE is set"]),
        ("LDAP_HOST=a\n", ["neither LDAP_USER_ROOT nor LDAP_DOMAIN_ROOT is set"]),
    ],
)
async def test_an_instance_without_directory_is_a_fault_and_all_of_it_is_said(
    tmp_path: Path, text: str, reasons: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_directory(load(instance(tmp_path, text)))
    assert [fault.reason.partition(":")[0] for fault in caught.value.faults] == reasons


def test_without_python_ldap_the_fault_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "posthouse.relay.directory.ldap_directory", None)
    with pytest.raises(ConfigurationError, match="pip install"):
        open_directory(load(instance(tmp_path, "LDAP_HOST=a\nLDAP_USER_ROOT=o=x\n")))
