"""`posthouse store dovecot-config`: what Dovecot itself says of it, how 2.3 and 2.4 are told the same, and what is refused."""

import json
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.store.dovecot import dovecot_config
from posthouse.cli.store.dovecot_versions import installed_version
from posthouse.config.instance import Instance
from posthouse.store.quota.limits import Limits
from posthouse.store.quota.saved import SavedQuota
from support.store_files import store_instance

OLD: dict[str, Any] = {"dovecot": "2.3"}
NEW: dict[str, Any] = {"dovecot": "2.4"}
LDAP: dict[str, Any] = {"ldap": ("ldap://127.0.0.1:1389",), "base": "o=example.com,o=usergroup"}
DOVECONF = shutil.which("doveconf") or "/usr/bin/doveconf"


@pytest.fixture
def store(tmp_path: Path) -> Instance:
    instance = store_instance(tmp_path / "store", "local.hostname = store1.example.com")
    instance.store.mkdir()
    return instance


def settings(file: Path) -> str:
    """What `doveconf -n` makes of a configuration; fails when it refuses it."""
    done = subprocess.run([DOVECONF, "-n", "-c", str(file)], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [{}, LDAP, {**LDAP, "proxy": True}, {"imap": "127.0.0.1:2143", "trust": ("192.0.2.5", "198.51.100.0/24")}],
    ids=["passwd-file", "ldap", "proxy", "addresses"],
)
def test_dovecot_takes_it(store: Instance, tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    dovecot_config(instance=store.root, write=tmp_path / "to", **options)
    capsys.readouterr()
    text = (tmp_path / "to" / "dovecot.conf").read_text()
    assert "{{" not in text
    read = settings(tmp_path / "to" / "dovecot.conf")
    assert text.startswith(f"# Dovecot {installed_version()}: ")
    assert "auth_username_format = %{" in read
    if "proxy" not in options:
        assert f"{store.store}/primary/%" in read
        assert "User quota" in read
        assert re.search(r"acl(_driver)? = vfile", read)
    if "trust" in options:
        assert "login_trusted_networks = 192.0.2.5 198.51.100.0/24" in read
        assert re.search(r"(address|listen) = 127\.0\.0\.1\n", read)


@pytest.mark.parametrize(
    ("version", "settings"),
    [
        (
            OLD,
            (
                "# Dovecot 2.3: ", "auth_username_format = %{if;%Ld;eq;example.com;%Ln;%Lu}\n", "/primary/%Lu\n",
                "mail_plugins = $mail_plugins quota acl listescape\n", "quota = maildir:User quota\n", "acl_anyone = allow\n",
                "disable_plaintext_auth = yes\n", "args = username_format=%u /etc/dovecot/users\n", "address = 127.0.0.1\n",
            ),
        ),
        (
            NEW,
            (
                "# Dovecot 2.4: ", "dovecot_config_version = 2.4.0\n", "dovecot_storage_version = 2.4.0\n",
                "auth_username_format = %{user | username | lower}%{user | domain | lower | if('eq', 'example.com', '', user)",
                "/primary/%{user | lower}\nmailbox_list_layout = maildir++\n", 'mailbox_list_storage_escape_char = "\\\\"\n',
                'quota "User quota" {\n  driver = maildir\n}\n', "acl_driver = vfile\nimap_acl_allow_anyone = yes\n",
                "imap_capability {\n  MOVE = no\n}\n", "executable = script-login /etc/dovecot/dovecot-limits\n",
                "auth_allow_cleartext = no\n", "passwd_file_path = /etc/dovecot/users\n", "listen = 127.0.0.1\n",
            ),
        ),
    ],
    ids=["2.3", "2.4"],
)  # fmt: skip
def test_both_versions_are_told_the_same(
    tmp_path: Path, version: dict[str, Any], settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    instance = store_instance(tmp_path / "store", "store.listescape = 1")
    instance.store.mkdir()
    dovecot_config(instance=instance.root, imap="127.0.0.1:143", **version)
    text = capsys.readouterr().out
    assert [each for each in settings if each not in text] == []
    assert "{{" not in text


@pytest.mark.parametrize(
    ("installed", "made", "said"),
    [
        ("2.4", "2.4", ""),
        ("2.3", "2.3", ""),
        ("", "2.3", "no Dovecot is installed here: the configuration is for 2.3"),
        ("2.2", "2.3", "Dovecot 2.2 is installed: the configuration is for 2.3"),
    ],
)
def test_the_version_is_the_installed_one_and_a_guess_is_told(
    store: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    installed: str, made: str, said: str,
) -> None:  # fmt: skip
    if installed:
        (tmp_path / "dovecot").write_text(f"#!/bin/sh\necho '{installed}.9 (0123abc)'\n")
        (tmp_path / "dovecot").chmod(0o755)
    monkeypatch.setattr("posthouse.cli.store.dovecot_versions.PLACES", (str(tmp_path),))
    os.chown(store.store, 65534, -1) if os.geteuid() == 0 else None
    dovecot_config(instance=store.root)
    captured = capsys.readouterr()
    assert captured.out.startswith(f"# Dovecot {made}: ")
    assert said in captured.err
    assert bool(captured.err) is bool(said)


def limits_told(script: Path, environment: dict[str, str]) -> dict[str, str]:
    """What the script exports for the program it becomes."""
    done = subprocess.run(
        [script, "env"], env={"PATH": os.defpath, **environment}, capture_output=True, text=True, timeout=10, check=True
    )
    told = dict(line.split("=", 1) for line in done.stdout.splitlines())
    return {key: told[key.upper()] for key in told["USERDB_KEYS"].split() if key.startswith("quota_")}


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        (Limits(102400, 3), {"quota_storage_size": "102400B", "quota_message_count": "3"}),
        (Limits(0, -1), {"quota_storage_size": "1B"}),
        (Limits(-2, -2), {"quota_message_count": "7"}),
        (None, {"quota_message_count": "7"}),
    ],
)
def test_a_session_of_2_4_is_told_the_limits_the_store_keeps(
    tmp_path: Path, saved: Limits | None, told: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    instance = store_instance(tmp_path / "it's a store", "store.defaultmessagequota = 7")
    for place in ("primary/jdoe", "second/jdoe"):
        (instance.store / place).mkdir(parents=True)
        if saved is not None:
            (instance.store / place / ".lmtp-lock").write_bytes(SavedQuota(saved).encode())
    dovecot_config(instance=instance.root, write=tmp_path / "to", **NEW)
    capsys.readouterr()
    script = tmp_path / "to" / "dovecot-limits"
    assert script.stat().st_mode & 0o777 == 0o755
    assert limits_told(script, {"USER": "jdoe"}) == told
    elsewhere = {"USER": "jdoe", "MAIL_PATH": f"{instance.store}/second/jdoe", "USERDB_KEYS": "mail_path"}
    assert limits_told(script, elsewhere) == told


def test_users_in_the_directory_for_2_4(store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "password").write_text('se"c\\ret\n')
    look = {
        **LDAP, **NEW, "domain": ("Other.org=o=other.org,o=usergroup",), "bind_dn": "cn=dovecot",
        "bind_password_file": tmp_path / "password",
    }  # fmt: skip
    dovecot_config(instance=store.root, write=tmp_path / "to", **look)
    capsys.readouterr()
    main = (tmp_path / "to" / "dovecot.conf").read_text()
    assert f"!include {tmp_path}/to/dovecot-ldap.conf.ext\n!include {tmp_path}/to/dovecot-ldap-other.org.conf.ext\n" in main
    text = (tmp_path / "to" / "dovecot-ldap-other.org.conf.ext").read_text()
    for kind in ("passdb", "userdb"):
        block = text.partition(f"\n{kind} ldap-other.org {{\n")[2].partition("\n}")[0]
        assert '  ldap_auth_dn = cn=dovecot\n  ldap_auth_dn_password = "se\\"c\\\\ret"\n' in block
        assert "  ldap_uris = ldap://127.0.0.1:1389\n" in block
        assert "  ldap_base = o=other.org,o=usergroup\n" in block
        assert "(mailHost=store1.example.com)(!(inetUserStatus=inactive))" in block
        assert "(|(uid=%{user | domain | lower | if('eq', 'other.org', user, '-') | username | lower})(mail=" in block
        assert "    user = %{ldap:uid}@other.org\n" in block
    assert "  passdb_ldap_bind = yes\n" in text
    assert text.count("userdb_ldap_iterate_filter") == 1
    dovecot_config(
        instance=store.root, **{**look, "proxy": True, "backend_ca": Path("/ca.pem"), "backend_port": 993}, as_json=True
    )
    files = json.loads(capsys.readouterr().out)["files"]
    assert sorted(files) == ["dovecot-ldap-other.org.conf.ext", "dovecot-ldap.conf.ext", "dovecot.conf"]
    assert "\nssl_client_ca_file = /ca.pem\n" in files["dovecot.conf"]
    fields = "    user = %{ldap:uid}\n    proxy = y\n    host = %{ldap:mailHost}\n    port = 993\n    ssl = yes\n"
    assert fields in files["dovecot-ldap.conf.ext"]
    assert "userdb" not in files["dovecot-ldap.conf.ext"]


def test_mail_processes_have_the_group_of_the_stores(
    store: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    user = pwd.getpwnam("mail") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    os.chown(store.store, user.pw_uid, -1)  # as a folder made by root and given to the user
    monkeypatch.chdir(tmp_path)
    dovecot_config(instance=store.root, passwd_file=Path("users"), **OLD)
    text = capsys.readouterr().out
    assert f"mail_uid = {user.pw_uid}\nmail_gid = {user.pw_gid}\n" in text
    assert f"first_valid_gid = {user.pw_gid}\n" in text
    assert f"args = username_format=%u {tmp_path}/users\n" in text


def test_a_certificate_switches_tls_on_and_is_needed_for_it(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    dovecot_config(instance=store.root, tls_cert=Path("/c.pem"), tls_key=Path("/k.pem"), **NEW)
    server = "ssl = required\nssl_server_cert_file = /c.pem\nssl_server_key_file = /k.pem\n"
    assert server in capsys.readouterr().out
    dovecot_config(instance=store.root, tls_cert=Path("/c.pem"), tls_key=Path("/k.pem"), **OLD)
    text = capsys.readouterr().out
    assert "ssl = required\nssl_cert = </c.pem\nssl_key = </k.pem\n" in text
    assert "port = 993" in text
    dovecot_config(instance=store.root)
    assert "ssl = no\n" in capsys.readouterr().out


def test_files_are_written_together_and_not_over_others(
    store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "password").write_text("secret\nmore\n")
    options = {
        **LDAP, **OLD, "domain": ("Other.org=o=other.org,o=usergroup",), "bind_dn": "cn=dovecot", "write": tmp_path / "to",
        "bind_password_file": tmp_path / "password",
    }  # fmt: skip
    dovecot_config(instance=store.root, **options)
    names = ["dovecot-ldap-other.org.conf.ext", "dovecot-ldap.conf.ext", "dovecot.conf"]
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == names
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "to").iterdir()} == {0o600}
    text = (tmp_path / "to" / "dovecot-ldap-other.org.conf.ext").read_text()
    assert "dn = cn=dovecot\ndnpass = secret\nbase = o=other.org,o=usergroup\n" in text
    assert "pass_attrs = =user=%{ldap:uid}@other.org\n" in text
    assert f"args = {tmp_path}/to/dovecot-ldap.conf.ext" in (tmp_path / "to" / "dovecot.conf").read_text()
    with pytest.raises(SystemExit) as ended:
        dovecot_config(instance=store.root, **options)
    assert ended.value.code == 73
    dovecot_config(instance=store.root, **options, force=True)
    capsys.readouterr()
    dovecot_config(instance=store.root, **{**options, "write": None}, as_json=True)
    assert sorted(json.loads(capsys.readouterr().out)["files"]) == names


def test_the_front_end_sends_users_to_their_host(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    def fields(**options: Any) -> str:
        dovecot_config(instance=store.root, **LDAP, **OLD, proxy=True, file="dovecot-ldap.conf.ext", **options)
        text = capsys.readouterr().out
        assert "(mailHost=*)" in text
        return next(line for line in text.splitlines() if line.startswith("pass_attrs"))

    assert fields() == "pass_attrs = =user=%{ldap:uid}, =proxy=y, =host=%{ldap:mailHost}, =port=143"
    assert fields(backend_tls=True).endswith("=port=143, =starttls=yes")
    assert fields(backend_tls=True, backend_port=993).endswith("=port=993, =ssl=yes")
    assert fields(backend_ca=Path("/ca.pem")).endswith("=starttls=yes")
    for ca, file in ((None, "/etc/ssl/certs/ca-certificates.crt"), (Path("/ca.pem"), "/ca.pem")):
        dovecot_config(instance=store.root, **LDAP, **OLD, proxy=True, backend_tls=True, backend_ca=ca)
        assert f"\nssl_ca = <{file}\nssl_require_crl = no\n" in capsys.readouterr().out


def test_a_store_asks_for_its_own_users(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    dovecot_config(instance=store.root, **LDAP, file="dovecot-ldap.conf.ext", mail_host="store(1)*")
    assert "(mailHost=store\\281\\29\\2a)" in capsys.readouterr().out
    dovecot_config(instance=store.root, **LDAP, file="dovecot-ldap.conf.ext")
    assert "(mailHost=store1.example.com)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"ldap": LDAP["ldap"]}, 64),
        ({"base": "o=x"}, 64),
        ({"proxy": True}, 64),
        ({**LDAP, "domain": ("other.org",)}, 64),
        ({"imap": "here"}, 64),
        ({"imap": "127.0.0.1:99999"}, 64),
        ({"tls_cert": Path("/c.pem")}, 64),
        ({"file": "other.conf"}, 64),
        ({**LDAP, "ldap": ("dir.example.com",)}, 64),
        ({**LDAP, "backend_port": 99999}, 64),
        ({"trust": ("front end",)}, 64),
        ({"dovecot": "2.2"}, 64),
        ({**LDAP, "bind_password_file": Path("/nowhere/at/all")}, 66),
        ({"write": Path("/proc/1/no")}, 73),
    ],
)
def test_refused_with_its_code(store: Instance, options: dict[str, Any], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dovecot_config(instance=store.root, **options)
    assert ended.value.code == code
    captured = capsys.readouterr()
    assert captured.err
    assert not captured.out


_LINES_2_3 = (
    "ann:::::::userdb_mail=maildir:{}/third/%Lu", "ann@other.org:::::::userdb_mail=maildir:{}/third/%Lu",
    "jdoe:::::::userdb_mail=maildir:{}/primary/%Lu",
)  # fmt: skip
_LINES_2_4 = (
    "ann:::::::userdb_mail_path={}/third/ann", "ann@other.org:::::::userdb_mail_path={}/third/ann@other.org",
    "jdoe:::::::userdb_mail_path={}/primary/jdoe",
)  # fmt: skip


@pytest.mark.parametrize("options", [OLD, {**LDAP, **OLD}, NEW], ids=["passwd-file", "ldap", "2.4"])
def test_mailboxes_outside_the_default_partition_are_listed(
    tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    instance = store_instance(
        tmp_path / "store", "store.defaultpartition = second", "store.partitionof.ann = third", "store.partitionof.sue = primary"
    )
    for place in ("primary/jdoe", "second/bob", "third/ann@other.org", "second/sue", "primary/x:y", "third/.gone"):
        (instance.store / place).mkdir(parents=True)
    dovecot_config(instance=instance.root, write=tmp_path / "to", **options)
    assert "x:y is in the partition primary" in capsys.readouterr().err
    assert (tmp_path / "to" / "dovecot-mailboxes").stat().st_mode & 0o777 == 0o644
    text = (tmp_path / "to" / "dovecot.conf").read_text()
    others = text.rindex("userdb static" if options == NEW else "userdb {")
    assert text.index("dovecot-mailboxes\n  result_success = continue") < others
    assert (tmp_path / "to" / "dovecot-mailboxes").read_text().splitlines()[1:] == [
        line.format(instance.store) for line in (_LINES_2_4 if options == NEW else _LINES_2_3)
    ]
    if installed_version() == options.get("dovecot"):
        assert f"{instance.store}/second/%" in settings(tmp_path / "to" / "dovecot.conf")


def test_a_store_with_one_partition_needs_no_list(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    (store.store / "primary" / "jdoe").mkdir(parents=True)
    dovecot_config(instance=store.root, as_json=True, **OLD)
    assert list(json.loads(capsys.readouterr().out)["files"]) == ["dovecot.conf"]
