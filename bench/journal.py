"""Micro-benchmark of the journal: closed-loop clients append 4 KiB messages through the writer's threads.

    python bench/journal.py [--clients 32] [--messages 40000] [--size 4096] [--dir DIR]

Prints messages a second, CPU seconds for each 1000, mean batch. CPU is the whole process with the kernel's part.
"""

import argparse
import asyncio
import os
import tempfile
import time

import uvloop

from posthouse.journal.commit import Completion
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.segment import Tier
from posthouse.journal.writer import Writer


async def run(clients: int, messages: int, size: int, folder: str) -> None:
    loop = asyncio.get_running_loop()
    batches = []
    finished = loop.create_future()
    body, envelope = os.urandom(size), os.urandom(120)
    left = answered = 0

    def submit() -> None:
        nonlocal left
        if left:
            left -= 1
            writer.append(None, envelope, (body,), 1)

    def answer(done: list[Completion]) -> None:
        nonlocal answered
        answered += len(done)
        assert not any(each.error for each in done)
        for _ in done:
            submit()
        if answered == target:
            finished.set_result(None)

    def completed(done: list[Completion]) -> None:
        batches.append(len(done))
        loop.call_soon_threadsafe(answer, done)

    disk = LinuxDisk()
    fd = disk.open_dir(folder)
    writer = Writer(disk, fd, Tier.RELAY, "bench", completed=completed, max_segments=1000)
    writer.start()
    for target in (200, messages):
        left = target
        answered = 0
        batches.clear()
        finished = loop.create_future()
        cpu, start = time.process_time(), time.monotonic()
        for _ in range(min(clients, target)):
            submit()
        await finished
    took, used = time.monotonic() - start, time.process_time() - cpu
    await loop.run_in_executor(None, writer.stop)
    print(
        f"{clients} clients, {size} octets: {messages / took:,.0f}/s, {used / messages * 1000:.4f} CPU s/1000, "
        f"mean batch {messages / len(batches):.1f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--messages", type=int, default=40000)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--dir", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as name:
        uvloop.run(run(arguments.clients, arguments.messages, arguments.size, name))
