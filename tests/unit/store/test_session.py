"""One LMTP connection to the store: parameters, large bodies, deadlines, draining, the log."""

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from posthouse.config.instance import Instance
from posthouse.store.lmtp_server import __main__ as lmtp_worker
from posthouse.store.native import __main__ as native_worker
from posthouse.trace.time_line import time_line
from support.store_files import LmtpTalk, running_store, store_instance

GOOD = b"Subject: hello\r\nMessage-ID: <m1@example.org>\r\n\r\ntext\r\n"
STORED = b"Return-Path: <s@example.org>\nSubject: hello\nMessage-ID: <m1@example.org>\n\ntext\n"


def messages(root: Path, owner: str, folder: str = "") -> list[bytes]:
    new = root / "data" / "store" / "primary" / owner / folder / "new"
    return [path.read_bytes() for path in new.iterdir()] if new.exists() else []


async def test_extensions_are_those_that_are_built(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path, "local.hostname = store1.example.com")) as (_, port):
        client = await LmtpTalk.connect(port, "")
        client.writer.write(b"LHLO relay1\r\n")
        lines: list[bytes] = []
        while not lines or lines[-1][3:4] == b"-":
            lines.append((await client.reader.readline()).rstrip())
        assert {line[4:] for line in lines[1:]} == {
            b"PIPELINING", b"ENHANCEDSTATUSCODES", b"8BITMIME", b"SMTPUTF8", b"SIZE 52428800", b"CHUNKING", b"IGNOREQUOTA",
            b"XQUOTA", b"XDFLG", b"XQID", b"XFLAGS",
        }  # fmt: skip
        await client.close()


async def test_lhlo_extensions_0_answers_every_lhlo_as_the_chapter_prints_it(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path, options="LHLO_EXTENSIONS=0\n")) as (_, port):
        client = await LmtpTalk.connect(port, "")
        assert await client.say("LHLO relay1") == "250 OK"
        await client.close()


@pytest.mark.parametrize(
    "parameters",
    ["XQUOTA=x", "XQUOTA=1,2,3", "XQUOTA", "XQUOTA=-5,0", "XDFLG=x", "XDFLG", "XDFLG=-1", "XDFLG=" + "9" * 30],
)
async def test_malformed_parameters_are_501(tmp_path: Path, parameters: str) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.say("MAIL FROM:<s@example.org>")
        assert (await client.say(f"RCPT TO:<bob> {parameters}")).startswith("501 5.5.4 ")
        assert (await client.say("RCPT TO:<bob> xquota=100K,5 XDFLG=4294967296 IGNOREQUOTA")).startswith("250")
        await client.close()


async def test_an_xdflg_with_unknown_bits_is_accepted_and_large_bodies_stream(tmp_path: Path) -> None:
    lines = [b"%d" % number + b"y" * 60 for number in range(9000)]
    large = b"Subject: x\r\nMessage-ID: <big@x>\r\n\r\n" + b"\r\n".join([*lines, b".dot", b"bare\rcr"]) + b"\r\n"
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        answers = await client.deliver(large, "<bob>", "<sue> xdflg=16", "<../x>", "<tim+F> xdflg=1", "<bob>")
        assert [answer[:3] for answer in answers] == ["250", "250", "511", "250", "250"]
        # A streamed message that is at fault leaves nothing behind.
        assert (await client.deliver(large + b"\0\r\n", "<bob>")) == ["560 5.6.0 <bob> message contains null"]
        await client.close()
    stored = b"Return-Path: <s@example.org>\n" + large.replace(b"\r\n", b"\n")
    assert [messages(tmp_path, *place) for place in (("bob",), ("sue",), ("tim", ".F"))] == [[stored] * 2, [stored], [stored]]
    assert not list((tmp_path / "data" / "store" / "primary").glob("*/tmp/*"))
    records = [json.loads(line) for line in (tmp_path / "log" / "transactions.jsonl").read_text().splitlines()]
    assert {record["mi"] for record in records} == {"<big@x>"}
    assert all(bool(record.get("fi")) == (record["co"] == 250) for record in records), "the file's name, of those that have one"


