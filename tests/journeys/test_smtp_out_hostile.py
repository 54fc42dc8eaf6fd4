"""Servers of the world that misbehave: mail is delivered once, waits, or is returned with the reason; nothing else goes wrong."""

import asyncio
import os
import signal

import pytest

from support.jobs_relay import BODY, until
from support.smtp_out import StartOut, own_status, put
from support.smtp_sink import SmtpScript, SmtpSink

QUICK = "\n".join(
    f"{name}=0.02" if not name.endswith("_ADDR_TIME") else f"{name}=0"
    for name in ("STATUS_RECEIVE_TIME", "STATUS_MAIL_RECEIVE_TIME", "STATUS_RCPT_RECEIVE_TIME", "STATUS_DATA_RECEIVE_TIME",
                 "DATA_TRANSMIT_TIME", "CONNECT_TIME", "STATUS_DATA_RECV_PER_ADDR_TIME")
)  # fmt: skip

FORGED = b"450-4.2.0 a\r\n450-4.2.0 k;D0\r\n450-4.2.0 H;1;2;bob;5.0.0;550;x\r\n450 4.2.0 \xff\x00\x1b[31m\\n\r\n"
DELAYS: dict[str, tuple[SmtpScript, str]] = {
    "greets with 4yz": (SmtpScript(greeting="450 4.7.1 not now"), "450 4.7.1"),
    "greets with 250": (SmtpScript(greeting="250 2.0.0 taken"), "451 4.5.0"),
    "greets with 354": (SmtpScript(greeting="354 go"), "451 4.5.0"),
    "354 at both hellos": (SmtpScript(raw={"hello": b"354 go\r\n"}), "451 4.5.0"),
    "greets with garbage": (SmtpScript(raw={"greeting": b"\x16\x03\x01\x00\x05hello\r\n"}), "451 4.5.0"),
    "greets without end": (SmtpScript(raw={"greeting": b"220-" + b"x" * 1_000_000}), "451 4.5.0"),
    "greets in too many lines": (SmtpScript(raw={"greeting": b"220-x\r\n" * 100_000}), "451 4.5.0"),
    "is silent at the greeting": (SmtpScript(hang=frozenset({"greeting"})), "451 4.4.2"),
    "closes at the greeting": (SmtpScript(close=frozenset({"greeting"})), "451 4.4.2"),
    "refuses both hellos for now": (SmtpScript(raw={"hello": b"451 4.3.0 later\r\n"}), "451 4.3.0"),
    "is silent at MAIL": (SmtpScript(hang=frozenset({"mail"})), "451 4.4.2"),
    "closes at MAIL": (SmtpScript(close=frozenset({"mail"})), "451 4.4.2"),
    "421 at MAIL": (SmtpScript(mail=lambda _: "421 4.7.0 too many"), "421 4.7.0"),
    "greylists": (SmtpScript(mail=lambda _: "451 4.7.1 greylisted"), "451 4.7.1"),
    "354 at MAIL": (SmtpScript(mail=lambda _: "354 go"), "451 4.5.0"),
    "garbage at RCPT": (SmtpScript(raw={"rcpt": b"yes\r\n"}), "451 4.5.0"),
    "too many replies": (SmtpScript(raw={"mail": b"250 ok\r\n" * 50}), "451 4.5.0"),
    "closes at DATA": (SmtpScript(close=frozenset({"data"})), "451 4.4.2"),
    "250 at DATA": (SmtpScript(data="250 ok"), "451 4.5.0"),
    "4yz at DATA": (SmtpScript(data="451 4.3.0 no room"), "451 4.3.0"),
    "closes in the body": (SmtpScript(close=frozenset({"body"})), "451 4.4.2"),
    "closes after the dot": (SmtpScript(final=lambda _: None), "451 4.4.2"),
    "is silent after the dot": (SmtpScript(hang=frozenset({"final"})), "451 4.4.2"),
    "354 after the dot": (SmtpScript(final=lambda _: "354 more"), "451 4.5.0"),
    "4yz after the dot": (SmtpScript(final=lambda _: "452 4.3.1 full"), "452 4.3.1"),
    "421 after the dot": (SmtpScript(final=lambda _: "421 4.3.2 going"), "421 4.3.2"),
    "a reply that never ends": (SmtpScript(raw={"final": b"250-" + b"yes " * 200_000}), "451 4.5.0"),
    "a reply that looks like a queue file": (SmtpScript(raw={"final": FORGED}), "450 4.2.0"),
    "half a reply": (SmtpScript(raw={"final": b"250 2.0.0 ta"}), "451 4.4.2"),
}

RETURNS: dict[str, tuple[SmtpScript, str]] = {
    "5yz greeting": (SmtpScript(greeting="554 5.7.1 no"), "554 5.7.1"),
    "521 greeting": (SmtpScript(greeting="521 takes no mail"), "521 "),
    "5yz at both hellos": (SmtpScript(raw={"hello": b"550 5.7.1 who are you\r\n"}), "550 5.7.1"),
    "5yz at MAIL": (SmtpScript(mail=lambda _: "550 5.7.1 bad sender"), "550 5.7.1"),
    "5yz at RCPT": (SmtpScript(rcpt=lambda _: "550 5.1.1 unknown\u00e9"), "550 5.1.1"),
    "5yz at DATA": (SmtpScript(data="554 5.6.0 no"), "554 5.6.0"),
    "5yz in octets that are no text": (SmtpScript(raw={"final": b"550 5.7.1 \xff\x00\x07\r\n"}), "550 5.7.1"),
    "5yz after the dot": (SmtpScript(final=lambda _: "550 5.7.1 spam"), "550 5.7.1"),
    "a reply with a forged notice": (SmtpScript(rcpt=lambda _: "550-5.1.1 x\r\n550 5.1.1 Action: delivered"), "550 5.1.1"),
}


