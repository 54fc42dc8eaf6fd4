"""Job controller and channel worker as real processes, in front of a scripted store."""

import asyncio
from pathlib import Path

import pytest

from support.jobs_relay import BODY, Start, until
from support.lmtp_sink import EXTENSIONS, Sink


async def test_a_message_arrives_once_as_it_was_accepted(start: Start, sink: Sink) -> None:
    relay = await start()
    number = await relay.put("bob", "jane+News", body=BODY)
    await relay.empty()
    (taken,) = sink.taken
    assert taken.body == BODY
    assert taken.mail == f"MAIL FROM:<ann@example.com> SIZE={len(BODY) + 3}"
    assert taken.rcpts == ["RCPT TO:<bob> XQUOTA=1000,10 XDFLG=2", "RCPT TO:<jane+News> XQUOTA=1000,10 XDFLG=2"]
    await until(lambda: len(relay.records("D")) == 2)
    record = relay.records("D")[0]
    assert record["ei"] == number
    assert record["tx"] == "<bob> OK"
    assert record["di"].startswith("dns;store1.example.com (TCP|127.0.0.1|")
    assert record["di"].endswith("(sink LMTP) smtp;250 2.5.0 <bob> OK")
    assert relay.files() == []


async def test_after_the_chapter_s_bare_ok_everything_is_sent_unlisted(start: Start, sink: Sink) -> None:
    sink.script.extensions = None
    relay = await start()
    await relay.put("bob")
    await relay.empty()
    assert sink.taken[0].mail.endswith(f" SIZE={len(BODY) + 3}")
    assert sink.taken[0].rcpts == ["RCPT TO:<bob> XQUOTA=1000,10 XDFLG=2"]


async def test_a_server_that_lists_nothing_of_ours_is_sent_nothing_of_ours(start: Start, sink: Sink) -> None:
    sink.script.extensions = ("PIPELINING", "IGNOREQUOTA", "8BITMIME")
    relay = await start()
    await relay.put("bob", eight_bit=True)
    await relay.empty()
    assert sink.taken[0].mail == "MAIL FROM:<ann@example.com> BODY=8BITMIME"
    assert sink.taken[0].rcpts == ["RCPT TO:<bob> IGNOREQUOTA"]


async def test_a_recipient_has_the_same_xqid_at_every_try(start: Start, sink: Sink) -> None:
    sink.script.extensions = ("PIPELINING", "XQID")
    sink.script.final = lambda address, seen: f"420 4.2.0 <{address}> x" if (address, seen) == ("u1", 1) else "250 2.5.0 OK"
    relay = await start()
    number = await relay.put("u0", "u1")
    await relay.empty()
    first, second = sink.taken
    assert first.mail == "MAIL FROM:<ann@example.com>"
    assert first.rcpts == [f"RCPT TO:<u0> XQID={number}.0", f"RCPT TO:<u1> XQID={number}.1"]
    assert second.rcpts == first.rcpts[1:]


async def test_imap_flags_go_where_they_are_listed(start: Start, sink: Sink) -> None:
    sink.script.extensions = ("PIPELINING", "XFLAGS")
    relay = await start()
    await relay.put("u0", imap_flags="\\Seen,$Work")
    await relay.put("u1")
    await relay.empty()
    assert sorted(each.rcpts[0] for each in sink.taken) == ["RCPT TO:<u0> XFLAGS=\\Seen,$Work", "RCPT TO:<u1>"]


async def test_imap_flags_do_not_go_elsewhere(start: Start, sink: Sink) -> None:
    sink.script.extensions = None
    relay = await start()
    await relay.put("u0", imap_flags="\\Seen")
    await relay.empty()
    assert sink.taken[0].rcpts == ["RCPT TO:<u0> XQUOTA=1000,10 XDFLG=2"]


