"""What `posthouse init` writes about the way to the stores, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from posthouse.cli.init import app
from posthouse.cli.init_options import Way
from posthouse.cli.init_stores import WayToStores, relays_only
from posthouse.config.instance import Instance
from posthouse.relay.routing.delivery_options import DEFAULT
from posthouse.testing.tiers import posthouse

HOST = "relay1.example.com"
OTHER = "store2.example.com"
_BASE = "o=example.com,o=usergroup"
_CLASSES = "".join(f"objectClass: {name}\n" for name in ("inetUser", "inetMailUser", "inetLocalMailRecipient"))
PEOPLE = (
    "dn: o=usergroup\nobjectClass: organization\no: usergroup\n\n"
    f"dn: {_BASE}\nobjectClass: sunManagedOrganization\no: example.com\nsunPreferredDomain: example.com\n"
) + "".join(
    f"\ndn: uid={uid},{_BASE}\n{_CLASSES}uid: {uid}\nmail: {uid}@example.com\nmailUserStatus: active\nmailHost: {host}\n"
    for uid, host in (("here", HOST), ("there", OTHER))
)


def way(by: Literal["lmtp", "smtp"] = "lmtp", port: int | None = None, stores: tuple[str, ...] = ()) -> WayToStores:
    return Way(deliver_by=by, store_smtp_port=port, lmtp_store=list(stores)).parse(HOST, otherwise="lmtp")


def test_as_shipped_everything_goes_by_lmtp() -> None:
    words = way().words()
    assert "#program=" in words["delivery_options"]
    assert (words["intranet_rule"], way().general) == ("", "")


def test_stores_that_are_whole_mtas_get_users_with_a_program_by_smtp() -> None:
    words = way(port=25).words()
    assert "\n    program=" in words["delivery_options"]
    assert ".example.com   $U%$H.example.com@tcp_intranet-daemon" in words["intranet_rule"]


def test_by_smtp_the_option_has_its_default() -> None:
    written = way("smtp").words()["delivery_options"]
    assert "\nDELIVERY_OPTIONS" not in written
    wanted = written.partition("!DELIVERY_OPTIONS=")[2].replace("\\\n!    ", "").strip()
    assert wanted == DEFAULT, "it can be taken out of its comment and changed"
    assert way("smtp").smtp_port == 25


def test_named_stores_stand_in_the_general_database() -> None:
    mixed = way(stores=("Store1.example.com",))
    assert "lmtp|store1.example.com     yes\n" in mixed.general
    assert "USE_TEXT_DATABASES=1" in mixed.words()["delivery_options"]
    with pytest.raises(SystemExit):
        way("smtp", stores=("store1.example.com",))


def test_only_relays_reach_the_services_for_them() -> None:
    lines = relays_only(["192.0.2.1"], [225]).splitlines()
    assert [line.split()[0] for line in lines] == ["TCP|*|225|192.0.2.1|*", "TCP|*|225|*|*", "TCP|*|*|*|*"]


def test_lmtp_on_a_full_mta_needs_to_know_the_relays(tmp_path: Path) -> None:
    (tmp_path / "people.ldif").write_text("")
    who = ("--host", HOST, "--default-domain", "example.com", "--ldif", str(tmp_path / "people.ldif"))
    common = ("--smtp", "127.0.0.1:2525", *who)
    refused = posthouse("init", "full", str(tmp_path / "a"), *common, "--lmtp", "127.0.0.1:2226", check=False)
    assert (refused.returncode, (tmp_path / "a").exists()) == (64, False)
    assert "--allow" in refused.stderr


FULL = ("full", "--smtp", "127.0.0.1:2525", "--host", HOST, "--default-domain", "example.com")


def made(folder: Path, *arguments: str) -> Instance:
    """What `init` makes of these arguments; it must have no faults of its own."""
    people = folder.parent / "people.ldif"
    people.write_text(PEOPLE)
    kind, *rest = arguments
    with pytest.raises(SystemExit) as ended:
        app([kind, str(folder), *rest, "--ldif", str(people)])
    assert not ended.value.code
    return Instance(folder)


def routed(instance: Instance, address: str) -> str:
    out = posthouse("route", address, "--instance", str(instance.root), "--json").stdout
    (copy,) = json.loads(out)["recipients"]
    return f"{copy['channel']} {copy['address']}"


IN, OUT = f"ims-ms @{HOST}.lmtp:here@lmtpcs-daemon", f"tcp_lmtpcs @{OTHER}.lmtp:there@lmtpcs-daemon"
PLAIN, BY_SMTP = "ims-ms here@ims-ms-daemon", f"tcp_intranet @{OTHER}:there@example.com"


@pytest.mark.parametrize(
    ("options", "here", "there"),
    [
        ((), PLAIN, BY_SMTP),
        (("--deliver-by", "smtp"), PLAIN, BY_SMTP),
        (("--deliver-by", "lmtp"), IN, OUT),
        (("--lmtp-store", OTHER), IN, OUT),
        (("--lmtp-store", "x.example.com"), IN, BY_SMTP),
    ],
)
def test_a_full_mta_keeps_its_own_users_and_sends_the_others_on(
    tmp_path: Path, options: tuple[str, ...], here: str, there: str
) -> None:
    instance = made(tmp_path / "full", *FULL, *options)
    assert posthouse("check", "--instance", str(instance.root), check=False).returncode == 0
    assert (routed(instance, "here@example.com"), routed(instance, "there@example.com")) == (here, there)


def test_a_relay_that_is_its_own_store_is_still_told_that_it_cannot_be(tmp_path: Path) -> None:
    instance = made(tmp_path / "relay", "relay", *FULL[1:])
    checked = posthouse("check", "--instance", str(instance.root), check=False)
    assert checked.returncode == 78
    assert "single-system" in checked.stdout + checked.stderr


def test_what_does_not_go_together_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = tmp_path / "people.ldif"
    people.write_text("")
    for arguments, says in (
        (["--deliver-by", "smtp", "--native-port", "226"], "--deliver-by lmtp"),
        (["--deliver-by", "smtp", "--lmtp-store", OTHER], "--deliver-by lmtp"),
        (["--native-port", "0"], "--native-port 0"),
        (["--native", "127.0.0.1:2525", "--allow", "127.0.0.1"], "--native 127.0.0.1:2525: --smtp has this port"),
        (["--lmtp", "2525", "--allow", "127.0.0.1"], "--lmtp 2525: --smtp has this port"),
        (["--lmtp", "225", "--submission", "127.0.0.1:225", "--allow", "127.0.0.1"], "--lmtp 225: --submission has this port"),
        (["--native-spool", "/var/mail"], "need --native"),
    ):
        with pytest.raises(SystemExit) as ended:
            app([FULL[0], str(tmp_path / "full"), *FULL[1:], "--ldif", str(people), *arguments])
        assert ended.value.code == 64
        assert says in capsys.readouterr().err
    assert not (tmp_path / "full").exists()


def test_folders_above_that_cannot_be_read_are_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / "above" / "store"
    folder.mkdir(parents=True)
    (tmp_path / "above").chmod(0o311)
    bound = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()  # root reads everything
    arguments = ("--lmtp", "127.0.0.1:4225", "--host", OTHER, "--default-domain", "example.com", "--allow", "127.0.0.1")
    command = [*bound, sys.executable, "-m", "posthouse.cli", "init", "store", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
