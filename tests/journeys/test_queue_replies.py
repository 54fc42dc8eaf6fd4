"""What `queue list` says of copies that wait: each recipient's own last reply, attempts, the next try, and why."""

import asyncio
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.queue_on_disk import list_from_disk
from posthouse.config.instance import Instance
from posthouse.relay.job_controller.selection import Selection
from support.jobs_relay import JobsRelay, Start, until
from support.lmtp_sink import Sink

QUOTA, FORMATS = "422 4.2.2 <{}> Quota Exceeded", "420 4.2.0 <{}> Mailbox Bad Formats"


def mixed(address: str, _: int) -> str:
    return (FORMATS if address == "jane" else QUOTA if address == "bob" else "250 2.5.0 <{}> OK").format(address)


def codes(copy: dict[str, Any]) -> dict[str, str]:
    """The reply of each recipient, short."""
    return {
        each["original"].partition("@")[0]: f"{each['status']['code']} {each['status']['enhanced']}" if each["status"] else ""
        for each in copy["recipients"]
    }


OWN = {"bob": "422 4.2.2", "jane": "420 4.2.0"}


async def test_each_recipient_shows_its_own_reply_in_the_journal_in_a_file_and_after_a_restart(start: Start, sink: Sink) -> None:
    sink.script.final = mixed
    relay = await start(backoff='"pt20s" "pt1h"')
    number = await relay.put("bob", "ann", "jane")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 2)
    assert copy["state"] == "journal", "one immediate retry, then 20 s"
    assert codes(copy) == OWN
    assert copy["next_try"] is not None
    await relay.retry()
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 3 and copies[0]["state"] == "file")
    assert codes(copy) == OWN
    actions = [(r["ac"], r["de"].partition(":")[2].partition("@")[0]) for r in relay.records() if r.get("ei") == number]
    assert actions == [("D", "ann"), *(("Z", name) for name in ("bob", "jane")), *(("Q", name) for name in ("bob", "jane") * 2)]
    relay.kill()
    await relay.ended()
    await relay.start()
    (copy,) = await relay.copies()
    assert (copy["state"], copy["attempts"], codes(copy)) == ("file", 3, OWN)
    assert copy["next_try"] is not None
    assert [(each["attempts"], codes(each)) for each in list_from_disk(Instance(relay.root), Selection())] == [(3, OWN)]
    sink.script.final = lambda address, _: (QUOTA if address == "bob" else "250 2.5.0 <{}> OK").format(address)
    await relay.retry()
    (copy,) = await relay.until_list(lambda copies: copies and len(copies[0]["recipients"]) == 1)
    assert codes(copy) == {"bob": "422 4.2.2"}


async def test_a_copy_behind_a_host_that_is_down_says_so(start: Start, sink: Sink) -> None:
    await sink.stop()
    relay = await start()
    await relay.put("bob")
    await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 1)
    await relay.put("jane")
    copies = await relay.until_list(lambda copies: len(copies) == 2 and all(each["state"] == "file" for each in copies))
    behind = next(copy for copy in copies if copy["recipients"][0]["original"].startswith("jane"))
    assert behind["attempts"] == 0
    assert behind["recipients"][0]["status"]["code"] == 451
    assert behind["recipients"][0]["status"]["enhanced"] == "4.4.1"
    assert behind["next_try"] is not None
    await sink.start()


