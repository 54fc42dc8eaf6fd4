"""Parts of messages through real processes: joined when all are there, however they come; sent on as they are when not."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from posthouse.mail.envelope import Recipient
from posthouse.mail.task import Onward, encode_task
from support.jobs_relay import JobsRelay, until
from support.lmtp_sink import Sink

Begin = Callable[..., Awaitable[JobsRelay]]
TASK = encode_task(Onward("tcp_lmtpcs"))


@pytest.fixture
async def begin(tmp_path: Path, sink: Sink) -> AsyncIterator[Begin]:
    relays: list[JobsRelay] = []

    async def new(**options: str) -> JobsRelay:
        relay = JobsRelay(tmp_path / "relay", sink.port, **options)  # type: ignore[arg-type]
        relays.append(relay)
        with (relay.root / "config" / "imta.cnf").open("a") as file:
            file.write("\ndefragment\ndefragment-daemon\n")
        return await relay.start()

    yield new
    for relay in relays:
        await relay.close()


def part(number: int, total: int = 3, *, name: str = "abc@x", text: str = "") -> bytes:
    inner = "Subject: the whole\r\nMessage-ID: <whole@x>\r\nContent-Type: text/plain\r\n\r\n" if number == 1 else ""
    return (
        f"From: ann@example.com\r\nX-Part: {number}\r\nSubject: part {number}\r\nMessage-ID: <{number}@x>\r\n"
        f'Content-Type: message/partial; id="{name}"; number={number}; total={total}\r\n\r\n{inner}line {number} {text}\r\n'
    ).encode()


def people(*users: str) -> Sequence[Recipient]:
    host = "store1.example.com"
    return [
        Recipient(place, 0, "defragment", f"@{host}.lmtp:{user}@lmtpcs-daemon", f"{user}@example.com", f"{host}.lmtp", task=TASK,
                  quota="1000,10")
        for place, user in enumerate(users)
    ]  # fmt: skip


WHOLE = (
    b"From: ann@example.com\r\nX-Part: 1\r\nSubject: the whole\r\nMessage-ID: <whole@x>\r\nContent-Type: text/plain\r\n\r\n"
    b"line 1 \r\nline 2 \r\nline 3 \r\n"
)


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 3])))
async def test_joined_in_whatever_order_they_come(begin: Begin, sink: Sink, order: tuple[int, ...]) -> None:
    relay = await begin()
    for number in order[:2]:
        await relay.put_recipients(people("bob", "jane"), body=part(number))
    copies = await relay.until_list(lambda copies: len(copies) == 2 and all(each["attempts"] for each in copies))
    texts = [each["recipients"][0]["status"]["text"] for each in copies]
    assert "waits for the other parts of the message: 2 of 3 are here" in texts
    assert sink.taken == []
    await relay.put_recipients(people("bob", "jane"), body=part(order[2]))
    await relay.empty()
    (taken,) = sink.taken
    assert taken.body == WHOLE
    assert taken.rcpts == ["RCPT TO:<bob> XQUOTA=1000,10 XDFLG=0", "RCPT TO:<jane> XQUOTA=1000,10 XDFLG=0"]
    assert len([record for record in relay.records("D") if record["sc"] == "defragment"]) == 6
    (record, _) = [record for record in relay.records("E") if record["sc"] == "defragment"]
    assert record["mi"] == "<whole@x>"


async def test_many_parts_of_several_messages_at_once(begin: Begin, sink: Sink) -> None:
    relay = await begin()
    names = [f"{number}@many" for number in range(5)]
    for number in range(40, 0, -1):
        await asyncio.gather(*(relay.put_recipients(people("bob"), body=part(number, 40, name=name)) for name in names))
    await relay.empty(30)
    assert len(sink.taken) == len(names)
    assert all(each.body.count(b"\r\nline ") == 40 for each in sink.taken)


async def test_other_senders_and_ids_do_not_mix_and_a_repeated_part_goes_on(begin: Begin, sink: Sink) -> None:
    relay = await begin()
    await relay.put_recipients(people("bob"), body=part(1, 2))
    await relay.put_recipients(people("bob"), body=part(2, 2), sender="eve@example.com")
    await relay.put_recipients(people("bob"), body=part(2, 2, name="other@x"))
    await relay.put_recipients(people("jane"), body=part(2, 2))
    await relay.until_list(lambda copies: len(copies) == 4 and all(each["attempts"] for each in copies))
    assert sink.taken == []
    await relay.put_recipients(people("bob"), body=part(1, 2, text="again"))
    await relay.until_list(lambda copies: sink.taken and len(copies) == 4)
    assert [each.body for each in sink.taken] == [part(1, 2, text="again")]


async def test_what_is_too_old_goes_on_as_it_is(begin: Begin, sink: Sink) -> None:
    relay = await begin()
    old = int(time.time() * 1000) - 4 * 86_400_000 - 1000
    await relay.put_recipients(people("bob"), body=part(2), enqueued=old)
    await relay.empty()
    assert [each.body for each in sink.taken] == [part(2)]
    assert relay.records("R") == []


async def test_the_last_notices_age_sends_parts_on_and_returns_nothing(begin: Begin, sink: Sink) -> None:
    relay = await begin(notices="2", units=3)
    await relay.put_recipients(people("bob"), body=part(2))
    await relay.until_list(lambda copies: sink.taken and not any(each["channel"] == "defragment" for each in copies))
    assert sink.taken[0].body == part(2)
    assert relay.records("R") == []


@pytest.mark.parametrize("whom", ["worker", "controller"])
async def test_killed_while_parts_wait_they_are_joined_when_the_last_one_comes(begin: Begin, sink: Sink, whom: str) -> None:
    relay = await begin()
    for number in (1, 2):
        await relay.put_recipients(people("bob"), body=part(number))
    await relay.until_list(lambda copies: len(copies) == 2 and all(each["attempts"] for each in copies))
    await until(lambda: len(relay.files()) == 2)
    await relay.strike(whom)
    await relay.put_recipients(people("bob"), body=part(3))
    await relay.empty()
    assert [each.body for each in sink.taken] == [WHOLE]


async def test_a_large_whole_is_joined_from_body_files(begin: Begin, sink: Sink) -> None:
    relay = await begin()
    text = "x" * 70 + "\r\n.dot " * 50_000
    for number in (3, 1, 2):
        await relay.put_recipients(people("bob"), body=part(number, text=text))
    await relay.empty()
    (taken,) = sink.taken
    assert len(taken.body) == len(WHOLE) + 3 * len(text)
    assert taken.body.count(b"\r\n.dot ") == 150_000
