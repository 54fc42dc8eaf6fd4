"""`posthouse store dovecot-config`: what Dovecot itself says of it, and what is refused."""

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.store.dovecot import dovecot_config
from posthouse.config.instance import Instance
from support.store_files import store_instance

LDAP: dict[str, Any] = {"ldap": ("ldap://127.0.0.1:1389",), "base": "o=example.com,o=usergroup"}
DOVECONF = shutil.which("doveconf") or "/usr/bin/doveconf"


@pytest.fixture
def store(tmp_path: Path) -> Instance:
    instance = store_instance(tmp_path / "store", "local.hostname = store1.example.com")
    instance.store.mkdir()
    return instance


def settings(text: str, tmp_path: Path) -> str:
    """What `doveconf -n` makes of a configuration; fails when it refuses it."""
    file = tmp_path / "read.conf"
    file.write_text(text)
    done = subprocess.run([DOVECONF, "-n", "-c", str(file)], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "options",
    [{}, LDAP, {**LDAP, "proxy": True}, {"imap": "127.0.0.1:2143", "trust": ("192.0.2.5", "198.51.100.0/24")}],
    ids=["passwd-file", "ldap", "proxy", "addresses"],
)
def test_dovecot_takes_it(store: Instance, tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    dovecot_config(instance=store.root, **options)
    text = capsys.readouterr().out
    assert "{{" not in text
    read = settings(text, tmp_path)
    assert "auth_username_format = %{if;%Ld;eq;example.com;%Ln;%Lu}" in read
    if "proxy" not in options:
        assert f"mail_location = maildir:{store.store}/primary/%Lu" in read
        assert "quota = maildir:User quota" in read
        assert "acl = vfile" in read
    if "trust" in options:
        assert "login_trusted_networks = 192.0.2.5 198.51.100.0/24" in read
        assert "address = 127.0.0.1" in read


def test_mail_processes_have_the_group_of_the_stores(
    store: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    user = pwd.getpwnam("mail") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    os.chown(store.store, user.pw_uid, -1)  # as a folder made by root and given to the user
    monkeypatch.chdir(tmp_path)
    dovecot_config(instance=store.root, passwd_file=Path("users"))
    text = capsys.readouterr().out
    assert f"mail_uid = {user.pw_uid}\nmail_gid = {user.pw_gid}\n" in text
    assert f"first_valid_gid = {user.pw_gid}\n" in text
    assert f"args = username_format=%u {tmp_path}/users\n" in text


def test_a_certificate_switches_tls_on_and_is_needed_for_it(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    dovecot_config(instance=store.root, tls_cert=Path("/c.pem"), tls_key=Path("/k.pem"))
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
        **LDAP, "domain": ("Other.org=o=other.org,o=usergroup",), "bind_dn": "cn=dovecot", "write": tmp_path / "to",
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
        dovecot_config(instance=store.root, **LDAP, proxy=True, file="dovecot-ldap.conf.ext", **options)
        text = capsys.readouterr().out
        assert "(mailHost=*)" in text
        return next(line for line in text.splitlines() if line.startswith("pass_attrs"))

    assert fields() == "pass_attrs = =user=%{ldap:uid}, =proxy=y, =host=%{ldap:mailHost}, =port=143"
    assert fields(backend_tls=True).endswith("=port=143, =starttls=yes")
    assert fields(backend_tls=True, backend_port=993).endswith("=port=993, =ssl=yes")
    assert fields(backend_ca=Path("/ca.pem")).endswith("=starttls=yes")
    for ca, file in ((None, "/etc/ssl/certs/ca-certificates.crt"), (Path("/ca.pem"), "/ca.pem")):
        dovecot_config(instance=store.root, **LDAP, proxy=True, backend_tls=True, backend_ca=ca)
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


@pytest.mark.parametrize("options", [{}, LDAP], ids=["passwd-file", "ldap"])
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
    lines = (tmp_path / "to" / "dovecot-mailboxes").read_text().splitlines()[1:]
    assert lines == [
        f"ann:::::::userdb_mail=maildir:{instance.store}/third/%Lu",
        f"ann@other.org:::::::userdb_mail=maildir:{instance.store}/third/%Lu",
        f"jdoe:::::::userdb_mail=maildir:{instance.store}/primary/%Lu",
    ]
    assert (tmp_path / "to" / "dovecot-mailboxes").stat().st_mode & 0o777 == 0o644
    text = (tmp_path / "to" / "dovecot.conf").read_text()
    read = settings(text, tmp_path)
    assert f"mail_location = maildir:{instance.store}/second/%Lu" in read
    assert f"args = username_format=%Lu {tmp_path}/to/dovecot-mailboxes" in read
    assert text.index("dovecot-mailboxes") < text.rindex("userdb {")


def test_a_store_with_one_partition_needs_no_list(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    (store.store / "primary" / "jdoe").mkdir(parents=True)
    dovecot_config(instance=store.root, as_json=True)
    assert list(json.loads(capsys.readouterr().out)["files"]) == ["dovecot.conf"]
