"""Mail of a user who writes another address of his: what users, the world and those who bounce get to see, in real processes."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from posthouse.testing.tiers import TwoTiers
from support import slapd
from support.family_rig import wait_for
from support.jobs_relay import until
from support.journey_mail import connect
from support.journey_tiers import append, edit, journey, wait_empty
from support.lists import HOSTS, directory, mail_of, person, send
from support.smtp_sink import SmtpSink

JOHN = person("john", mailAlternateAddress=["jd@example.com", "doe@example.com"])
FORWARD = person("fwd", mailDeliveryOption=["mailbox", "forward"], mailForwardingAddress="bob@remote.test")
AWAY = person("away", mailDeliveryOption=["forward"], mailForwardingAddress="bob@remote.test")
REVERSE = "REVERSE_URL=ldap:///$V?$N?sub?$R\nUSE_REVERSE_DATABASE=4\n"


def seen(tiers: TwoTiers, owner: str) -> list[tuple[str, str, str]]:
    """Envelope From, From: and To: of what somebody has."""
    return [(str(one["Return-Path"]), str(one["From"]), str(one["To"])) for one in mail_of(tiers, owner)]


@pytest.mark.parametrize("kind", ["ldif", "ldap"])
async def test_who_sees_what(tmp_path: Path, kind: str) -> None:
    world = await SmtpSink().start()
    routes = ("--route", f"remote.test=127.0.0.1:{world.port}")
    with (
        directory(kind, tmp_path, JOHN, FORWARD, AWAY) as options,
        journey(tmp_path, directory=options, relay_options=routes, start=False) as tiers,
    ):
        append(tiers.relay, "option.dat", REVERSE)
        await asyncio.to_thread(tiers.start)

        async def out(to: str, token: str, sender: str) -> tuple[str, str]:
            """Send, wait, and tell which sender left the house: on the envelope and in the header."""
            world.taken.clear()
            reply = await asyncio.to_thread(send, tiers, [to], token, sender=sender)
            assert reply.startswith("250"), reply
            await asyncio.to_thread(wait_empty, tiers.relay)
            await until(lambda: bool(world.taken))
            mail, body = world.taken[0].mail, world.taken[0].body
            found = re.search(rb"(?m)^From: (\S+)", body)
            assert found, body
            return mail.partition("<")[2].partition(">")[0], found[1].decode()

        assert await out("fwd", "one", "jd") == ("john@example.com",) * 2
        assert await out("fwd", "two", "jd+lists") == ("john+lists@example.com",) * 2
        assert await out("fwd", "three", "x@evil.test") == ("x@evil.test",) * 2
        assert seen(tiers, "fwd")[0] == ("<john@example.com>", "john@example.com", "fwd@example.com")

        world.script.rcpt = lambda _: "550 5.1.1 no"
        assert (await asyncio.to_thread(send, tiers, ["fwd"], "bounced", sender="jd")).startswith("250")
        await asyncio.to_thread(wait_for, lambda: seen(tiers, "john"))
        ((envelope, _, to),) = seen(tiers, "john")
        assert (envelope, to) == ("<>", "john@example.com")
        world.script.rcpt = lambda _: "250 2.1.5 OK"

        shown = tiers.relay.command("route", "user1@example.com", "--from", "jd@example.com").stdout
        assert shown.startswith("envelope From becomes john@example.com\n")
        route: dict[str, Any] = tiers.relay.json("route", "user1@example.com", "--from", "jd@example.com")
        assert route["sender"] == "john@example.com"
        assert "sender" not in tiers.relay.json("route", "user1@example.com", "--from", "x@evil.test")

        text = (tiers.relay.folder / "config" / "imta.cnf").read_text()
        (block,) = re.findall(rf"(?m)^\S+ smtp .*port {world.port}\b.*$", text)
        edit(tiers.relay, "imta.cnf", block, f"{block} noreverse")
        tiers.relay.command("reload")
        (route,) = tiers.relay.json("route", "away@example.com", "--from", "jd@example.com")["recipients"]
        assert route["sender"] == "jd@example.com"
        assert await out("away", "four", "jd") == ("jd@example.com",) * 2
        assert await out("fwd", "five", "jd") == ("jd@example.com", "john@example.com")
    await world.stop()


@pytest.mark.skipif(not slapd.is_installed(), reason="slapd is not installed")
def test_a_directory_that_is_away_changes_no_sender_and_stops_no_mail(tmp_path: Path) -> None:
    server = slapd.Slapd(tmp_path / "slapd", "\n".join([slapd.many_people(3, stores=HOSTS), JOHN]))
    server.start()
    with journey(tmp_path, directory=["--ldap", server.uri, "--base", "o=usergroup"], start=False) as tiers:
        append(tiers.relay, "option.dat", REVERSE + "LDAP_TIMEOUT=3\n")
        tiers.start()
        with connect(tiers.relay) as client:  # one worker: its cache has the recipient
            client.ehlo()
            for sender in ("jd", "doe"):
                mail = f"From: {sender}@example.com\r\nSubject: {sender}\r\n\r\n"
                assert client.sendmail(f"{sender}@example.com", ["user1@example.com"], mail) == {}
                server.stop()
            wait_empty(tiers.relay)
        assert sorted(origin for _, origin, _ in seen(tiers, "user1")) == ["doe@example.com", "john@example.com"]