@pytest.mark.parametrize("name", DELAYS)
async def test_mail_waits_and_is_delivered_when_the_server_behaves(out: StartOut, world: SmtpSink, name: str) -> None:
    world.script, status = DELAYS[name]
    relay = await out(option=QUICK)
    await put(relay, "bob@remote.test", "jane@remote.test")
    copies = await relay.until_list(lambda copies: own_status(copies) and copies[0]["state"] == "file")
    assert own_status(copies) == dict.fromkeys(("bob@remote.test", "jane@remote.test"), status)
    assert relay.records("R") == relay.records("D") == []
    world.script = SmtpScript()
    await relay.retry()
    await relay.empty()
    assert world.bodies[-1] == BODY
    assert world.taken[-1].addresses == ["bob@remote.test", "jane@remote.test"]
    assert len(relay.records("D")) == 2


@pytest.mark.parametrize("name", RETURNS)
async def test_mail_is_returned_with_the_server_s_words(out: StartOut, world: SmtpSink, name: str) -> None:
    world.script, status = RETURNS[name]
    relay = await out(option=QUICK)
    await put(relay, "bob@remote.test")
    await until(lambda: relay.records("R"))
    (record,) = relay.records("R")
    assert f"{record['co']} {record.get('en', '')}" == status
    assert relay.records("D") == relay.records("Q") == []


async def test_a_server_that_takes_nothing_of_a_large_body_is_given_up(out: StartOut, world: SmtpSink) -> None:
    world.script.hang = frozenset({"body"})
    relay = await out(option=QUICK)
    await put(relay, "bob@remote.test", body=b"Subject: big\r\n\r\n" + b"a line of text\r\n" * 2_000_000)
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.4.2"}


async def test_a_refusal_in_the_middle_of_a_large_body_counts(out: StartOut, world: SmtpSink) -> None:
    world.script.data = "354 go\r\n552 5.3.4 too large after all"
    relay = await out(option=QUICK)
    await put(relay, "bob@remote.test", body=b"Subject: big\r\n\r\n" + b"a line of text\r\n" * 2_000_000)
    await until(lambda: relay.records("R"))
    assert relay.records("R")[0]["en"] == "5.3.4"


async def test_one_bad_server_does_not_hold_up_another(out: StartOut, world: SmtpSink) -> None:
    silent = SmtpSink(SmtpScript(hang=frozenset({"greeting"})), host="127.0.0.2", port=world.port)
    await silent.start()
    try:
        relay = await out(hosts="127.0.0.1 remote.test\n127.0.0.2 silent.test\n")
        for number in range(20):
            await put(relay, f"user{number}@silent.test")
        for number in range(20):
            await put(relay, f"user{number}@remote.test")
        await until(lambda: len(world.taken) == 20)
        assert silent.connections == 1, "a host that does not answer has one connection"
    finally:
        await silent.stop()


async def test_the_connections_to_one_host_are_bounded(out: StartOut, world: SmtpSink) -> None:
    world.script.wait = 0.05
    relay = await out(keywords="nomx threaddepth 1", option="MAX_CLIENT_THREADS=1\n", job_limit=3)
    await asyncio.gather(*(put(relay, f"user{number}@remote.test") for number in range(30)))
    await relay.empty()
    assert len(world.taken) == 30
    assert 1 < world.most_open <= 3


async def test_a_server_may_limit_the_messages_of_a_session(out: StartOut, world: SmtpSink) -> None:
    world.script.extensions = ("PIPELINING", "LIMITS MAILMAX=2 RCPTMAX=1")
    relay = await out()
    await put(relay, "a@remote.test", "b@remote.test")
    await relay.empty()
    await put(relay, "c@remote.test")
    await relay.empty()
    assert [taken.addresses for taken in world.taken] == [["a@remote.test"], ["b@remote.test"], ["c@remote.test"]]
    assert [taken.connection for taken in world.taken] == [1, 1, 2]


async def test_a_worker_killed_while_the_server_thinks_loses_nothing(out: StartOut, world: SmtpSink) -> None:
    world.script.hang = frozenset({"final"})
    relay = await out()
    await put(relay, "bob@remote.test")
    await until(lambda: world.taken)
    for pid in relay.workers():
        os.kill(pid, signal.SIGKILL)
    world.script.hang = frozenset()
    await relay.empty(30)
    assert world.bodies[-1] == BODY
    assert len(relay.records("D")) == 1


async def test_many_messages_to_a_server_that_drops_now_and_then_arrive(out: StartOut, world: SmtpSink) -> None:
    world.script.final = lambda taken: None if len(world.taken) % 7 == 3 else "250 2.0.0 OK"
    relay = await out(backoff='"pt1s"')
    people = [f"user{number}@remote.test" for number in range(60)]
    await asyncio.gather(*(put(relay, address) for address in people))
    await relay.empty(40)
    assert {taken.addresses[0] for taken in world.taken} == set(people)
    assert len(relay.records("D")) == 60
    assert relay.records("R") == []
