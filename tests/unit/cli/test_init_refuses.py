"""`posthouse init` finds what cannot work before it writes a file."""

from pathlib import Path

import pytest

from posthouse.cli.init import app

RELAY = ["--smtp", "127.0.0.1:2525", "--host", "relay1.example.com", "--default-domain", "example.com"]
LDAP = ["--ldap", "ldap://127.0.0.1", "--base", "o=usergroup"]


def _relay(folder: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(["relay", str(folder), *RELAY, *arguments])
    assert isinstance(ended.value.code, int | None)
    return ended.value.code or 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--bind-dn", "cn=posthouse"], 64, "go together"),
        (["--bind-password-file", "/dev/null"], 64, "go together"),
        (["--bind-dn", "cn=posthouse", "--bind-password-file", "/nonexistent"], 66, "/nonexistent: no such file"),
        (["--postmaster", "not an address"], 64, "--postmaster not an address"),
        (["--postmaster", ""], 64, "--postmaster"),
        (["--resolve", "two words=127.0.0.1"], 64, "not a host"),
        (["--resolve", "=127.0.0.1"], 64, "not a host"),
        (["--lmtp-port", "0"], 64, "--lmtp-port 0"),
    ],
)
def test_bad_arguments_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    folder = tmp_path / "relay"
    assert _relay(folder, *LDAP, *arguments) == code
    assert says in capsys.readouterr().err
    assert not folder.exists()


def test_a_bind_name_is_for_servers_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = tmp_path / "people.ldif"
    people.write_text("", encoding="ascii")
    arguments = ["--ldif", str(people), "--bind-dn", "cn=posthouse", "--bind-password-file", str(people)]
    assert _relay(tmp_path / "relay", *arguments) == 64
    assert "with --ldap" in capsys.readouterr().err


def test_the_stores_port_is_the_chapters_unless_given(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("secret\n", encoding="ascii")
    bind = ["--bind-dn", "cn=posthouse", "--bind-password-file", str(password)]
    folder = tmp_path / "relay"
    assert _relay(folder, *LDAP, *bind, "--postmaster", "john.doe@example.com") == 0
    assert " port 225 " in (folder / "config" / "imta.cnf").read_text(encoding="utf-8")
    assert f"LDAP_PASSWORD_FILE={password}" in (folder / "config" / "option.dat").read_text(encoding="utf-8")
    assert "postmaster: john.doe@example.com" in (folder / "config" / "aliases").read_text(encoding="utf-8")
