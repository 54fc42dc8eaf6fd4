"""`posthouse start`, `status`, `reload`, `stop` on a real store made by `posthouse init`."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from posthouse.cli import COMMANDS
from posthouse.dispatcher import lock
from posthouse.testing.tiers import free_port
from support.family_rig import wait_for

POSTHOUSE = str(Path(sys.executable).with_name("posthouse"))


def posthouse(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **environment}
    return subprocess.run([POSTHOUSE, *words], capture_output=True, text=True, check=False, timeout=60, env=env)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "store"
    facts = "--host store1.example.com --default-domain example.com --allow 127.0.0.1"
    assert posthouse("init", "store", str(root), "--lmtp", f"127.0.0.1:{free_port()}", *facts.split()).returncode == 0
    yield root
    for pid in lock.holders(root / "data" / "lock"):
        os.kill(pid, 9)


def launch(root: Path) -> "subprocess.Popen[str]":
    with (root / "log" / "start").open("a") as said:
        return subprocess.Popen([POSTHOUSE, "start", "--instance", str(root)], stdout=subprocess.PIPE, stderr=said, text=True)


def test_the_life_of_a_store(store: Path) -> None:
    at = ("--instance", str(store))
    stopped = posthouse("status", "--json", *at)
    assert stopped.returncode == 69
    assert json.loads(stopped.stdout)["state"] == "stopped"
    process = launch(store)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    status = posthouse("status", "--json", *at)
    assert status.returncode == 0
    facts = json.loads(status.stdout)
    assert facts["ready"] is True
    assert [row["role"] for row in facts["processes"]] == ["supervisor", "dispatcher", "lmtp"]
    assert facts["processes"][0]["pid"] == process.pid == int((store / "run" / "posthouse.pid").read_text())
    assert facts["processes"][0]["since"].endswith("Z")
    assert "LMTPSS listens on 127.0.0.1" in posthouse("status", POSTHOUSE_INSTANCE=str(store)).stdout
    assert posthouse("reload", *at).returncode == 0
    second = posthouse("start", *at)
    assert (second.returncode, second.stdout) == (75, "")
    assert str(process.pid) in second.stderr
    assert posthouse("stop", *at).returncode == 0
    assert process.wait(10) == 0
    assert process.stdout.read() == ""
    process.stdout.close()
    assert not lock.is_held(store / "data" / "lock")
    assert posthouse("stop", *at).returncode == 0
    assert posthouse("reload", *at).returncode == 69


def test_a_start_without_standard_files_is_a_start(store: Path) -> None:
    words = f"exec {POSTHOUSE} start --instance {store} <&- >&- 2>&-"
    process = subprocess.Popen(["sh", "-c", words])
    wait_for(lambda: posthouse("status", "--instance", str(store)).returncode == 0, every=0.2)
    assert {Path(f"/proc/{process.pid}/fd/{number}").readlink() for number in range(3)} == {Path(os.devnull)}
    assert posthouse("stop", "--instance", str(store)).returncode == 0
    assert process.wait(10) == 0
    assert subprocess.run(["sh", "-c", f"exec {POSTHOUSE} status --instance {store} >&- 2>&-"], check=False).returncode == 69


def test_sighup_ends_no_start(store: Path) -> None:
    process = launch(store)
    assert process.stdout is not None
    hears = threading.Event()
    hups = threading.Thread(target=keep_hanging_up, args=(process, hears))
    hups.start()
    try:
        assert process.stdout.readline() == "ready\n", "from the moment it is a Python program"
    finally:
        hears.set()
        hups.join()
        process.kill()
        process.wait(10)
        process.stdout.close()


def keep_hanging_up(process: "subprocess.Popen[str]", end: threading.Event) -> None:
    """SIGHUP again and again, from when the process ignores it."""
    wait_for(lambda: hears_sighup(process.pid), every=0.001)
    while not end.wait(0.01):
        process.send_signal(signal.SIGHUP)


def hears_sighup(pid: int) -> bool:
    """Whether it would not be ended by one."""
    text = Path(f"/proc/{pid}/status").read_text()
    masks = (line.split()[1] for line in text.splitlines() if line.startswith(("SigIgn:", "SigCgt:")))
    return any(int(mask, 16) & 1 << signal.SIGHUP - 1 for mask in masks)


def test_a_supervisor_that_hangs_is_named(store: Path) -> None:
    process = launch(store)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    status = posthouse("status", "--json", "--instance", str(store))
    assert status.returncode == 75
    assert f"supervisor {process.pid} does not answer" in status.stderr
    facts = json.loads(status.stdout)
    assert [(row["role"], row["pid"], row["state"]) for row in facts["processes"]] == [("supervisor", process.pid, "silent")]
    stop = posthouse("stop", "--seconds", "1", "--instance", str(store))
    assert stop.returncode == 75
    first, second, last = stop.stderr.splitlines()
    assert first == "the supervisor does not answer, waiting for it (10 seconds)"
    assert second == "the supervisor does not answer; waiting for the end of all processes (1 seconds)"
    assert last.startswith("processes still end: ")
    process.kill()
    process.wait(10)
    process.stdout.close()


def test_a_bad_reload_changes_nothing_and_names_the_fault(store: Path) -> None:
    process = launch(store)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (store / "config" / "mappings").write_text("PORT_ACCESS\n\n  TCP|*|*|*|*  $Y  third column\n")
    reload = posthouse("reload", "--instance", str(store))
    assert reload.returncode == 78
    assert "mappings:3" in reload.stderr
    (store / "config" / "mappings").write_text("FROM_ACCESS\n\n  *  $I\n")
    reload, check = posthouse("reload", "--instance", str(store)), posthouse("check", "--instance", str(store))
    assert (reload.returncode, reload.stdout) == (0, "")
    assert "its entries do nothing" in reload.stderr
    assert reload.stderr == check.stderr, "a reload warns of what check warns of"
    services = store / "config" / "dispatcher.cnf"
    services.write_text(services.read_text().replace("MAX_CONNS=", "MAX_CONNS=1"))
    with (store / "config" / "imta_tailor").open("a") as file:
        file.write("IMTA_SOMETHING=else\n")
    assert posthouse("reload", "--instance", str(store)).stderr.splitlines()[-2:] == [
        "dispatcher.cnf: service LMTPSS was changed: that takes a restart", "imta_tailor was changed: that takes a restart",
    ]  # fmt: skip
    status = posthouse("status", "--instance", str(store))
    assert status.returncode == 0
    assert ": imta_tailor was changed: that takes a restart\n" in status.stdout
    assert "not read yet" not in status.stdout
    assert posthouse("stop", "--instance", str(store)).returncode == 0
    process.communicate(timeout=10)


def test_stop_reaches_a_supervisor_whose_socket_is_lost(store: Path) -> None:
    process = launch(store)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (store / "run" / "supervisor.sock").unlink()
    assert posthouse("stop", "--instance", str(store)).returncode == 0
    process.communicate(timeout=10)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_every_process_killed_in_turn_and_the_store_is_ready_again(store: Path) -> None:
    process = launch(store)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for role in ("lmtp", "dispatcher"):
        rows = json.loads(posthouse("status", "--json", "--instance", str(store)).stdout)["processes"]
        victim = next(row["pid"] for row in rows if row["role"] == role)
        os.kill(victim, 9)
        wait_for(partial(is_gone, victim))
        wait_for(lambda: posthouse("status", "--instance", str(store)).returncode == 0)
    os.kill(process.pid, 9)
    process.communicate()
    begin = time.monotonic()
    process = launch(store)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert time.monotonic() - begin < 7
    assert posthouse("stop", "--instance", str(store)).returncode == 0
    process.communicate(timeout=10)


@pytest.mark.parametrize("words", [["status", "--bogus"], ["nothing"], ["stop", "--seconds", "soon"]])
def test_wrong_usage_is_64(words: list[str]) -> None:
    assert posthouse(*words).returncode == 64


@pytest.mark.parametrize(
    ("words", "needs"),
    [(["init", "store"], "FOLDER, --lmtp, --allow, --host, --default-domain"), (["init", "store", "x", "--lmtp", "127.0.0.1:24"],
     "FOLDER, --lmtp, --allow, --host, --default-domain"), (["route"], "ADDRESS")],
)  # fmt: skip
def test_who_leaves_something_out_hears_all_that_is_needed(words: list[str], needs: str) -> None:
    ended = posthouse(*words)
    assert ended.returncode == 64
    command = " ".join(["posthouse", *words[:2]])
    assert f"{command} needs {needs}; `{command} --help` tells of each" in ended.stderr


def test_help_says_what_every_command_does() -> None:
    shown = posthouse("--help")
    assert shown.returncode == 0
    for name, (_, purpose) in COMMANDS.items():
        assert name in shown.stdout
        assert purpose.split()[0] in shown.stdout


def test_every_command_can_be_imported_and_explains_itself() -> None:
    for name in COMMANDS:
        assert posthouse(name, "--help").returncode == 0, name