async def test_a_held_file_keeps_its_attempts_and_has_no_next_try(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: QUOTA.format(address)
    relay = await start()
    number = await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    path = Path(copy["file"])
    path.rename(path.with_suffix(".HELD"))
    await relay.retry()
    (copy,) = await relay.copies()
    assert (copy["state"], copy["attempts"], copy["next_try"], codes(copy)) == ("held", 1, None, {"bob": "422 4.2.2"})
    path.with_suffix(".HELD").rename(path)
    sink.script.final = lambda address, _: f"250 2.5.0 <{address}> OK"
    await relay.retry()
    await relay.empty()
    assert relay.records("D")[0]["ei"] == number


@pytest.mark.parametrize("edit", ["size", "boundary", "head"])
async def test_an_edited_file_is_held_with_the_reason(start: Start, sink: Sink, edit: str) -> None:
    sink.script.final = lambda address, _: QUOTA.format(address)
    relay = await start()
    number = await relay.put("bob")
    await relay.put("jane")
    copies = await relay.until_list(lambda copies: len(copies) == 2 and all(each["state"] == "file" for each in copies))
    path = Path(next(copy["file"] for copy in copies if copy["id"] == number))
    octets = path.read_bytes()
    (size,) = (line for line in octets.split(b"\n") if line.startswith(b"z;"))
    spoilt = {
        "size": octets.replace(size, b"z;7", 1), "head": octets.replace(size, b"z;many", 1),
        "boundary": octets[: octets.rindex(b"Boundary_(ID_")] + b"H;1;0;0;4.2.2;422;x;y\n",
    }  # fmt: skip
    path.write_bytes(spoilt[edit])
    sink.script.final = lambda address, _: f"250 2.5.0 <{address}> OK"
    await relay.retry()
    (copy,) = await relay.until_list(lambda copies: [each["state"] for each in copies] == ["held"])
    assert copy["id"] == number
    assert copy["file"] == str(path.with_suffix(".HELD"))
    assert copy["reason"]
    await until(lambda: path.with_suffix(".HELD").exists())
    assert path.with_suffix(".HELD").read_bytes() == spoilt[edit]
    assert sink.seen == {"bob": 1, "jane": 2}, "its neighbour went"
    (held,) = relay.records("H")
    assert (held["ei"], held["fi"]) == (number, str(path.with_suffix(".HELD")))
    path.with_suffix(".HELD").write_bytes(octets)
    path.with_suffix(".HELD").rename(path)
    await relay.retry()
    await relay.empty()
    assert sink.seen["bob"] == 2


async def test_a_file_removed_while_it_is_leased_is_not_tried_again(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: QUOTA.format(address)
    relay = await start()
    await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    sink.script.wait = 0.3
    await relay.retry()
    await until(lambda: len(sink.taken) == 2)
    Path(copy["file"]).unlink()
    await relay.empty()
    assert relay.files() == []
    assert [record["ac"] for record in relay.records() if record["ac"] in "QDRK"] == ["Q", "Q"]


async def test_a_file_somebody_removed_is_named_in_the_log(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: QUOTA.format(address)
    relay = await start()
    await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    Path(copy["file"]).unlink()
    await relay.retry()
    await relay.empty()
    path = re.escape(copy["file"].partition("/queue/")[2])
    # by the scan that a retry begins, or by the worker that was to send it
    assert re.search(rf"forgotten, the first: {path}|{path}: taken away", relay.stderr())


async def test_a_file_held_while_it_is_leased_stays_held(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: QUOTA.format(address)
    relay = await start()
    await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    sink.script.wait = 0.3
    await relay.retry()
    await until(lambda: len(sink.taken) == 2)
    path = Path(copy["file"])
    path.rename(path.with_suffix(".HELD"))
    (copy,) = await relay.until_list(lambda copies: [each["state"] for each in copies] == ["held"])
    assert copy["file"] == str(path.with_suffix(".HELD"))
    assert len(sink.taken) == 2


async def test_too_big_with_a_refused_neighbour_is_counted_again_before_it_is_final(start: Start, sink: Sink) -> None:
    big = "500 message too big"
    sink.script.rcpt = lambda line: "550 5.1.1 no such user" if "ghost" in line else "250 2.1.5 OK"
    sink.script.final = lambda address, count: big if address == "bob" and count == 1 else f"250 2.5.0 <{address}> OK"
    relay = await start()
    await relay.put("ghost", "bob", sender="")
    await relay.empty()
    assert [record["ac"] for record in relay.records() if record["ac"] in "KRDQZ"] == ["K", "Z", "D"]


async def test_too_big_at_the_second_try_is_told_in_the_stores_words(start: Start, sink: Sink) -> None:
    """Job controller 6: sent once more at once, then 5.3.4; the store's code and text are told as they are."""
    sink.script.final = lambda address, _: "500 message too big"
    relay = await start()
    await relay.put("bob", sender="")
    await relay.empty()
    (failed,) = relay.records("K")
    assert (failed["co"], failed["en"], failed["tx"]) == (500, "5.3.4", "message too big")
    assert sink.seen["bob"] == 2


async def test_reload_keeps_the_sessions_a_host_may_have(start: Start, sink: Sink) -> None:
    relay: JobsRelay = await start(threaddepth=1, maxjobs=1)
    sink.script.wait = 0.2
    await asyncio.gather(*(relay.put(f"u{at}") for at in range(100)))  # two at once for each of ten sessions
    await until(lambda: sink.open_now >= 4)
    before = sink.connections
    relay.kill(signal.SIGHUP)
    await relay.empty()
    assert sink.connections - before >= 4, "sessions of the new configuration, as many as before"
    assert len(sink.taken) == len(sink.seen) == 100


async def test_a_locked_mailbox_is_tried_soon_its_neighbour_over_quota_is_not(start: Start, sink: Sink) -> None:
    locked = "420 4.2.0 <jane> Mailbox Locked"
    sink.script.final = lambda address, count: locked if address == "jane" and count == 1 else mixed(address, count).replace(
        "420 4.2.0 <jane> Mailbox Bad Formats", "250 2.5.0 <jane> OK"
    )  # fmt: skip
    relay = await start()
    await relay.put("bob", "jane")
    (copy,) = await relay.until_list(lambda copies: copies and len(copies[0]["recipients"]) == 1, 25)
    assert codes(copy) == {"bob": "422 4.2.2"}
    assert copy["attempts"] == 2
    assert sink.seen == {"bob": 1, "jane": 2}
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    assert codes(copy) == {"bob": "422 4.2.2"}
    await relay.retry()
    await until(lambda: sink.seen["bob"] == 2)


async def test_an_address_with_a_line_end_edited_into_a_file_stops_nobody(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: QUOTA.format(address)
    relay = await start()
    await relay.put("bob")
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["state"] == "file")
    path = Path(copy["file"])
    path.write_bytes(path.read_bytes().replace(b".lmtp:bob@", b".lmtp:bob\\nDATA@"))
    sink.script.final = lambda address, _: f"250 2.5.0 <{address}> OK"
    await relay.retry()
    (copy,) = await relay.until_list(lambda copies: copies and copies[0]["attempts"] == 2)
    assert codes(copy) == {"bob": "451 4.1.3"}
    await relay.put("jane")
    await until(lambda: "jane" in sink.seen)
    assert sink.seen["bob"] == 1
