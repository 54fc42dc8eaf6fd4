"""Mail goes out by SMTP: a real job controller and channel worker in front of scripted servers of the world."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.jobs_relay import BODY, JobsRelay, until
from support.smtp_out import StartOut, own_status, put, set_channel
from support.smtp_sink import SmtpSink

HOSTS = "127.0.0.1 remote.test\n"


@pytest.fixture
async def world() -> AsyncIterator[SmtpSink]:
    sink = await SmtpSink().start()
    yield sink
    await sink.stop()


@pytest.fixture
async def out(tmp_path: Path, world: SmtpSink) -> AsyncIterator[StartOut]:
    relays: list[JobsRelay] = []

    async def start(keywords: str = "nomx", option: str = "", options: str = "", hosts: str = HOSTS) -> JobsRelay:
        relay = JobsRelay(tmp_path / "relay", 1, hosts=hosts)
        set_channel(relay.root, f"{keywords} port {world.port}", option, options)
        relays.append(relay)
        return await relay.start()

    yield start
    for relay in relays:
        await relay.close()


async def test_a_message_arrives_once_as_it_was_accepted(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    number = await put(relay, "bob@remote.test", "jane@remote.test")
    await relay.empty()
    (taken,) = world.taken
    assert taken.body == BODY
    assert taken.mail == f"MAIL FROM:<ann@example.com> SIZE={len(BODY) + 3}"
    assert taken.rcpts == ["RCPT TO:<bob@remote.test>", "RCPT TO:<jane@remote.test>"]
    assert world.commands[0] == "EHLO relay1.example.com"
    await until(lambda: len(relay.records("DE")) == 2 or len(relay.records("D")) == 2)
    record = relay.records("D")[0]
    assert record["ei"] == number
    assert record["di"].startswith("dns;remote.test (TCP|127.0.0.1|")
    assert relay.files() == []


async def test_each_recipient_has_its_own_result(out: StartOut, world: SmtpSink) -> None:
    answers = {"good@remote.test": "250 2.1.5 OK", "never@remote.test": "550 5.1.1 unknown", "later@remote.test": "451 4.2.0 no"}
    world.script.rcpt = lambda address: answers[address]
    relay = await out()
    await put(relay, *answers)
    copies = await relay.until_list(lambda copies: own_status(copies) and copies[0]["state"] == "file")
    assert own_status(copies) == {"later@remote.test": "451 4.2.0"}
    assert world.taken[0].addresses == ["good@remote.test"]
    (returned,) = relay.records("R")
    assert returned["od"] == "rfc822;never@remote.test"
    assert (returned["co"], returned["en"], returned["tx"]) == (550, "5.1.1", "unknown")
