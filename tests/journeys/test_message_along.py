"""A message that goes along with its envelope, by BDAT: to whom, and what becomes of it where the store does not play along."""

import pytest

from support.jobs_relay import BODY, JobsRelay, Start, until
from support.lmtp_sink import EXTENSIONS, Sink

WAYS = {"BDAT", "DATA"}
DOTS = b"Subject: dots\r\n\r\n.\r\n..\r\nend"


@pytest.fixture(autouse=True)
def lists_chunking(sink: Sink) -> None:
    sink.script.extensions = (*EXTENSIONS, "CHUNKING")


def commands(sink: Sink) -> list[str]:
    return [line.split()[0] for line in sink.commands]


async def known(relay: JobsRelay) -> None:
    """The first message of a connection goes by DATA."""
    await relay.put("first")
    await relay.empty()


async def test_one_recipient_gets_it_at_once_and_as_it_is_once_the_server_is_known(start: Start, sink: Sink) -> None:
    relay = await start(maxjobs=1)
    for body in (BODY, BODY, DOTS):
        await relay.put("bob", body=body)
        await relay.empty()
    assert sink.bodies == [BODY, BODY, DOTS + b"\r\n"]
    assert [word for word in commands(sink) if word in WAYS] == ["DATA", "BDAT", "BDAT"]
    assert f"BDAT {len(DOTS) + 2} LAST" in sink.commands
    assert len(relay.records("D")) == 3


async def test_a_server_that_says_too_much_is_found_out_before_it_is_believed(start: Start, sink: Sink) -> None:
    sink.script.mail = lambda _: "250 OK\r\n250 OK"
    sink.script.final = lambda address, _: f"550 5.1.1 <{address}> no"
    relay = await start()
    await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    assert not relay.records("D")
    assert "BDAT" not in commands(sink)


async def test_several_recipients_and_large_messages_go_by_data(start: Start, sink: Sink) -> None:
    relay = await start()
    await known(relay)
    await relay.put("u0", "u1")
    await relay.put("u2", body=BODY + b"x" * 70 * 1000 + b"\r\n")
    await relay.empty()
    assert sorted(map(len, sink.bodies)) == [len(BODY), len(BODY), len(BODY) + 70_002]
    assert "BDAT" not in commands(sink)


@pytest.mark.parametrize(("listed", "keywords"), [(("PIPELINING", "CHUNKING"), "nochunkingclient"), (("CHUNKING",), "")])
async def test_where_it_is_not_wanted_data_is_sent(start: Start, sink: Sink, listed: tuple[str, ...], keywords: str) -> None:
    sink.script.extensions = listed
    relay = await start(keywords=keywords)
    await known(relay)
    await relay.put("bob")
    await relay.empty()
    assert commands(sink).count("DATA") == 2
    assert sink.bodies == [BODY, BODY]


@pytest.mark.parametrize("refusal", ["500 5.5.1 unknown", "502 no", "503 5.5.1 not now"])
async def test_a_store_that_refuses_the_command_gets_data_at_once_and_always(start: Start, sink: Sink, refusal: str) -> None:
    sink.script.bdat = refusal
    relay = await start()
    await known(relay)
    for _ in range(3):
        await relay.put("bob")
        await relay.empty()
    assert sink.bodies == [BODY] * 4
    assert [word for word in commands(sink) if word in WAYS] == ["DATA", "BDAT", "DATA", "DATA", "DATA"]
    assert "CHUNKING is listed" in relay.stderr()
    assert not relay.records("R")
    assert not relay.records("Q")


async def test_a_message_that_is_refused_is_tried_again(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, seen: "422 4.2.2 <bob> Quota" if (address, seen) == ("bob", 1) else "250 2.5.0 OK"
    relay = await start(maxjobs=1)
    await known(relay)
    await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    await relay.retry()
    await relay.empty()
    assert commands(sink).count("BDAT") == 2


async def test_a_refused_recipient_leaves_the_connection_to_the_next(start: Start, sink: Sink) -> None:
    sink.script.rcpt = lambda address: "450 4.2.1 later" if address == "u0" else "250 OK"
    relay = await start(maxjobs=1)
    await known(relay)
    await relay.put("u0")
    await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    await relay.put("u1")
    await relay.until_list(lambda copies: len(copies) == 1)
    assert [taken.addresses for taken in sink.taken] == [["first"], ["u1"]]
    assert sink.connections == 1
    assert commands(sink).count("BDAT") == 2
    assert "RSET" in commands(sink)


async def test_a_connection_that_closes_before_the_answer_to_the_message_is_a_failure(start: Start, sink: Sink) -> None:
    relay = await start()
    await known(relay)
    sink.script.final = lambda _, seen: None if seen == 1 else "250 2.5.0 OK"
    await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    assert len(sink.taken) == 2
    assert commands(sink)[-1] == "BDAT"
    await relay.retry()
    await relay.empty()
    assert len(sink.taken) == 3


async def test_who_says_too_much_a_moment_later_gets_data_from_then_on(start: Start, sink: Sink) -> None:
    relay = await start(maxjobs=1)
    await known(relay)
    sink.script.rcpt = lambda _: "250 2.1.5 OK\r\n250 2.1.5 OK"
    sink.script.wait = 0.2
    await relay.put("bob")
    await until(lambda: "reply without a command" in relay.stderr())
    sink.script.rcpt = lambda _: "250 2.1.5 OK"
    for _ in range(2):
        await relay.put("jane")
        await relay.empty()
    assert [word for word in commands(sink) if word in WAYS] == ["DATA", "BDAT", "DATA", "DATA"]
