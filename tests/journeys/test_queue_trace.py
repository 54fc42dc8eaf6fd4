"""The time line of one message: failures and their notices, warnings, held and released mail, under every name it has."""

from pathlib import Path
from typing import Any

from posthouse.mail.envelope import Recipient
from posthouse.trace.record import Action
from posthouse.trace.time_line import time_line
from support.jobs_relay import JobsRelay, Start, until
from support.lmtp_sink import Sink

LOCAL = "ann@example.com"


def line(relay: JobsRelay, wanted: str) -> list[tuple[str, str, str]]:
    """Action, channel dequeued or enqueued from, and to."""
    return [(str(r.ac), r.sc, r.dc) for r in time_line(relay.root / "log", wanted)]


async def test_the_notice_stands_in_the_time_line_of_what_it_is_about(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: (
        "511 5.1.1 <{}> mailbox nonexistent" if address == "x" else "250 2.5.0 <{}> OK"
    ).format(address)
    relay = await start()
    number = await relay.put("x", sender=LOCAL)
    other = await relay.put("bob")
    await relay.empty()
    await until(lambda: len(relay.records("D")) == 3)
    chain = [
        ("E", "tcp_lmtpcs", "process"), ("R", "tcp_lmtpcs", ""), ("E", "process", "tcp_lmtpcs"), ("D", "process", ""),
        ("D", "tcp_lmtpcs", ""),
    ]  # fmt: skip
    assert sorted(line(relay, number)) == sorted(chain)
    told = {record.ei for record in time_line(relay.root / "log", number)}
    assert len(told) == 3, "the message, its notice, the notice on its way to the sender's store"
    assert other not in told
    for name in told:
        assert sorted(line(relay, name)) == sorted(chain), "whichever of them is asked for"
    (failed,) = relay.records("R")
    assert failed["re"] == "Remote SMTP server has rejected address"
    assert failed["fi"] == str(
        relay.root / "data" / "queue" / "tcp_lmtpcs" / Path(failed["fi"]).parent.name / f"ZZ{number}0000.00"
    )
    assert max(line(relay, f"<{number}@example.org>")) == ("R", "tcp_lmtpcs", "")
    text = (relay.root / "log" / "mail.log_current").read_text().splitlines()
    (enqueued,) = (each for each in text if each[24:].startswith("tcp_lmtpcs   process      E "))
    assert enqueued.endswith(f",<{number}@example.org>")


async def test_warning_and_return_say_what_the_store_said_to_each(start: Start, sink: Sink) -> None:
    said = {"bob": "422 4.2.2 <bob> Quota Exceeded", "jane": "420 4.2.0 <jane> Mailbox Bad Formats"}
    sink.script.final = lambda address, _: said.get(address, "250 2.5.0 OK")
    relay = await start(notices="1 4", units=3)
    number = await relay.put("bob", "jane", sender=LOCAL)
    await until(lambda: len([t for t in sink.taken if t.addresses == ["ann"]]) == 2)
    await relay.empty()
    warning, final = (t.body.decode() for t in sink.taken if t.addresses == ["ann"])
    for text in (warning, final):
        status = text.partition("Reporting-MTA")[2].partition("--Boundary")[0]
        assert [each for each in status.splitlines() if each.startswith("Diagnostic-Code")] == [
            f"Diagnostic-Code: smtp;{reply}" for reply in said.values()
        ]
        assert "-daemon" not in text
        assert ".lmtp" not in text
    assert "Will-Retry-Until: " in warning
    assert "Status: 5.4.7 (Delivery time expired)" in final
    warned = relay.records("W")
    assert [(record["co"], record["tx"]) for record in warned] == [
        (422, "<bob> Quota Exceeded"),
        (420, "<jane> Mailbox Bad Formats"),
    ]
    assert all(number in record["fi"] for record in warned)
    assert [record["re"] for record in relay.records("R")] == ["Delivery time expired"] * 2
    shown = [record.ac for record in time_line(relay.root / "log", number) if record.ei == number]
    assert shown == [Action.DEFERRED] * 2 + [Action.WARNED] * 2 + [Action.RETURNED] * 2


async def test_mail_on_hold_is_traced_through_its_release(start: Start, sink: Sink) -> None:
    relay = await start()
    held = Recipient(0, 0, "hold", f"@hold-daemon:{LOCAL}", LOCAL, "hold-daemon", held=True)
    number = await relay.put_recipients([held])
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "held")
    assert line(relay, number) == [("H", "hold", "")]
    path = Path(copy["file"])
    assert line(relay, path.name) == [("H", "hold", "")]
    path.rename(path.with_suffix(".00"))
    await relay.retry()
    await relay.empty()
    await until(lambda: len(relay.records("D")) == 2)
    assert sorted(line(relay, number)) == sorted([
        ("H", "hold", ""), ("E", "hold", "tcp_lmtpcs"), ("D", "hold", ""), ("D", "tcp_lmtpcs", ""),
    ])  # fmt: skip
    assert sink.taken[0].addresses == ["ann"]


async def test_deferrals_say_how_much_was_transferred(start: Start, sink: Sink) -> None:
    sink.script.rcpt = lambda address: "452 4.2.2 later" if address == "early" else "250 2.1.5 OK"
    sink.script.final = lambda address, _: f"422 4.2.2 <{address}> Quota Exceeded"
    relay = await start()
    await relay.put("early")
    await relay.put("late")
    await until(lambda: len(relay.records("Q")) == 2)
    sizes: dict[str, Any] = {record["od"]: record.get("sz", 0) for record in relay.records("Q")}
    assert sizes == {"rfc822;early@example.com": 0, "rfc822;late@example.com": 1}


async def test_a_notice_of_what_was_never_sent_does_not_blame_the_server(start: Start, sink: Sink) -> None:
    sink.script.extensions = ("PIPELINING", "8BITMIME")
    relay = await start()
    await relay.put("j\u00f6rg", sender=LOCAL, utf8=True)
    await until(lambda: sink.taken)
    await relay.empty()
    text = sink.taken[0].body.decode()
    assert "Reason: the next system does not take internationalized addresses" in text
    assert "Status: 5.6.7 " in text
    assert "Remote-MTA" not in text
    assert "Remote system" not in text
    assert relay.records("R")[0]["re"] == "the next system does not take internationalized addresses"
