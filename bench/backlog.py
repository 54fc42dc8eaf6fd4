"""A relay's start over 100,000 queue files beside a bare scan of their tree, and its memory for each message.

The files wait in `tcp_lmtpcs`, one try made, at a store nobody listens at. A bare scan is os.scandir through the tree, first the
names only, then with a look at each file (stat). Two starts of the job controller are timed, from its exec to `ready`: with the
files, and before they were made; the difference is what the queue costs. Goals: the difference at most 3 scans of names, the
whole start, interpreter and modules included, at most 3 scans with a look. Memory is what the controller holds more of its own
once it knows all files, for each; the goal is 1 KiB.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ours
from measure import DOMAIN, free_port
from posthouse.dispatcher.family import PARENT_VARIABLE
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.message_id import base36
from posthouse.relay.job_controller.client import request
from posthouse.relay.job_controller.local_socket import NAME
from posthouse.relay.queue import names
from posthouse.relay.queue.queue_format import encode_head, new_boundary

FILES = int(os.environ.get("BENCH_QUEUE", "100000"))
SCANS, OCTETS = 3.0, 1024.0
READING_SECONDS = 120.0
CHANNEL, SUBDIRS = "tcp_lmtpcs", 20
MESSAGE = b"From: eve@remote.test\r\nSubject: waits\r\n\r\nhello\r\n"
"""short: what is measured never reads it"""


def fill(queue: Path, count: int) -> None:
    """So many copies for one user each, tried once."""
    now = int(time.time() * 1000)
    for number in range(SUBDIRS):
        (queue / CHANNEL / f"{number:03d}").mkdir(mode=0o700, parents=True, exist_ok=True)
    host = f"store1.{DOMAIN}.lmtp"
    for number in range(count):
        address = f"u{number % 10000:05d}@{DOMAIN}"
        waiting = Recipient(0, 0, CHANNEL, f"@{host}:u{number % 10000:05d}@lmtpcs-daemon", address, host)
        message = "0BENCH" + base36(number, 12)
        envelope = Envelope(message, "eve@remote.test", "tcp_local", "", now, len(MESSAGE), (waiting,))
        boundary = new_boundary(names.unique(message, 0))
        octets = encode_head(envelope, [waiting], boundary, None) + MESSAGE + boundary + b"\n"
        unique = names.unique(message, 0)
        path = queue / CHANNEL / names.subdir(unique, SUBDIRS) / names.file_name(message, 0, 1)
        path.write_bytes(octets)


def scan(queue: Path, *, look: bool) -> float:
    """Seconds to walk the tree."""
    began, seen, folders = time.perf_counter(), 0, [str(queue)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif look:
                    seen += entry.stat(follow_symlinks=False).st_size > 0
                else:
                    seen += 1
    seconds = time.perf_counter() - began
    assert seen >= FILES, "the tree is not what was made"
    return seconds


@dataclass(slots=True)
class Controller:
    """A job controller that runs."""

    process: subprocess.Popen[bytes]
    seconds: float
    """from its exec to `ready`"""

    def own_octets(self) -> int:
        """Memory of its own: no files, nothing shared."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Anonymous:"))


@contextlib.contextmanager
def controller(instance: Path) -> Iterator[Controller]:
    """Start one without its supervisor, and end it."""
    mine, theirs = socket.socketpair()
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "posthouse.relay.job_controller", "--instance", str(instance)],
        env={**os.environ, PARENT_VARIABLE: str(theirs.fileno())}, pass_fds=(theirs.fileno(),),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()
    try:
        mine.settimeout(120)
        if b"ready" not in mine.recv(4096):
            raise RuntimeError("the job controller did not start")
        yield Controller(process, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        mine.close()


def read_all(instance: Path) -> float:
    """Seconds until it knows every file."""
    began = time.perf_counter()
    while request(instance / "run" / NAME, "status")["unread"]:
        if time.perf_counter() - began > READING_SECONDS:
            raise RuntimeError("not all files are read")
        time.sleep(0.2)
    return time.perf_counter() - began


def run(root: Path, rounds: int) -> dict[str, Any]:
    port, folder = free_port(), root / "backlog"
    arguments = ["relay", str(folder), "--smtp", f"127.0.0.1:{port}", "--host", f"relay1.{DOMAIN}", "--default-domain", DOMAIN]
    arguments += ["--ldap", "ldap://127.0.0.1:9", "--base", "o=x", "--lmtp-port", "9", "--resolve", f"store1.{DOMAIN}=127.0.0.1"]
    ours.Instance(folder, arguments, port)
    queue = folder / "data" / "queue"
    for name in ("data/queue", "data/journal", "run", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    empty, empty_octets = [], 0
    for _ in range(rounds):
        with controller(folder) as started:
            empty.append(started.seconds)
            empty_octets = started.own_octets()
    fill(queue, FILES)
    full, scans, looks, reading, octets = [], [], [], 0.0, 0
    for number in range(rounds):
        scans.append(scan(queue, look=False))
        looks.append(scan(queue, look=True))
        with controller(folder) as started:
            full.append(started.seconds)
            if number == rounds - 1:
                reading, octets = read_all(folder), started.own_octets() - empty_octets
    measured = {
        "files": FILES, "scan_s": statistics.median(scans), "scan_with_look_s": statistics.median(looks),
        "start_s": statistics.median(full), "start_empty_s": statistics.median(empty), "read_s": reading,
        "octets_each": octets / FILES,
    }  # fmt: skip
    measured["queue_s"] = max(0.0, measured["start_s"] - measured["start_empty_s"])
    return {name: round(value, 4) for name, value in measured.items()}


def report(result: dict[str, Any]) -> list[str]:
    """Print what was measured; the goals it missed."""
    print(f"\nqueue: {result['files']:,} files wait\n")
    print(f"bare scan {result['scan_s']:.3f} s, with a look at each file {result['scan_with_look_s']:.3f} s")
    print(f"start {result['start_s']:.3f} s, with an empty queue {result['start_empty_s']:.3f} s; all read after {result['read_s']:.1f} s\n")
    judged = [
        ("the files cost a start {:.2f} scans of their names", result["queue_s"] / result["scan_s"], SCANS),
        ("a whole start takes as long as {:.2f} scans with a look", result["start_s"] / result["scan_with_look_s"], SCANS),
        ("memory for each message {:.0f} octets", result["octets_each"], OCTETS),
    ]
    missed = []
    for words, figure, goal in judged:
        text = f"{words.format(figure)}, goal {goal:g}"
        print(f"{'met   ' if figure <= goal else 'missed'}  {text}")
        missed += [f"queue, {text}"] if figure > goal else []
    return missed
