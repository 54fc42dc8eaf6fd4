"""Many recipients and many copies: one store that is dead holds up nobody, and a restart reads thousands of files at once."""

import asyncio
import time
from collections import Counter
from pathlib import Path

from posthouse.mail.envelope import Recipient
from support.jobs_relay import Start, until
from support.lmtp_sink import Sink

HOSTS = "127.0.0.1 store1.example.com\n127.0.0.2 store2.example.com\n"


def recipient(place: int, store: int) -> Recipient:
    host = f"store{store}.example.com.lmtp"
    return Recipient(place, store, "tcp_lmtpcs", f"@{host}:u{place}@lmtpcs-daemon", f"u{place}@example.com", host)


def resident_mib(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) >> 10


async def test_a_thousand_recipients_on_two_stores_each_by_its_own_reply(start: Start, sink: Sink) -> None:
    replies = {
        "5": "420 4.2.0 <{}> Mailbox Bad Formats",
        "7": "422 4.2.2 <{}> Quota Exceeded",
        "8": "511 5.1.1 <{}> mailbox nonexistent",
    }
    sink.script.final = lambda address, _: replies.get(address[-1], "250 2.5.0 <{}> OK").format(address)
    relay = await start(hosts=HOSTS.replace("127.0.0.2", "127.0.0.1"))
    number = await relay.put_recipients([recipient(place, 1 + place % 2) for place in range(1000)], sender="eve@remote.test")
    copies = await relay.until_list(lambda copies: [each["state"] for each in copies if each["id"] == number] == ["file"], 30)
    assert sorted(len(taken.rcpts) for taken in sink.taken) == [200, 500, 500], "one transaction for a store, one retry"
    (copy,) = (each for each in copies if each["id"] == number)
    status = {each["id"]: each["status"]["code"] for each in copy["recipients"]}
    assert status == {place: 420 if place % 10 == 5 else 422 for place in range(1000) if place % 10 in {5, 7}}
    await until(lambda: len(relay.records("Q")) == 200)
    count = Counter(record["ac"] for record in relay.records() if record["ac"] in "DZQR" and record["ei"] == number)
    assert count == {"D": 700, "Z": 200, "Q": 200, "R": 100}
    notices = [record for record in relay.records("E") if record.get("ab") == number and record["dc"] == "process"]
    assert len(notices) == 1, "one for all that failed in the attempt"


async def test_two_thousand_copies_of_a_dead_store_hold_up_nobody_and_go_when_it_is_back(start: Start, sink: Sink) -> None:
    relay = await start(hosts=HOSTS)
    for at in range(0, 2000, 100):
        await asyncio.gather(*(relay.put(f"u{each}", host="store2.example.com") for each in range(at, at + 100)))
    await relay.put("bob")
    await until(lambda: sink.taken)
    copies = await relay.until_list(lambda copies: len(copies) == 2000 and all(each["state"] == "file" for each in copies), 30)
    assert sum(each["attempts"] for each in copies) <= 2, "one copy tries the host, the others wait with it"
    assert len(relay.records("Y")) <= 2
    assert all(each["recipients"][0]["status"]["enhanced"] == "4.4.1" for each in copies)
    back = await Sink(host="127.0.0.2", port=sink.port).start()
    try:
        assert await relay.retry() == 2000
        await relay.empty(30)
        assert len(back.taken) == len(back.seen) == 2000
        assert back.most_open <= 70
    finally:
        await back.stop()


async def test_a_controller_starts_quickly_over_five_thousand_files(start: Start, sink: Sink) -> None:
    await sink.stop()
    relay = await start()
    for at in range(0, 5000, 100):
        await asyncio.gather(*(relay.put(f"u{each}") for each in range(at, at + 100)))
    await relay.until_list(lambda copies: len(copies) == 5000 and all(each["state"] == "file" for each in copies), 60)
    relay.kill()
    await relay.ended()
    began = time.monotonic()
    await relay.start()
    assert time.monotonic() - began < 10.0
    assert relay.process is not None
    assert resident_mib(relay.process.pid) < 150
    assert len(await relay.copies()) == 5000
