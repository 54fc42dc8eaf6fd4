"""What `posthouse init` writes about the way to the stores, and what it refuses."""

from pathlib import Path

import pytest

from posthouse.cli.init_stores import WayToStores, relays_only
from posthouse.testing.tiers import posthouse

HOST = "relay1.example.com"


def way(by: str = "lmtp", port: int | None = None, stores: tuple[str, ...] = ()) -> WayToStores:
    return WayToStores.parse(HOST, by, 225, port, stores, ())


def test_as_shipped_everything_goes_by_lmtp() -> None:
    words = way().words()
    assert "#program=" in words["delivery_options"]
    assert (words["intranet_rule"], words["intranet_access"], way().general) == ("", "", "")


def test_stores_that_are_whole_mtas_get_users_with_a_program_by_smtp() -> None:
    words = way(port=25).words()
    assert "\n    program=" in words["delivery_options"]
    assert ".example.com   $U%$H.example.com@tcp_intranet-daemon" in words["intranet_rule"]
    assert "tcp_local|*|tcp_intranet|*" in words["intranet_access"]


def test_by_smtp_the_option_has_its_default() -> None:
    assert "\nDELIVERY_OPTIONS" not in way("smtp").words()["delivery_options"]
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
