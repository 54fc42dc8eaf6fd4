"""Postfix's LMTP client (`lmtp:inet:...`) delivering into a store."""

from collections.abc import Iterator

import pytest

from posthouse.testing.tiers import TwoTiers
from support.family_rig import wait_for
from support.interop_daemon import needs_root
from support.interop_postfix import Postfix, postfix
from support.interop_tiers import arrived, limit, mail, messages

pytestmark = needs_root


@pytest.fixture(scope="module")
def relay(tiers: TwoTiers) -> Iterator[Postfix]:
    store = tiers.stores[0]
    with postfix(f"{store.address}:{store.port}") as running:
        yield running


def test_each_recipient_gets_its_own_result(tiers: TwoTiers, relay: Postfix) -> None:
    store = tiers.stores[0]
    limit(store, "postfix-full", "10,1")
    people = ["Postfix1@example.com", "postfix-full@example.com", "=postfix@example.com"]
    with relay.smtp() as client:
        assert client.sendmail("a@outside.test", people, mail("postfix-mixed")) == {}
    outcomes = {each: wait_for(lambda each=each: relay.outcomes(each)) for each in people}  # type: ignore[misc]
    assert outcomes["Postfix1@example.com"] == [("sent", "250 2.5.0 <Postfix1@example.com> OK")]
    ((status, reason),) = outcomes["postfix-full@example.com"]
    assert status == "deferred"
    assert "said: 422 4.2.2 <postfix-full@example.com> Quota Exceeded" in reason
    ((status, reason),) = outcomes["=postfix@example.com"]
    assert status == "bounced"
    assert "said: 511 5.1.1 <=postfix@example.com> " in reason
    (octets,) = arrived(store, "postfix1", "Subject: postfix-mixed")
    assert octets.startswith(b"Return-Path: <a@outside.test>\n")
    assert messages(store, "postfix-full", "Subject: postfix-mixed") == []

    limit(store, "postfix-full", "-1,-1")
    relay.flush()
    arrived(store, "postfix-full", "Subject: postfix-mixed")
    arrived(store, "postfix1", "Subject: postfix-mixed")


def test_many_messages_over_kept_connections(tiers: TwoTiers, relay: Postfix) -> None:
    with relay.smtp() as client:
        for number in range(30):
            client.sendmail("a@outside.test", ["postfix2@example.com", "postfix3@example.com"], mail(f"postfix-{number}-many"))
    for owner in ("postfix2", "postfix3"):
        found = arrived(tiers.stores[0], owner, "-many", count=30)
        assert len({octets[octets.index(b"Subject: ") :].split(b"\n")[0] for octets in found}) == 30


def test_utf8_addresses(tiers: TwoTiers, relay: Postfix) -> None:
    with relay.smtp() as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        client.mail("zoë@outside.test", ["SMTPUTF8"])
        assert client.rcpt("günther@example.com")[0] == 250
        assert client.data(mail("postfix-utf8"))[0] == 250
    (octets,) = arrived(tiers.stores[0], "günther", "Subject: postfix-utf8")
    assert octets.startswith("Return-Path: <zoë@outside.test>\n".encode())