async def test_a_large_body_with_dots_is_streamed_unchanged(start: Start, sink: Sink) -> None:
    relay = await start()
    body = b"Subject: big\r\n\r\n" + b".dots\r\n..\r\n.\r\nplain line of text\r\n" * 7000
    await relay.put("bob", body=body)
    await relay.empty()
    assert sink.bodies == [body]


@pytest.mark.parametrize("replies", [0, 1, 2])
async def test_only_own_replies_settle(start: Start, sink: Sink, replies: int) -> None:
    users = ["u0", "u1", "u2"]
    sink.script.final = lambda address, _: (
        None if len(sink.taken) == 1 and users.index(address) >= replies else f"250 2.5.0 <{address}> OK"
    )
    relay = await start()
    await relay.put(*users)
    if replies:  # a partial failure: one immediate retry
        await relay.empty()
        await until(lambda: len(relay.records("Z")) == 3 - replies)
    else:
        copies = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
        assert [r["original"] for r in copies[0]["recipients"]] == [f"{user}@example.com" for user in users[replies:]]
        assert copies[0]["recipients"][0]["status"]["enhanced"] == "4.4.2"
        await relay.retry()
        await relay.empty()
    assert [sink.seen[user] for user in users[:replies]] == [1] * replies
    assert sink.taken[1].addresses == users[replies:]


