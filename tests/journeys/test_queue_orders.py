"""Operators' orders on a job controller, running and stopped: what they do, leave alone and leave behind."""

import resource
from pathlib import Path
from typing import Any

import pytest

from support.jobs_relay import JobsRelay, Start, command, full, until
from support.lmtp_sink import Sink

LOCAL = "ann@example.com"


async def waiting(relay: JobsRelay, count: int, state: str = "file") -> list[dict[str, Any]]:
    return await relay.until_list(lambda copies: [copy["state"] for copy in copies] == [state] * count, 20)


async def test_hold_and_release_a_file(start: Start, sink: Sink) -> None:
    full(sink, "bob", "eve")
    relay = await start()
    bob, eve = await relay.put("bob"), await relay.put("eve")
    await waiting(relay, 2)
    dry = command(relay, "hold", bob, "--dry-run")
    assert (dry["dry_run"], [copy["id"] for copy in dry["would"]]) == (True, [bob])
    assert {copy["state"] for copy in await relay.copies()} == {"file"}
    answer = command(relay, "hold", "--to", "bob@*")
    assert (answer["copies"], answer["done"], answer["failed"], answer["busy"]) == (1, 1, 0, 0)
    assert [Path(name).suffix for name in relay.files() if bob in name] == [".HELD"]
    full(sink)
    dry = command(relay, "retry", "--all", "--dry-run")
    assert (dry["dry_run"], [(copy["id"], copy["selected"]) for copy in dry["would"]]) == (True, [(eve, [0])])
    assert (dry["retried"], sink.seen.get("eve")) == (1, 1)
    assert command(relay, "retry", "--all") == {"copies": 2, "retried": 1, "held": 1, "missing": [], "beyond": 0}
    await until(lambda: sink.seen.get("eve") == 2)
    (copy,) = command(relay, "why", "--state", "held")
    assert (copy["id"], copy["why"]) == (bob, "held by an operator")
    assert command(relay, "hold", bob)["unchanged"] == 1
    assert command(relay, "release", bob)["done"] == 1
    await relay.empty()
    assert sink.seen["bob"] == 2
    assert [(record["ei"], record["re"]) for record in relay.records("H")] == [(bob, "held by an operator"), (bob, "released")]
    assert relay.files() == []
    assert eve


