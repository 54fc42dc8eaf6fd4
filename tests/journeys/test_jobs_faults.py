"""Processes that die, hosts that hang: nothing is lost, nobody waits for somebody else's host."""

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

import pytest

from posthouse.relay.job_controller.client import ControllerDown
from support.jobs_relay import BODY, JobsRelay, Start, until
from support.lmtp_sink import Sink

TWO_HOSTS = "127.0.0.1 store1.example.com\n127.0.0.2 store2.example.com\n"


async def test_the_controller_is_killed_and_started_again(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, seen: f"422 4.2.2 <{address}> Quota Exceeded" if seen == 1 else "250 2.5.0 OK"
    relay = await start()
    first = await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    relay.kill()
    await relay.ended()
    second = await relay.put("jane")  # accepted while nobody is there
    await relay.start(writer=False)
    copies = await relay.until_list(lambda copies: len(copies) == 2 and all(copy["attempts"] for copy in copies))
    assert {copy["id"] for copy in copies} == {first, second}
    (old,) = (copy for copy in copies if copy["id"] == first)
    assert old["attempts"] == 1
    assert old["next_try"] > old["enqueued"], "its backoff is remembered by the file"
    await relay.retry()
    await relay.empty()
    assert sink.seen == {"bob": 2, "jane": 2}


async def test_mail_acknowledged_just_before_its_writer_died_is_found(start: Start, sink: Sink) -> None:
    relay = await start()
    assert relay.announcer is not None
    relay.announcer.synced = lambda *_: None  # type: ignore[method-assign] # what a SIGKILL between sync and announcement leaves
    await relay.put("bob")
    await asyncio.sleep(0)
    assert sink.taken == []
    await relay.stop_writer()
    await relay.empty()
    assert sink.bodies == [BODY]
    await until(lambda: not [name for name in relay.segments() if name.startswith("smtp-")])


async def test_a_worker_is_killed_with_replies_outstanding(start: Start, sink: Sink) -> None:
    sink.script.wait = 0.3
    relay = await start()
    await relay.put("u0", "u1", "u2")
    await until(lambda: relay.records("D"))
    (worker,) = relay.workers()
    os.kill(worker, signal.SIGKILL)
    sink.script.wait = 0.0
    await relay.empty()
    settled = len(relay.records("D"))
    assert settled == 3
    assert sink.seen["u0"] == 1, "its own reply had settled it"
    assert sink.taken[-1].addresses[-1] == "u2"
    assert len(sink.taken) == 2


async def test_a_worker_is_killed_while_a_queue_file_is_tried(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, seen: f"422 4.2.2 <{address}> Quota Exceeded" if seen == 1 else "250 2.5.0 OK"
    relay = await start()
    await relay.put("u0", "u1")
    await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    sink.script.wait = 0.3
    await relay.retry()
    await until(lambda: relay.records("D"))
    os.kill(relay.workers()[0], signal.SIGKILL)
    sink.script.wait = 0.0
    await relay.empty()
    assert sink.seen == {"u0": 2, "u1": 3}
    assert relay.files() == []


async def test_everything_is_killed_under_load(start: Start, sink: Sink) -> None:
    relay = await start()
    for round_number in range(4):
        await asyncio.gather(*(relay.put(f"u{round_number}", body=BODY + b"%d\r\n" % n) for n in range(60)))
        for pid in relay.workers():
            os.kill(pid, signal.SIGKILL)
        if round_number % 2:
            relay.kill()
            await relay.ended()
            await relay.start(writer=False)
    sent = {(f"u{round_number}", BODY + b"%d\r\n" % n) for round_number in range(4) for n in range(60)}
    deadline = time.monotonic() + 20
    while {(taken.addresses[0], taken.body) for taken in sink.taken} != sent:
        assert time.monotonic() < deadline, "lost or garbled"
        with contextlib.suppress(ControllerDown):
            await relay.retry()
        await asyncio.sleep(0.1)
    await relay.empty()


@pytest.mark.parametrize("step", ["greeting", "mail", "data", "final"])
async def test_a_host_that_hangs_delays_nobody_else(start: Start, sink: Sink, step: str) -> None:
    slow = Sink(host="127.0.0.2", port=sink.port)
    slow.script.hang = frozenset({step})
    await slow.start()
    try:
        relay = await start(hosts=TWO_HOSTS, maxjobs=1)
        for number in range(40):
            await relay.put(f"s{number}", host="store2.example.com")
        await until(lambda: slow.connections)
        began = time.monotonic()
        for number in range(40):
            await relay.put(f"q{number}")
        await until(lambda: len(sink.taken) == 40)
        assert time.monotonic() - began < 3
        if step == "greeting":
            assert slow.connections == 1, "one session at most to a host that does not answer"
    finally:
        await slow.stop()


async def test_a_host_that_is_down_keeps_its_mail_together_and_gets_it_when_it_is_back(start: Start, sink: Sink) -> None:
    relay = await start(backoff='"pt1s"')
    port = sink.port
    await sink.stop()
    for number in range(30):
        await relay.put(f"u{number}")
    copies = await relay.until_list(lambda copies: any(copy["attempts"] for copy in copies))
    assert len({copy["next_try"] for copy in copies}) == 1, "they wait together"
    assert {copy["recipients"][0]["status"]["enhanced"] for copy in copies} == {"4.4.1"}
    assert not [copy for copy in copies if "451" in copy["recipients"][0]["status"]["text"]], "the code is told once"
    back = Sink(port=port)
    await back.start()
    try:
        await relay.empty()
        assert len(back.taken) == 30
        assert len(relay.records("Q")) < 10, "one copy at a time has found out"
    finally:
        await back.stop()


@pytest.mark.parametrize(
    "greeting", ["hello there", "220-sink\r\n354 go", "220 sink\r\n999 what", "250 2.5.0 OK", "299 hello", "354 go"]
)
async def test_a_host_that_talks_nonsense_before_it_is_ready_counts_as_down(start: Start, sink: Sink, greeting: str) -> None:
    sink.script.greeting = greeting
    relay = await start()
    await relay.put("bob")
    copies = await relay.until_list(lambda copies: bool(copies) and copies[0]["attempts"] == 1)
    assert "protocol error" in copies[0]["recipients"][0]["status"]["text"]
    assert sink.connections <= 2, "a server like that is not called again at once"
    assert relay.records("D") == [], "what it says of itself is no delivery"


async def test_a_host_that_does_not_resolve_keeps_its_mail(start: Start, sink: Sink) -> None:
    relay = await start()
    await relay.put("bob", host="nowhere.invalid")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["attempts"])
    assert copy["recipients"][0]["status"]["code"] == 451
    assert relay.records("R") == []


async def test_a_locked_mailbox_holds_up_only_its_own_mail(start: Start, sink: Sink) -> None:
    sink.script.wait = 4.0
    relay = await start()
    await relay.put("locked")
    await until(lambda: sink.seen)
    sink.script.wait = 0.0
    began = time.monotonic()
    for number in range(5):
        await relay.put(f"u{number}")
    await until(lambda: len(sink.taken) == 6)
    assert time.monotonic() - began < 3


async def test_a_clean_stop_hands_back_what_waits_and_finishes_what_is_out(start: Start, sink: Sink) -> None:
    sink.script.wait = 0.5
    relay = await start()
    await relay.put("bob")
    await until(lambda: sink.seen)
    relay.kill(signal.SIGTERM)
    assert await relay.ended() == 0
    assert len(relay.records("D")) == 1
    await relay.start(writer=False)
    assert await relay.copies() == []


async def test_a_corrupt_record_is_set_aside_never_sent(start: Start, sink: Sink) -> None:
    port = sink.port
    await sink.stop()
    relay: JobsRelay = await start(backoff='"pt1s"')
    await relay.put("bob", body=b"Subject: x\r\n\r\n" + b"precious" * 2000 + b"\r\n")
    (name,) = {name for name in relay.segments() if name.startswith("smtp-")
               and b"precious" in (relay.root / "data" / "journal" / name).read_bytes()}  # fmt: skip
    path = relay.root / "data" / "journal" / name
    octets = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(octets.index(b"precious"))
        file.write(b"worthles")
    back = Sink(port=port)
    await back.start()
    try:
        await relay.empty()
        assert back.taken == []
        assert list((relay.root / "data" / "journal" / "aside").iterdir())
        assert "kept for a person" in relay.stderr()
    finally:
        await back.stop()


async def test_a_reload_while_a_host_has_not_greeted_yet_does_not_call_it_down(start: Start, sink: Sink) -> None:
    sink.script.hang = frozenset({"greeting"})
    relay = await start()
    await relay.put("bob")
    await until(lambda: sink.connections)
    sink.script.hang = frozenset()
    relay.kill(signal.SIGHUP)
    await relay.empty(30)  # a host that is down has a minute's rest
    assert sink.seen == {"bob": 1}
    assert not relay.records("Q")


@pytest.mark.parametrize(
    ("script", "status"),
    [({"mail": lambda _: "530 5.7.0 STARTTLS first"}, "451 4.7.0"), ({"data": "503 5.5.1 not now"}, "451 4.5.1"),
     ({"rcpt": lambda _: "503 no"}, "451 ")],
)  # fmt: skip
async def test_a_store_that_wants_another_session_keeps_its_mail(
    start: Start, sink: Sink, script: dict[str, Any], status: str
) -> None:
    for step, said in script.items():
        setattr(sink.script, step, said)
    relay = await start()
    await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["recipients"][0]["status"])
    said = copy["recipients"][0]["status"]
    assert f"{said['code']} {said['enhanced']}" == status
    assert relay.records("R") == []
