"""Why a copy is held: in words, wherever it is asked for, from a running job controller, after a restart and from the disk."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from posthouse.mail.envelope import Recipient
from support.jobs_relay import JobsRelay, Start
from support.lmtp_sink import Sink

ANN = "ann@example.com"
LOOP = "held: mail loop, 51 Received lines"
NOBODY_SAID = "held: it waits for `posthouse queue release`"


def command(relay: JobsRelay, *words: str) -> Any:
    done = posthouse(relay, *words, "--json")
    assert done.returncode == 0, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def posthouse(relay: JobsRelay, *words: str) -> "subprocess.CompletedProcess[str]":
    asked = [sys.executable, "-m", "posthouse.cli", *words, "--instance", str(relay.root)]
    return subprocess.run(asked, capture_output=True, text=True, check=False, timeout=60)


def held(why: str) -> Recipient:
    address = f"@store1.example.com.lmtp:{ANN.partition('@')[0]}@lmtpcs-daemon"
    return Recipient(0, 0, "tcp_lmtpcs", address, ANN, "store1.example.com.lmtp", held=True, why=why)


async def until_held(relay: JobsRelay) -> dict[str, Any]:
    (copy,) = await relay.until_list(lambda copies: [each["state"] for each in copies] == ["held"], 20)
    return copy


def said(relay: JobsRelay, number: str) -> list[str]:
    """What `why`, `list` and `show` say, and `show` and `list` for people."""
    (why,), (row,), (copy,) = command(relay, "queue", "why", number), command(relay, "queue", "list"), command(
        relay, "queue", "show", number
    )  # fmt: skip
    assert posthouse(relay, "queue", "why", number).stdout.splitlines()[0].endswith(f": {why['why']}")
    return [why["why"], row["why"], copy["why"], row.get("reason", ""), copy.get("reason", "")]


async def stopped(relay: JobsRelay) -> None:
    await relay.stop_writer()
    await relay.close()


async def test_the_reason_given_at_acceptance_is_told_everywhere(start: Start) -> None:
    relay = await start()
    number = await relay.put_recipients([held(LOOP)])
    await until_held(relay)
    assert said(relay, number) == [LOOP] * 5
    assert LOOP in posthouse(relay, "queue", "show", number).stdout
    assert LOOP in posthouse(relay, "queue", "list").stdout
    assert LOOP in posthouse(relay, "trace", number).stdout
    assert [(each["action"], each["reason"]) for each in command(relay, "trace", number)] == [("H", LOOP)]
    await stopped(relay)
    assert said(relay, number) == [LOOP] * 5
    await relay.start()
    await until_held(relay)
    assert said(relay, number) == [LOOP] * 5


async def test_an_operators_hold_is_told_after_a_restart_too_and_forgotten_at_a_release(start: Start, sink: Sink) -> None:
    sink.script.final = lambda address, _: f"452 4.2.2 <{address}> over quota"
    relay = await start()
    number = await relay.put("ann")
    await relay.until_list(lambda copies: [each["state"] for each in copies] == ["file"], 20)
    command(relay, "queue", "hold", number)
    await stopped(relay)
    assert said(relay, number) == ["held by an operator"] * 5
    await relay.start()
    await until_held(relay)
    assert said(relay, number) == ["held by an operator"] * 5
    command(relay, "queue", "release", number)
    (copy,) = await relay.until_list(lambda copies: [each["state"] for each in copies] == ["file"], 20)
    await stopped(relay)
    path = Path(copy["file"])
    (path,) = path.parent.glob(f"*{number}*")
    path.rename(path.with_suffix(".HELD"))
    await relay.start()
    await until_held(relay)
    assert said(relay, number) == [NOBODY_SAID] * 3 + ["", ""]


async def test_a_file_without_a_reason_says_what_it_always_said(start: Start) -> None:
    relay = await start()
    number = await relay.put_recipients([held("")])
    await until_held(relay)
    assert said(relay, number) == [NOBODY_SAID] * 3 + ["", ""]
    await stopped(relay)
    assert said(relay, number) == [NOBODY_SAID] * 3 + ["", ""]


async def test_a_damaged_copy_is_not_released(start: Start) -> None:
    relay = await start()
    number = await relay.put_recipients([held(LOOP)])
    path = Path((await until_held(relay))["file"])
    content = path.read_bytes()
    place = content.index(b"Subject:")
    path.write_bytes(content[:place] + b"Xubject:" + content[place + 8 :])
    done = posthouse(relay, "queue", "release", number)
    assert (done.returncode, done.stdout) == (70, "0 copies released\n")
    assert f"{number}: the message is not what was written" in done.stderr
    assert path.exists()
    path.write_bytes(content)
    assert command(relay, "queue", "release", number)["done"] == 1, "mended by hand it goes"
    await relay.empty()
