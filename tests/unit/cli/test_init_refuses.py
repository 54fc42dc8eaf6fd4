"""`posthouse init` finds what cannot work before it writes a file."""

from pathlib import Path

import pytest
import trustme

from posthouse.cli.init import app
from posthouse.cli.init_arguments import address_pattern
from posthouse.config.configuration import load
from posthouse.config.instance import Instance
from posthouse.relay.job_controller.programs import Program, program_of
from posthouse.relay.routing import rules
from support.people import EXAMPLE, MemoryDirectory
from support.routing_relay import Relay

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
        (["--lmtp-port", "225", "--deliver-by", "smtp"], 64, "--lmtp-port is for stores that are reached by LMTP"),
        (["--submission", "nowhere"], 64, "--submission nowhere: give ADDRESS:PORT"),
        (["--submission", "127.0.0.1:2525"], 64, "--smtp has this port"),
        (["--internal", "192.0.2.0/40"], 64, "--internal 192.0.2.0/40: give an IP address or a block"),
        (["--tls-certificate", "/nonexistent"], 66, "--tls-certificate /nonexistent: no such file"),
        (["--tls-key", "/dev/null"], 66, "--tls-key /dev/null: no such file"),
        (["--route", "remote.test"], 64, "DOMAIN=HOST:PORT"),
        (["--route", "remote.test=host"], 64, "DOMAIN=HOST:PORT"),
        (["--route", "remote.test=host:0"], 64, "a port is"),
        (["--route", "re mote=host:25"], 64, "no domain"),
        (["--route", "=host:25"], 64, "no domain"),
        (["--route", "remote.test=two words:25"], 64, "no host"),
        (["--route", "remote.test=:25"], 64, "no host"),
    ],
)
def test_bad_arguments_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    folder = tmp_path / "relay"
    assert _relay(folder, *LDAP, *arguments) == code
    assert says in capsys.readouterr().err
    assert not folder.exists()


def test_paths_that_are_not_utf_8_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd, folder = tmp_path / "r\udce9", tmp_path / "relay"
    assert _relay(odd, *LDAP) == 64
    odd.write_text("", encoding="ascii")
    assert _relay(folder, "--ldif", str(odd)) == 64
    assert capsys.readouterr().err.count("must be UTF-8") == 2
    assert list(tmp_path.iterdir()) == [odd]


@pytest.mark.parametrize(
    ("given", "pattern"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7/120", "$(192.0.2.0/24)"),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/24", "$(192.0.2.0/24)"),
        ("2001:DB8::0:7", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("2001:db8::/32", "${2001:db8::/32}"),
        ("::ffff:0:0/95", "${::fffe:0:0/95}"),
    ],
)
def test_addresses_are_written_as_clients_are_asked_about(given: str, pattern: str) -> None:
    assert address_pattern(given) == pattern


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


def test_routes_are_rules_and_channels(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    routes = ["remote.test=127.0.0.1:2526", ".Below.test=Gate.example.org:25", ".=[::1]:587"]
    assert _relay(folder, *LDAP, *(word for route in routes for word in ("--route", route))) == 0
    configuration = load(Instance(folder))
    channels = configuration.imta.channels
    one, two, three = (channels[f"tcp_route{number}"] for number in (1, 2, 3))
    assert (one.value("daemon"), one.port, one.has("nodns"), one.is_smtp) == ("127.0.0.1", 2526, True, True)
    assert (two.value("daemon"), three.value("daemon"), three.port) == ("gate.example.org", "::1", 587)
    assert all(program_of(configuration, channel) is Program.SMTP for channel in (one, two, three))
    world = Relay(rules.compile(configuration, chance=lambda: 0.5, clock=lambda: 0.0), MemoryDirectory(EXAMPLE))
    targets = {
        "u@remote.test": ("tcp_route1", "u@remote.test"),
        "u@Remote.Test": ("tcp_route1", "u@remote.test"),
        "u@a.below.test": ("tcp_route2", "u@a.below.test"),
        "u@other.test": ("tcp_route3", "u@other.test"),
        "u@b.remote.test": ("tcp_route3", "u@b.remote.test"),
    }
    for address, target in targets.items():
        assert world.addresses(address, source_channel="process") == [target]
        assert "Relaying not permitted" in world.refusal(address, source_channel="tcp_local")


@pytest.mark.parametrize("channel", ["tcp", "tcp_intranet", "tcp_submit", "tcp_auth", "tcp_route1", "lmtpcs", "hold"])
def test_no_channel_can_be_named_from_outside(tmp_path: Path, channel: str) -> None:
    """source-routes.md 7: also not those that come with --internal, --submission and a certificate."""
    authority = trustme.CA()
    pem = tmp_path / "relay.pem"
    authority.issue_cert("relay1.example.com").private_key_and_cert_chain_pem.write_to_path(str(pem))
    folder = tmp_path / "relay"
    more = ["--internal", "192.0.2.0/24", "--submission", "127.0.0.1:2587", "--route", "remote.test=127.0.0.1:2526"]
    assert _relay(folder, *LDAP, *more, "--tls-certificate", str(pem)) == 0
    configuration = load(Instance(folder))
    world = Relay(rules.compile(configuration, chance=lambda: 0.5, clock=lambda: 0.0), MemoryDirectory(EXAMPLE))
    for address in (f"u@{channel}-daemon", f"u%remote.test@{channel}-daemon", f"@{channel}-daemon:u@remote.test"):
        assert "Relaying not permitted" in world.refusal(address, source_channel="tcp_local")
