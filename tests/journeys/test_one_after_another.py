"""Copies that follow one another over kept sessions: nothing that a server does to one of them befalls the next."""

import asyncio

import pytest

from support.jobs_relay import BODY, JobsRelay, Start, until
from support.lmtp_sink import Sink

PEOPLE = [f"u{number}" for number in range(8)]


async def pile(relay: JobsRelay, sink: Sink, *people: str, refused: str = "") -> None:
    """Copies that wait together: the first one's reply takes a while. That of `locked` never comes."""

    def rcpt(address: str) -> str:
        sink.script.wait = {"first": 0.5, "locked": 600.0}.get(address, 0.0)
        return "550 5.7.1 not here" if address == refused else "250 2.1.5 OK"

    sink.script.rcpt = rcpt
    await relay.put("first")
    await until(lambda: sink.seen)
    await asyncio.gather(*(relay.put(name) for name in people))


def settled(relay: JobsRelay) -> list[str]:
    return sorted(record["od"].removeprefix("rfc822;").partition("@")[0] for record in relay.records("D"))


async def all_delivered(relay: JobsRelay, sink: Sink) -> None:
    await relay.empty()
    await until(lambda: len(relay.records("D")) == len(PEOPLE) + 1)
    assert sorted(taken.addresses[0] for taken in sink.taken) == sorted(["first", *PEOPLE])
    assert sink.bodies == [BODY] * (len(PEOPLE) + 1)
    assert [record["ac"] for record in relay.records() if record["ac"] in "QRZK"] == []


async def test_each_arrives_once_over_kept_sessions(start: Start, sink: Sink) -> None:
    relay = await start()
    await pile(relay, sink, *PEOPLE)
    await all_delivered(relay, sink)
    assert sink.connections <= 4
    assert settled(relay) == sorted(["first", *PEOPLE])


@pytest.mark.parametrize("extra", ["550 5.1.1 no such user", "250 2.5.0 OK", "450 4.2.0 later\r\n550 5.1.1 no such user"])
async def test_a_reply_too_many_is_not_the_next_ones(start: Start, sink: Sink, extra: str) -> None:
    sink.script.final = lambda address, _: f"250 2.5.0 <{address}> OK" + (f"\r\n{extra}" if address == "u1" else "")
    relay = await start()
    await pile(relay, sink, *PEOPLE)
    await all_delivered(relay, sink)


async def test_a_server_that_leaves_after_a_message_costs_the_next_nothing(start: Start, sink: Sink) -> None:
    said: list[str] = []

    def mail(line: str) -> str:
        said.append(line)
        return "421 4.3.2 enough for now" if len(said) % 2 == 0 else "250 2.1.0 OK"

    sink.script.mail = mail
    relay = await start()
    await pile(relay, sink, *PEOPLE)
    await all_delivered(relay, sink)
    assert {record["at"] for record in relay.records("D")} == {0}


async def test_who_is_refused_is_refused_by_his_own_reply(start: Start, sink: Sink) -> None:
    relay = await start()
    await pile(relay, sink, *PEOPLE, refused="u3")
    await relay.empty()
    await until(lambda: len(relay.records("D")) >= len(PEOPLE))
    (returned,) = relay.records("R")
    assert returned["tx"] == "not here"
    assert returned["od"].startswith("rfc822;u3")
    assert [name for name in settled(relay) if name in PEOPLE] == [name for name in PEOPLE if name != "u3"]


async def test_a_locked_mailbox_does_not_hold_up_the_next(start: Start, sink: Sink) -> None:
    relay = await start()
    await pile(relay, sink, "locked", *PEOPLE)
    await until(lambda: set(PEOPLE) <= set(settled(relay)), 40)
    assert "locked" not in settled(relay)
    await sink.stop()


async def test_a_forgotten_reply_is_not_made_up_for_by_the_next_ones(start: Start, sink: Sink) -> None:
    """The server goes on reading: what it would say to a further MAIL is no reply to the body."""
    sink.script.final = lambda address, _: "" if address == "forgotten" else f"250 2.5.0 <{address}> OK"
    relay = await start()
    await pile(relay, sink, "forgotten", *PEOPLE)
    await until(lambda: set(PEOPLE) <= set(settled(relay)), 40)
    assert "forgotten" not in settled(relay)
    await sink.stop()