async def test_a_client_that_goes_away_within_a_large_body_leaves_nothing(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (program, port):
        client = await LmtpTalk.connect(port)
        await client.say("MAIL FROM:<s@example.org>")
        await client.say("RCPT TO:<bob>")
        await client.say("DATA")
        client.writer.write(b"Subject: x\r\n\r\n" + b"z" * 800_000)
        await client.writer.drain()
        tmp = tmp_path / "data" / "store" / "primary" / "bob" / "tmp"
        while not (tmp.exists() and list(tmp.iterdir())):
            await asyncio.sleep(0.01)
        client.writer.close()
        while program.sessions:
            await asyncio.sleep(0.01)
        assert not list(tmp.iterdir())
        assert program.delivery.gathering.expected == 0


async def test_pipelined_transactions_are_answered_in_order(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        one = b"MAIL FROM:<s@example.org>\r\nRCPT TO:<bob>\r\nRCPT TO:<../x>\r\nDATA\r\n" + GOOD + b".\r\n"
        client.writer.write(one * 3 + b"QUIT\r\n")
        replies = (await client.reader.read()).decode().splitlines()
        round_trip = ["250 2.1.0 OK", "250 2.1.5 OK", "250 2.1.5 OK", replies[3]]
        finals = ["250 2.5.0 <bob> OK", "511 5.1.1 <../x> mailbox nonexistent"]
        assert replies == [*round_trip, *finals] * 3 + ["221 2.0.0 OK"]
        client.writer.close()
    assert messages(tmp_path, "bob") == [STORED] * 3


async def test_bdat_stores_what_data_stores(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.say("MAIL FROM:<s@example.org>")
        await client.say("RCPT TO:<bob>")
        half = len(GOOD) // 2
        client.writer.write(b"BDAT %d\r\n" % half + GOOD[:half])
        assert (await client.reply()).startswith("250")
        client.writer.write(b"BDAT %d LAST\r\n" % (len(GOOD) - half) + GOOD[half:])
        assert await client.reply() == "250 2.5.0 <bob> OK"
        await client.close()
    assert messages(tmp_path, "bob") == [STORED]


async def test_who_names_an_xqid_and_sends_the_message_along_hears_all_replies_together(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        for params, pieces in ((b"", 2), (b" XQID=A.0", 1)):
            read: list[bytes] = []
            client.writer.write(b"MAIL FROM:<s@example.org>\r\nRCPT TO:<bob>%b\r\nBDAT %d LAST\r\n" % (params, len(GOOD)) + GOOD)
            while b"".join(read).count(b"\n") < 3:
                read.append(await client.reader.read(4096))
            assert b"".join(read) == b"250 2.1.0 OK\r\n250 2.1.5 OK\r\n250 2.5.0 <bob> OK\r\n"
            assert len(read) == pieces
        await client.close()
    assert messages(tmp_path, "bob") == [STORED] * 2


async def test_a_final_reply_does_not_wait_for_the_message_behind_it(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        assert await client.deliver(GOOD, "<bob>", "<amy>") == ["250 2.5.0 <bob> OK", "250 2.5.0 <amy> OK"]
        lock = os.open(tmp_path / "data" / "store" / "primary" / "amy" / ".lmtp-lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        for owner in (b"bob", b"amy"):
            rcpt = b"RCPT TO:<%b> XQID=A.%b\r\n" % (owner, owner)
            client.writer.write(b"MAIL FROM:<s@example.org>\r\n" + rcpt + b"BDAT %d LAST\r\n" % len(GOOD) + GOOD)
        assert [await client.reply() for _ in range(3)][-1] == "250 2.5.0 <bob> OK"
        os.close(lock)
        assert [await client.reply() for _ in range(3)][-1] == "250 2.5.0 <amy> OK"
        await client.close()


@pytest.mark.parametrize("body", [b".dots\r\n.\r\n..\r\n", b"a\r\n.\r\nQUIT\r\n", b"no end\r\n." * 9000 + b"\r\n"])
async def test_dots_in_a_chunk_are_the_messages_own(tmp_path: Path, body: bytes) -> None:
    message = b"Subject: dots\r\n\r\n" + body
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.say("MAIL FROM:<s@example.org>")
        await client.say("RCPT TO:<bob>")
        client.writer.write(b"BDAT %d LAST\r\n" % len(message) + message)
        assert await client.reply() == "250 2.5.0 <bob> OK"
        await client.close()
    assert messages(tmp_path, "bob") == [b"Return-Path: <s@example.org>\n" + message.replace(b"\r\n", b"\n")]


async def test_messages_of_several_clients_that_come_together_have_a_result_each(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        clients = [await LmtpTalk.connect(port) for _ in range(12)]
        for number, client in enumerate(clients):
            body = GOOD if number % 3 else b"no header"
            rcpt = b"<u%d>" % (number % 4) if number % 5 else b"<../x>"
            client.writer.write(b"MAIL FROM:<s@example.org>\r\nRCPT TO:%b\r\nBDAT %d LAST\r\n" % (rcpt, len(body)) + body)
        codes = []
        for client in clients:
            assert [(await client.reply())[:3] for _ in range(2)] == ["250", "250"]
            codes.append((await client.reply())[:3])
            await client.close()
    assert codes == ["560", "250", "250", "560", "250", "511", "560", "250", "250", "560", "511", "250"]
    assert sorted(len(messages(tmp_path, f"u{number}")) for number in range(4)) == [1, 1, 2, 2]


async def test_the_null_sender_and_odd_ones_are_kept_octet_for_octet(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        for sender in ("<>", '<"odd one"@x>', "<jürgen@exämple.org>"):
            assert await client.deliver(GOOD, "<bob>", sender=sender) == ["250 2.5.0 <bob> OK"]
        await client.close()
    heads = {message.partition(b"\n")[0] for message in messages(tmp_path, "bob")}
    assert heads == {b"Return-Path: <>", b'Return-Path: <"odd one"@x>', "Return-Path: <jürgen@exämple.org>".encode()}


async def test_a_silent_client_is_told_421(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (program, port):
        client = await LmtpTalk.connect(port)
        (session,) = program.sessions
        assert session.deadline - program.loop.time() == pytest.approx(600, abs=5)
        await client.say("MAIL FROM:<s@example.org>")
        program.settings = replace(program.settings, command_seconds=-1)
        program.sweep()
        assert await client.reply() == "421 4.4.2 connection timed out"
        assert await client.reader.read() == b""
        client.writer.close()


@pytest.mark.parametrize("begun", [False, True])
async def test_who_leaves_a_transaction_standing_is_idle_when_others_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    async with running_store(store_instance(tmp_path)) as (program, port):
        client = await LmtpTalk.connect(port)
        await client.say("MAIL FROM:<s@example.org>")
        await client.say("RCPT TO:<bob>")
        if begun:
            assert (await client.say("DATA")).startswith("354")
        (session,) = program.sessions
        assert session.idle_since() is None
        session.shed()  # too early: it is not cut off
        program.sweep()
        assert session.idle_since() is None
        monkeypatch.setattr("posthouse.store.lmtp_server.session.PATIENCE", -1.0)
        assert session.idle_since() is not None
        program.sweep()
        assert (await client.reply()).startswith("421 ")
        assert await client.reader.read() == b""
        client.writer.close()


async def test_draining_finishes_the_transaction_first(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (program, port):
        client = await LmtpTalk.connect(port)
        assert await client.say("MAIL FROM:<s@example.org>") == "250 2.1.0 OK"
        (session,) = program.sessions
        assert session.idle_since() is None
        session.shed()
        await client.say("RCPT TO:<bob>")
        await client.say("DATA")
        client.writer.write(GOOD + b".\r\n")
        assert await client.reply() == "250 2.5.0 <bob> OK"
        assert (await client.reply()).startswith("421 4.3.2")
        assert await client.reader.read() == b""
        client.writer.close()


async def test_the_relays_id_of_a_message_finds_it_in_the_stores_log(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, *(f"<{uid}> XQID=2AH9WR82V5LM4U708G.{n}" for uid, n in (("bob", 0), ("sue", 12))))
        await client.deliver(GOOD, "<tim> XQID=other", "<jo>")
        await client.close()
    records = [json.loads(line) for line in (tmp_path / "log" / "transactions.jsonl").read_text().splitlines()]
    assert [(record.get("ei", ""), record.get("ri", -1)) for record in records] == [
        ("2AH9WR82V5LM4U708G", 0), ("2AH9WR82V5LM4U708G", 12), ("", -1), ("", -1),
    ]  # fmt: skip
    assert len(time_line(tmp_path / "log", "2AH9WR82V5LM4U708G")) == 2


async def test_every_recipient_has_one_line_in_both_logs(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, "<Bob>", "<sue@hosted.example.org> xquota=-1,0", "<../x>")
        await client.close()
    records = [json.loads(line) for line in (tmp_path / "log" / "transactions.jsonl").read_text().splitlines()]
    assert [(r["ac"], r["mo"], r["sc"], r.get("de", ""), r["co"], r["mi"]) for r in records] == [
        ("D", "L", "tcp_lmtpss", "user/bob", 250, "<m1@example.org>"),
        ("R", "L", "tcp_lmtpss", "user/sue@hosted.example.org", 522, "<m1@example.org>"),
        ("R", "L", "tcp_lmtpss", "", 511, "<m1@example.org>"),
    ]
    text = (tmp_path / "log" / "mail.log_current").read_text().splitlines()
    assert len(text) == 3
    assert text[0].endswith("smtp;250 2.5.0 <Bob> OK")


async def test_reload_takes_effect_and_a_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    async with running_store(instance) as (program, port):
        client = await LmtpTalk.connect(port)
        store_instance(tmp_path, "store.defaultmessagequota = 0", "store.autocreate = 0")
        await program.reload()
        assert await client.deliver(GOOD, "<bob>") == ["511 5.1.1 <bob> mailbox nonexistent"]
        store_instance(tmp_path, "store.defaultmessagequota = many")
        with pytest.raises(Exception, match="defaultmessagequota"):
            await program.reload()
        assert await client.deliver(GOOD, "<bob>") == ["511 5.1.1 <bob> mailbox nonexistent"]
        await client.close()


async def test_a_clean_stop_leaves_no_segment_and_a_crash_one_that_the_next_start_replays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    instance = store_instance(tmp_path)
    async with running_store(instance) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, "<bob>", "<sue+A> xdflg=1")
        await client.close()
        kept = [(path, path.read_bytes()) for path in instance.journal.glob("*.seg")]
    assert not list(instance.journal.iterdir())
    # As if the machine had stopped: the segment is there, one file empty, one gone.
    for path, octets in kept:
        path.write_bytes(octets)
    (bob,) = (instance.store / "primary" / "bob" / "new").iterdir()
    bob.write_bytes(b"")
    (sue,) = (instance.store / "primary" / "sue" / ".A" / "new").iterdir()
    sue.unlink()
    with caplog.at_level(logging.WARNING):
        async with running_store(instance):
            assert "recovered" in caplog.text
            assert bob.read_bytes() == sue.read_bytes() == STORED
            assert not set(instance.journal.iterdir()) & {path for path, _ in kept}


@pytest.mark.parametrize("make", [lmtp_worker.make, native_worker.make], ids=["lmtp", "native"])
async def test_only_a_worker_of_its_own_closes_its_process_to_others(
    tmp_path: Path, make: Callable[[Instance, str, str], object]
) -> None:
    """In a test's process a store leaves the mask of new files alone; the program of a worker is made with 077."""
    before = os.umask(0o022)
    try:
        async with running_store(store_instance(tmp_path)):
            assert os.umask(0o022) == 0o022
        make(Instance(tmp_path), "LMTPSS", "tcp_lmtpss")
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)
