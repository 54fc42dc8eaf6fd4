"""Forwards, lists and vacation answers that leave the house: under which sender, and how bounces find their way back."""

import asyncio
import re
from pathlib import Path

from support.jobs_relay import until
from support.journey_tiers import append, journey, wait_empty
from support.lists import directory, group, mail_of, person, send
from support.smtp_sink import SmtpSink

FORWARD = person("fwd", mailDeliveryOption=["mailbox", "forward"], mailForwardingAddress="bob@remote.test")
LIST = group("list", mgrpRFC822MailMember=["bob@remote.test", "user1@example.com"], mgrpErrorsTo="owner@example.com")
AWAY = person("away", mailDeliveryOption=["mailbox", "autoreply"], mailAutoReplyText="Gone fishing.")
SENDER = "x@evil.test"


async def test_senders_and_bounces(tmp_path: Path) -> None:
    world = await SmtpSink().start()
    routes = ("--route", f"remote.test=127.0.0.1:{world.port}", "--route", f"evil.test=127.0.0.1:{world.port}")
    with (
        directory("ldif", tmp_path, FORWARD, LIST, AWAY) as options,
        journey(tmp_path, directory=options, relay_options=routes, start=False) as tiers,
    ):
        append(tiers.relay, "option.dat", "SRS_DOMAIN=example.com\nSRS_SECRET_FILE=srs.secret\n")
        secret = tiers.relay.folder / "config" / "srs.secret"
        secret.write_text("nobody guesses this\n")
        secret.chmod(0o600)
        await asyncio.to_thread(tiers.start)

        async def out(to: str, token: str, sender: str = SENDER, least: int = 1) -> list[tuple[str, list[str]]]:
            """Send, wait, and tell what went outside since the last time; an answer comes a little after its cause is gone."""
            world.taken.clear()
            reply = await asyncio.to_thread(send, tiers, [to], token, sender=sender)
            assert reply.startswith("250"), reply
            await asyncio.to_thread(wait_empty, tiers.relay)
            await until(lambda: len(world.taken) >= least)
            return [(re.sub(r" SIZE=\d+.*", "", taken.mail), taken.addresses) for taken in world.taken]

        ((mail, to),) = await out("fwd", "one")
        assert to == ["bob@remote.test"]
        srs = mail.removeprefix("MAIL FROM:<").rstrip(">")
        assert re.fullmatch(r"SRS0=[A-Z2-7]{8}=[A-Z2-7]{2}=evil\.test=x@example\.com", srs)
        assert [str(one["Return-Path"]) for one in mail_of(tiers, "fwd")] == [f"<{SENDER}>"]
        assert await out(srs, "bounce", sender="") == [("MAIL FROM:<>", [SENDER])]
        refused = await asyncio.to_thread(send, tiers, [srs], "spam", sender="y@evil.test")
        assert refused.startswith("550 5.7.1 this address takes bounces only")
        assert await out("fwd", "two", sender="user2") == [("MAIL FROM:<user2@example.com>", ["bob@remote.test"])]
        assert await out("list", "three") == [("MAIL FROM:<owner@example.com>", ["bob@remote.test"])]
        assert await out("away", "four") == [("MAIL FROM:<>", [SENDER])]
        assert b"Gone fishing." in world.taken[0].body
        assert await out("away", "five", least=0) == []
        world.script.rcpt = lambda address: "550 5.1.1 no" if address == "bob@remote.test" else "250 2.1.5 OK"
        assert await out("fwd", "six") == [("MAIL FROM:<>", [SENDER])]
        assert b"Final-Recipient: rfc822;fwd@example.com" in world.taken[0].body
    await world.stop()