async def test_a_copy_in_the_journal_is_held_as_a_file_and_survives_a_kill(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: f"420 4.2.1 <{address}> Mailbox busy"
    relay = await start()
    number = await relay.put("bob")
    await relay.until_list(lambda copies: [copy["attempts"] > 0 and copy["state"] == "journal" for copy in copies] == [True])
    answer = command(relay, "hold", "--all")
    assert answer["done"] == 1, answer
    relay.kill()
    await relay.ended()
    await relay.start(writer=False)
    (copy,) = await relay.copies()
    assert (copy["id"], copy["state"]) == (number, "held")
    full(sink)
    assert command(relay, "release", "--channel", "tcp_lmtp*")["done"] == 1
    await relay.empty()


async def test_return_tells_the_sender_what_kept_it_waiting(start: Start, sink: Sink) -> None:
    full(sink, "bob", "eve")
    relay = await start()
    number = await relay.put("bob", "eve", sender=LOCAL)
    await waiting(relay, 1)
    before = relay.files()
    answer = command(relay, "return", "--to", "bob@example.com", "--status", "4.2.2")
    assert (answer["done"], answer["recipients"]) == (1, 1)
    await until(lambda: sink.seen.get("ann") == 1)
    (notice,) = (taken.body.decode() for taken in sink.taken if taken.addresses == ["ann"])
    assert "Subject: Delivery Notification: Delivery has been manually aborted" in notice
    assert "Final-Recipient: rfc822;bob@example.com" in notice
    assert "Action: failed" in notice
    assert "452 4.2.2 <bob> over quota" in notice
    assert "eve@" not in notice
    assert "lmtp" not in notice.lower().replace("tcp_lmtpcs", "")
    (copy,) = await relay.until_list(lambda copies: len(copies) == 1)
    assert [each["original"] for each in copy["recipients"]] == ["eve@example.com"]
    assert relay.files() == before, "nobody was tried"
    await until(lambda: [record["od"] for record in relay.records("R")] == ["rfc822;bob@example.com"])
    relay.kill()
    await relay.ended()
    await relay.start(writer=False)
    (copy,) = await relay.copies()
    assert (copy["id"], [each["original"] for each in copy["recipients"]]) == (number, ["eve@example.com"])


async def test_a_return_whose_notice_cannot_be_made_says_so(start: Start, sink: Sink) -> None:
    full(sink, "bob")
    relay = await start()
    number = await relay.put("bob", sender=LOCAL)
    await waiting(relay, 1)
    for pid in relay.workers():
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # as if the disk were full
    answer = command(relay, "return", number, code=70)
    why = "to be returned by an operator's order, but the notice to the sender could not be enqueued"
    assert (answer["done"], answer["failed"], answer["faults"]) == (0, 1, [f"{number}: {why}"])
    assert [copy["id"] for copy in await relay.copies()] == [number]


@pytest.mark.parametrize("held", [True, False])
async def test_drop_tells_nobody(start: Start, sink: Sink, held: bool) -> None:
    full(sink, "bob", "eve")
    relay = await start()
    await relay.put("bob", sender=LOCAL)
    await relay.put("eve", sender=LOCAL)
    await waiting(relay, 2)
    if held:
        command(relay, "hold", "--to", "bob@example.com")
    assert command(relay, "drop", "--to", "bob@example.com", "--from", "ann@*")["done"] == 1
    (copy,) = await relay.copies()
    assert [each["original"] for each in copy["recipients"]] == ["eve@example.com"]
    assert len(relay.files()) == 1
    await until(lambda: len(relay.records("K")) == 1)
    assert relay.records("K")[0]["re"] == "dropped by an operator"
    assert relay.records("E") == []


@pytest.mark.parametrize("state", ["held", "waiting", "stopped"])
async def test_what_is_left_of_a_copy_has_been_tried_as_often_as_before(start: Start, sink: Sink, state: str) -> None:
    full(sink, "bob", "eve", "joe")
    relay = await start()
    number = await relay.put("bob", "eve", "joe", sender=LOCAL)
    await waiting(relay, 1)
    if state == "held":
        command(relay, "hold", number)
    (copy,) = await relay.copies()
    files, tries = relay.files(), copy["attempts"]
    if state == "stopped":
        await relay.stop_writer()
        await relay.close()
    assert command(relay, "drop", number, "--to", "bob@*")["done"] == 1
    assert command(relay, "return", number, "--to", "joe@*")["done"] == 1
    assert [name for name in relay.files() if number in name] == files
    if state == "stopped":
        await relay.start(writer=False)
    (copy,) = [each for each in await relay.copies() if each["id"] == number]
    assert (copy["attempts"], [each["original"] for each in copy["recipients"]]) == (tries, ["eve@example.com"])


async def test_orders_on_a_relay_that_does_not_run(start: Start, sink: Sink) -> None:
    full(sink, "bob", "eve", "joe", "sue")
    relay = await start()
    for user in ("bob", "eve", "joe"):
        await relay.put(user, sender=LOCAL)
    await waiting(relay, 3)
    await relay.stop_writer()
    await relay.close()
    seen = dict(sink.seen)
    assert command(relay, "hold", "--to", "bob@*")["done"] == 1
    assert command(relay, "drop", "--to", "eve@*")["done"] == 1
    assert command(relay, "return", "--to", "joe@*")["done"] == 1
    states = {copy["recipients"][0]["original"]: copy["state"] for copy in command(relay, "list")}
    assert states == {"bob@example.com": "held", "ann@example.com": "journal"}, "and the notice"
    assert [copy["id"] for copy in command(relay, "list", "--state", "held")] != []
    assert command(relay, "summary")["total"]["held"] == 1
    assert dict(sink.seen) == seen, "nothing was delivered meanwhile"
    assert command(relay, "release", "--all")["done"] == 1
    full(sink)
    await relay.start(writer=False)
    await relay.empty()
    assert dict(sink.seen) == {"bob": 2, "ann": 1, "eve": 1, "joe": 1}


async def test_copies_whose_files_were_removed_by_hand_are_forgotten_at_a_retry(start: Start, sink: Sink) -> None:
    full(sink, "bob", "eve", "joe")
    relay = await start()
    numbers = [await relay.put(user) for user in ("bob", "eve", "joe")]
    copies = {copy["id"]: copy for copy in await waiting(relay, 3)}
    Path(copies[numbers[0]]["file"]).unlink()
    command(relay, "hold", numbers[1])
    (held,) = command(relay, "list", "--state", "held")
    Path(held["file"]).unlink()
    assert command(relay, "retry", "--all", "--dry-run")["retried"] == 1
    assert [copy["id"] for copy in await relay.copies()] == [numbers[2]]
    assert relay.stderr().count("1 queue files were removed and are forgotten, the first: tcp_lmtpcs/") == 2
    full(sink)
    assert command(relay, "retry", "--all")["retried"] == 1
    await relay.empty()


async def test_nothing_is_done_without_being_told_to_what(start: Start, sink: Sink) -> None:
    full(sink, "bob")
    relay = await start()
    await relay.put("bob")
    await waiting(relay, 1)
    for op in ("hold", "release", "return", "drop", "retry", "show", "why"):
        assert f"posthouse queue {op}: say which copies" in command(relay, op, code=64)
    assert "--older soon: not a time" in command(relay, "hold", "--older", "soon", code=64)
    assert "--from is empty; the null sender is <>" in command(relay, "drop", "--from", "", code=64)
    assert "--older : not a time" in command(relay, "hold", "--all", "--older", "", code=64)
    assert "--id is empty" in command(relay, "drop", "", code=64)
    assert "--state lost: one of" in command(relay, "list", "--state", "lost", code=64)
    assert command(relay, "drop", "--older", "1h", code=66)["copies"] == 0
    assert command(relay, "drop", "--to", "nobody@*", code=66)["copies"] == 0
    assert len(await relay.copies()) == 1


async def test_show_why_and_summary(start: Start, sink: Sink) -> None:
    full(sink, "bob")
    relay = await start()
    number = await relay.put("bob", "joe")
    (copy,) = await waiting(relay, 1)
    (shown,) = command(relay, "show", number)
    assert "Subject: hello" in shown["header"]
    assert [(each["original"], each["state"]) for each in shown["states"]] == [("bob@example.com", "to do")]
    assert {(line["code"], line["enhanced"], line["text"]) for line in shown["history"]} == {(452, "4.2.2", "<bob> over quota")}
    (why,) = command(relay, "why", number)
    assert why["why"].startswith("last reply 452 4.2.2 <bob> over quota; attempt 3 at 2")
    assert why["host_state"]["up"] is True
    summary = command(relay, "summary")
    (group,) = summary["groups"]
    assert (group["channel"], group["host"], group["state"]) == ("tcp_lmtpcs", "store1.example.com.lmtp", "file")
    assert (group["copies"], group["recipients"], group["octets"]) == (1, 1, copy["size"])
    assert summary["total"]["held"] == 0
    assert summary["overdue"] == {"copies": 0, "oldest_seconds": 0.0}