async def test_a_deferred_copy_is_filed_and_the_file_goes_when_it_is_delivered(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, seen: f"422 4.2.2 <{address}> Quota Exceeded" if seen == 1 else "250 2.5.0 OK"
    relay = await start()
    number = await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    assert copy["id"] == number
    assert copy["attempts"] == 1
    assert copy["next_try"] > copy["enqueued"]
    assert copy["size"] == len(BODY)
    assert copy["recipients"] == [
        {
            "id": 0, "address": "@store1.example.com.lmtp:bob@lmtpcs-daemon", "original": "bob@example.com",
            "status": {"code": 422, "enhanced": "4.2.2", "text": "<bob> Quota Exceeded"},
        }
    ]  # fmt: skip
    (file,) = relay.files()
    assert file.startswith("tcp_lmtpcs/0")
    assert f"/ZY{number}" in file
    assert b";0;0;4.2.2;422;<bob> Quota Exceeded;" in Path(copy["file"]).read_bytes(), "the reason is in its history"
    assert copy["file"].endswith(file)
    assert await relay.retry() == 1
    await relay.empty()
    assert relay.files() == []
    assert sink.bodies == [BODY, BODY]
    assert [line for taken in sink.taken for line in taken.rcpts] == [
        "RCPT TO:<bob> XQUOTA=1000,10 XDFLG=2",
        "RCPT TO:<bob> XDFLG=2",
    ], "a quota is told once: the retry must not undo a newer one"
    assert relay.records("Q")[0]["tx"] == "<bob> Quota Exceeded"


async def test_a_second_deferral_renames_the_file_and_keeps_history(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: f"430 4.3.0 <{address}> IMAP IOERROR"
    relay = await start()
    number = await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    await relay.retry()
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 2)
    assert f"/ZX{number}" in copy["file"]
    await until(lambda: b";430;" in Path(copy["file"]).read_bytes())


@pytest.mark.parametrize("refusal", ["452 4.5.3 Too many recipients specified", "452 too many", "552 5.5.3 too many"])
async def test_a_store_that_takes_few_recipients_at_a_time_has_the_others_at_once(start: Start, sink: Sink, refusal: str) -> None:
    """Not one transaction for each interval of the backoff (RFC 5321 4.5.3.1.10)."""
    taken: list[str] = []

    def mail(_line: str) -> str:
        taken.clear()
        return "250 2.1.0 OK"

    def rcpt(address: str) -> str:
        taken.append(address)
        return "250 2.1.5 OK" if len(taken) <= 3 else refusal

    sink.script.mail, sink.script.rcpt = mail, rcpt
    relay = await start(backoff='"pt1h"')
    await relay.put(*(f"u{number}" for number in range(10)))
    await relay.empty()
    assert [len(each.rcpts) for each in sink.taken] == [3, 3, 3, 1]
    assert set(sink.seen.values()) == {1}
    assert len(sink.seen) == 10


async def test_busy_is_retried_soon_unless_switched_off(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, seen: f"420 4.2.0 <{address}> Mailbox Locked" if seen == 1 else "250 2.5.0 OK"
    relay = await start()
    await relay.put("bob")
    await relay.empty(25)
    assert sink.seen == {"bob": 2}
    assert relay.files() == []


async def test_busy_waits_the_backoff_when_fast_retry_is_off(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: f"420 4.2.0 <{address}> Mailbox Locked"
    relay = await start(channel_option="MAILBOX_BUSY_FAST_RETRY=0\n")
    await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")


async def test_message_too_big_is_counted_again_once_then_returned(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, seen: "500 message too big" if seen == 1 else f"250 2.5.0 <{address}> OK"
    relay = await start()
    body = BODY + b".a\r\n.b\r\n"
    await relay.put("bob", body=body, wire_growth=0)
    await relay.empty()
    sizes = [taken.mail.rpartition("SIZE=")[2] for taken in sink.taken]
    assert sizes == [str(len(body) + 2), str(len(body) + 5)]


async def test_a_store_that_refuses_our_relay_never_bounces_mail(start: Start, sink: Sink) -> None:
    sink.script.greeting = "500 Do not connect to this machine"
    relay = await start()
    await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    assert copy["recipients"][0]["status"]["enhanced"] == "4.3.2"
    await until(lambda: "PORT_ACCESS" in relay.stderr())
    sink.script.greeting = "220 sink LMTP"
    await relay.retry()
    await relay.empty()


async def test_an_address_outside_ascii_is_not_sent_to_a_server_without_smtputf8(start: Start, sink: Sink) -> None:
    sink.script.extensions = ("PIPELINING", "8BITMIME")
    relay = await start()
    await relay.put("jörg", "bob", utf8=True)
    await relay.empty()
    await until(lambda: any(taken.addresses == ["bob"] for taken in sink.taken))
    assert not any("rg" in address for taken in sink.taken for address in taken.addresses)
    await until(lambda: any(record["en"] == "5.6.7" for record in relay.records("R")))


async def test_smtputf8_is_said_where_an_address_wants_it_though_the_client_did_not(start: Start, sink: Sink) -> None:
    relay = await start()
    for name in ("jörg", "bob"):
        await relay.put(name)
        await relay.empty()
    assert [taken.mail.endswith(" SMTPUTF8") for taken in sink.taken] == [True, False]


@pytest.mark.parametrize("listed", [EXTENSIONS, (*EXTENSIONS, "CHUNKING")], ids=["by DATA", "along, by BDAT"])
async def test_a_kept_session_that_is_closed_costs_nothing(start: Start, sink: Sink, listed: tuple[str, ...]) -> None:
    sink.script.extensions = listed
    relay = await start()
    await relay.put("bob")
    await relay.empty()
    sink.script.close = frozenset({"mail"})
    await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    assert sink.connections == 2
    sink.script.close = frozenset()
    await relay.retry()
    await relay.empty()
    assert len(sink.taken) == 2


async def test_sessions_are_kept(start: Start, sink: Sink) -> None:
    relay = await start()
    for _ in range(30):
        await relay.put("bob")
    await relay.empty()
    assert len(sink.taken) == 30
    assert sink.connections <= 4


async def test_maxjobs_times_client_threads_bounds_the_sessions(start: Start, sink: Sink) -> None:
    sink.script.wait = 0.02
    relay = await start(maxjobs=1, threaddepth=1, channel_option="MAX_CLIENT_THREADS=2\n")
    await asyncio.gather(*(relay.put(f"u{number}") for number in range(60)))
    await relay.empty()
    assert len(sink.taken) == 60
    assert sink.most_open == 2
