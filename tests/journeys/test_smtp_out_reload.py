"""The route is found anew at each try: what was mended is used for mail that waits already."""

import asyncio
import signal

from support.jobs_relay import until
from support.smtp_out import StartOut, own_status, put
from support.smtp_sink import SmtpSink


async def test_a_mended_configuration_moves_the_mail_that_waits(out: StartOut, world: SmtpSink) -> None:
    relay = await out(keywords="daemon nowhere.example.com nodns", hosts="127.0.0.3 nowhere.example.com\n")
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(lambda copies: own_status(copies) and copies[0]["state"] == "file", 20)
    assert own_status(copies) == {"bob@remote.test": "451 4.4.1"}
    rules = relay.root / "config" / "imta.cnf"
    rules.write_text(rules.read_text().replace("nowhere.example.com", "127.0.0.1"))
    relay.kill(signal.SIGHUP)
    async with asyncio.timeout(15):
        while not world.taken:  # which retry is the first one after the reload nobody can see
            await relay.retry()
            await asyncio.sleep(0.05)
    await relay.empty()
    assert world.taken[0].addresses == ["bob@remote.test"]


async def test_a_relay_that_stops_lets_the_message_under_way_finish(out: StartOut, world: SmtpSink) -> None:
    world.script.wait = 1.0
    relay = await out()
    await put(relay, "bob@remote.test")
    await until(lambda: world.taken)
    await relay.close()
    assert len(relay.records("D")) == 1
    assert relay.files() == []
