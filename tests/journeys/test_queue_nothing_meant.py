"""Orders for nothing that waits, for files that cannot be read, and for copies beyond MAX_MESSAGES: said, and the exit code."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.jobs_relay import JobsRelay, Start
from support.lmtp_sink import Sink

NOBODY = "NOSUCHID0000000000"
ORDERS = ("hold", "release", "return", "drop", "retry")


def queue(relay: JobsRelay, *words: str) -> tuple[int, str, str]:
    """`posthouse queue`: exit code, stdout, stderr."""
    command = [sys.executable, "-m", "posthouse.cli", "queue", *words, "--instance", str(relay.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


def asked(relay: JobsRelay, *words: str) -> tuple[int, dict[str, Any]]:
    """The same with --json."""
    code, stdout, _ = queue(relay, *words, "--json")
    return code, json.loads(stdout)


async def full(start: Start, sink: Sink, *users: str) -> tuple[JobsRelay, list[str]]:
    """A relay with a file for each user, and their ids."""
    sink.script.final = lambda address, _: f"452 4.2.2 <{address}> over quota"
    relay = await start()
    numbers = [await relay.put(user) for user in users]
    await relay.until_list(lambda copies: [copy["state"] for copy in copies] == ["file"] * len(users), 30)
    return relay, numbers


async def test_nothing_that_waits_is_meant(start: Start, sink: Sink) -> None:
    relay, (bob,) = await full(start, sink, "bob")
    before = relay.files()
    for op in ORDERS:
        code, stdout, stderr = queue(relay, op, "--id", NOBODY)
        assert (code, stderr) == (66, f"posthouse queue {op}: {NOBODY}: no copy that waits is meant by this id\n")
        assert stdout.startswith("0 copies ")
        for dry in ((), ("--dry-run",)):
            code, answer = asked(relay, op, NOBODY, *dry)
            assert (code, answer["copies"], answer["missing"]) == (66, 0, [NOBODY])
            code, _, stderr = queue(relay, op, "--from", "nobody@*", *dry)
            assert (code, stderr) == (66, f"posthouse queue {op}: no copy that waits is meant by this filter\n")
    assert queue(relay, "show", NOBODY)[::2] == (66, "posthouse queue show: no copy that waits is meant\n")
    assert queue(relay, "why", NOBODY)[0] == 66
    assert queue(relay, "list", NOBODY) == (0, "no copy that waits is meant\n", "")
    assert relay.files() == before
    code, answer = asked(relay, "hold", bob, NOBODY)
    assert (code, answer["done"], answer["missing"]) == (66, 1, [NOBODY]), "what there is, is done"
    code, stdout, _ = queue(relay, "hold", "--all")
    assert (code, stdout) == (0, "0 copies held; 1 need not be\n")
    assert queue(relay, "retry", "--all")[:2] == (0, "0 copies are due now; 1 are held: `posthouse queue release`\n")


@pytest.mark.parametrize("running", [True, False])
async def test_all_of_an_empty_queue_is_nothing_wrong(start: Start, running: bool) -> None:
    relay = await start()
    if not running:
        await relay.stop_writer()
        await relay.close()
    for op in ORDERS[:4]:
        assert queue(relay, op, "--all")[0] == 0
        assert queue(relay, op, NOBODY)[0] == 66
    assert queue(relay, "list") == (0, "nothing waits\n", "")


async def test_a_file_that_cannot_be_read_is_no_orders(start: Start, sink: Sink) -> None:
    relay, (bob,) = await full(start, sink, "bob")
    await relay.stop_writer()
    await relay.close()
    (name,) = relay.files()
    path = relay.root / "data" / "queue" / name
    path.write_bytes(path.read_bytes()[:60])
    await relay.start(writer=False)
    (copy,) = await relay.until_list(lambda copies: [copy["state"] for copy in copies] == ["held"])
    assert copy["recipients"] == []
    for op in ("release", "drop"):
        code, stdout, stderr = queue(relay, op, bob)
        assert code == 70
        assert f"{Path(name).with_suffix('.HELD')}: the envelope does not end in a boundary\n" in stderr
        assert stdout.startswith("0 copies ")
    assert relay.files() == [str(Path(name).with_suffix(".HELD"))]


async def test_copies_there_is_no_room_for_are_listed_and_not_forgotten(start: Start, sink: Sink) -> None:
    relay, numbers = await full(start, sink, *(f"u{at}" for at in range(14)))
    await relay.stop_writer()
    await relay.close()
    jobs = relay.root / "config" / "job_controller.cnf"
    jobs.write_text("MAX_MESSAGES=10\n" + jobs.read_text())
    await relay.start(writer=False)
    rows = json.loads(queue(relay, "list", "--json")[1])
    assert sorted(row["id"] for row in rows) == sorted(numbers)
    code, stdout, _ = queue(relay, "summary")
    assert code == 0
    assert "10 copies, " in stdout
    assert "4 queue files more are known by the disk only (MAX_MESSAGES)" in stdout
    beyond = set(numbers) - {copy["id"] for copy in await relay.copies()}
    assert len(beyond) == 4
    why = json.loads(queue(relay, "why", "--to", "u*@example.com", "--json")[1])
    assert {row["id"] for row in why if "known by its file only" in row["why"]} == beyond
    code, stdout, stderr = queue(relay, "drop", "--to", "u*@example.com")
    assert (code, stdout) == (75, "10 copies dropped\n")
    assert "4 queue files are known by the disk only and were not looked at" in stderr
    await relay.until_list(lambda copies: {copy["id"] for copy in copies} == beyond)
    assert queue(relay, "drop", "--to", "u*@example.com")[:2] == (0, "4 copies dropped\n")
    assert relay.files() == []
