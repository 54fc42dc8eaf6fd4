"""What the sender hears: failures, warnings, returns; and what happens to notices themselves."""

import email
import email.policy
from pathlib import Path

import pytest

from posthouse.mail.envelope import Recipient
from support.jobs_relay import BODY, JobsRelay, Start, until
from support.lmtp_sink import Sink
from support.pipe import CHANNEL, to

LOCAL = "ann@example.com"


async def notice_of(sink: Sink) -> str:
    await until(lambda: any(taken.addresses == ["ann"] for taken in sink.taken))
    (taken,) = (taken for taken in sink.taken if taken.addresses == ["ann"])
    assert taken.mail.startswith("MAIL FROM:<> ")
    return taken.body.decode()


async def test_one_failed_recipient_is_returned_the_others_are_delivered(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: (
        f"511 5.1.1 <{address}> mailbox nonexistent" if address == "nobody" else f"250 2.5.0 <{address}> OK"
    )
    relay = await start()
    number = await relay.put("bob", "nobody", sender=LOCAL)
    text = await notice_of(sink)
    await relay.empty()
    assert "Subject: Delivery Notification: Delivery has failed" in text
    assert "Final-Recipient: rfc822;nobody@example.com" in text
    assert "Diagnostic-Code: smtp;511 5.1.1 <nobody> mailbox nonexistent" in text
    assert "Remote-MTA: dns;store1.example.com\r\n" in text
    assert "Reporting-MTA: dns;relay1.example.com (tcp_lmtpcs)" in text
    assert "bob" not in text.partition("message/delivery-status")[2].partition("Boundary")[0]
    assert "-daemon" not in text
    assert ".lmtp" not in text.lower()
    assert sink.seen == {"bob": 1, "nobody": 1, "ann": 1}
    message = email.message_from_string(text, policy=email.policy.SMTP)
    assert message.get_content_type() == "multipart/report"
    await until(lambda: len(relay.records("D")) == 3)
    journey = [(r["ac"], r.get("sc", ""), r.get("dc", "")) for r in relay.records() if r["ac"] in "DRE"]
    assert sorted(journey) == sorted([
        ("D", "tcp_lmtpcs", ""), ("E", "tcp_lmtpcs", "process"), ("R", "tcp_lmtpcs", ""), ("E", "process", "tcp_lmtpcs"),
        ("D", "process", ""), ("D", "tcp_lmtpcs", ""),
    ])  # fmt: skip
    assert journey.index(("E", "tcp_lmtpcs", "process")) < journey.index(("R", "tcp_lmtpcs", "")), "durable before it is settled"
    (enqueued,) = (record for record in relay.records("E") if record["dc"] == "process")
    assert enqueued["ab"] == number
    assert enqueued["mi"].endswith(f",<{number}@example.org>")


@pytest.mark.parametrize(("sender", "notify"), [("", ""), (LOCAL, "NEVER"), (LOCAL, "DELAY")])
async def test_nobody_is_told_who_must_not_or_need_not_be(start: Start, sink: Sink, sender: str, notify: str) -> None:
    sink.script.rcpt = lambda _: "550 5.1.1 no such user"
    relay = await start()
    await relay.put("bob", sender=sender, notify=notify)
    await relay.empty()
    await until(lambda: len(relay.records("K")) == 1)
    assert relay.records("E") == []
    assert sink.taken == []


async def test_a_notice_to_nobody_is_dropped_and_logged(start: Start, sink: Sink) -> None:
    sink.script.rcpt = lambda _: "550 5.1.1 no such user"
    relay = await start()
    await relay.put("bob", sender="ghost@example.com")
    await relay.empty()
    await until(lambda: len(relay.records("K")) == 1)
    assert relay.records("K")[0]["sc"] == "process"
    assert relay.records("K")[0]["so" if relay.records("K")[0].get("so") else "de"] == "ghost@example.com"


async def test_a_notice_to_a_remote_sender_waits_while_no_name_can_be_looked_up(start: Start, sink: Sink) -> None:
    sink.script.rcpt = lambda _: "550 5.1.1 no such user"
    relay = await start()
    await relay.put("bob", sender="eve@remote.test")
    (copy,) = await relay.until_list(lambda copies: [c["attempts"] for c in copies if c["channel"] == "tcp_local"] == [1], 20)
    assert copy["sender"] == ""
    assert copy["host"] == "remote.test"
    assert copy["next_try"] is not None
    assert copy["recipients"][0]["status"]["enhanced"] == "4.4.3"


async def test_warned_then_returned_by_age(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: "250 2.5.0 OK" if address == "ann" else f"422 4.2.2 <{address}> Quota Exceeded"
    relay = await start(notices="1 4", units=3)
    await relay.put("bob", sender=LOCAL)
    await until(lambda: len([t for t in sink.taken if t.addresses == ["ann"]]) == 2)
    await relay.empty()
    warning, final = (t.body.decode() for t in sink.taken if t.addresses == ["ann"])
    assert "Subject: Delivery Notification: Delivery has been delayed" in warning
    assert "Action: delayed" in warning
    assert "Status: 4.2.2 " in warning
    assert "Hello" not in warning
    assert "Subject: Delivery Notification: Delivery has timed out and failed" in final
    assert "Action: failed" in final
    assert "Status: 5.4.7 " in final
    assert "Quota Exceeded" in final
    assert BODY.decode() in final
    assert [record["ac"] for record in relay.records() if record["ac"] in "WR"] == ["W", "R"]
    assert relay.files() == []


async def test_delays_and_failures_are_told_to_who_asked(start: Start, sink: Sink) -> None:
    """RFC 3461 4.1: without NOTIFY both; else what it names. Original-Envelope-Id and RET go along."""
    asked = {"any": "", "all": "SUCCESS,DELAY,FAILURE", "late": "DELAY", "lost": "FAILURE", "success": "SUCCESS", "no": "NEVER"}
    sink.script.final = lambda address, _: "250 2.5.0 OK" if address == "ann" else f"422 4.2.2 <{address}> Quota Exceeded"
    relay = await start(notices="1 4", units=3)
    for user, notify in asked.items():
        await relay.put(user, sender=LOCAL, notify=notify, envid=f"envelope+2B{user}", ret="HDRS")
    await until(lambda: len([t for t in sink.taken if t.addresses == ["ann"]]) == 6)
    await relay.empty()
    told = set()
    for text in (t.body.decode() for t in sink.taken if t.addresses == ["ann"]):
        (user,) = (each for each in asked if f"Final-Recipient: rfc822;{each}@example.com" in text)
        (action,) = (each for each in ("delayed", "failed") if f"Action: {each}" in text)
        assert f"Original-Envelope-Id: envelope+{user}\r\n" in text
        assert "Hello" not in text
        told.add((user, action))
    assert told == {(user, "delayed") for user in ("any", "all", "late")} | {(user, "failed") for user in ("any", "all", "lost")}


async def test_a_channel_without_a_program_times_out_like_any_other(start: Start, sink: Sink) -> None:
    relay = await start(notices="1", units=3)
    remote = Recipient(0, 0, "l", "x@remote.test", "x@remote.test", "remote.test")
    await relay.put_recipients([remote], sender=LOCAL)
    text = await notice_of(sink)
    assert "Final-Recipient: rfc822;x@remote.test" in text
    await relay.empty()


async def test_a_delay_on_this_machine_blames_no_server(sink: Sink, tmp_path: Path) -> None:
    """A program that is not there: the notice says so, and names no remote system."""
    relay = JobsRelay(tmp_path / "relay", sink.port, notices="1 600", units=3)
    with (relay.root / "config" / "imta.cnf").open("a") as file:
        file.write(CHANNEL.format(keywords=""))
    try:
        await relay.start()
        await relay.put_recipients([to("missing")], sender=LOCAL)
        text = await notice_of(sink)
    finally:
        await relay.close()
    assert "Reason: this program is not available" in text
    assert "Action: delayed" in text
    assert "Status: 4.3.5 (this program is not available)" in text
    assert "Remote" not in text


async def test_bitbucket_swallows(start: Start, sink: Sink) -> None:
    relay = await start()
    await relay.put_recipients([Recipient(0, 0, "bitbucket", "x@bitbucket", "x@example.com", "bitbucket")])
    await relay.empty()
    assert relay.records("D")[0]["sc"] == "bitbucket"
    assert sink.taken == []


async def test_a_held_copy_is_filed_at_once_and_released_by_its_name(start: Start, sink: Sink) -> None:
    relay = await start()
    held = Recipient(0, 0, "tcp_lmtpcs", "@store1.example.com.lmtp:bob@lmtpcs-daemon", "bob@example.com",
                     "store1.example.com.lmtp", held=True)  # fmt: skip
    await relay.put_recipients([held])
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "held")
    path = Path(copy["file"])
    assert path.suffix == ".HELD"
    assert copy["next_try"] is None
    assert sink.taken == []
    path.rename(path.with_suffix(".00"))
    await relay.retry()
    await relay.empty()
    assert sink.bodies == [BODY]


async def test_a_notice_that_cannot_be_made_durable_leaves_the_recipient(start: Start, sink: Sink) -> None:
    relay = await start()
    await relay.put("bob")
    await relay.empty()  # the worker has opened its folders
    sink.script.rcpt = lambda _: "550 5.1.1 no such user"
    body = b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n"
    body += (b"x" * 70 + b"\r\n") * 3700
    (relay.root / "data" / "journal" / "body").rmdir()
    await relay.put("bob", body=body[: (256 << 10) - 100] + b"\r\n", sender=LOCAL, ret="FULL")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    assert copy["recipients"][0]["status"]["code"] == 451
    assert relay.records("R") == []
