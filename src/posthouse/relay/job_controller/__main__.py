"""`python -m posthouse.relay.job_controller --instance DIR`: started by the supervisor.

Takes data/queue/jobs.lock, which its workers inherit: it waits up to 60 s for the workers of a former controller to end, then
names the reason and ends with 75. SIGTERM drains, SIGHUP reads the configuration again; a bad one changes nothing. A bad
configuration at the start is 78. When the parent is gone the process drains and ends.

`--orders-only`, for commands on a relay that does not run: nothing is delivered, returned for its age or filed; only what
operators order is done.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
from pathlib import Path

from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.dispatcher.family import (
    EX_CONFIG,
    EX_TEMPFAIL,
    EX_UNAVAILABLE,
    Parent,
    ignore_interrupt,
    inherited_locks,
    leave,
)
from posthouse.dispatcher.process_log import open_process_log
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.segment import UnknownVersion
from posthouse.relay.job_controller.controller import JobController, OrdersOnly, open_places
from posthouse.relay.queue.places import Places

LOCK_WAIT = 60.0


async def run(instance: Instance, parent: Parent, kind: type[JobController]) -> int:
    """Work until told to end; the exit code."""
    loop = asyncio.get_running_loop()
    log = open_process_log("job_controller")
    configuration = load(instance)
    disk = LinuxDisk()
    places = open_places(configuration, Places, disk)
    lock = disk.open_file("jobs.lock", places.tree.root, append=True)
    deadline = time.monotonic() + LOCK_WAIT
    while not disk.flock(lock):
        if time.monotonic() > deadline:
            log.error("jobs.lock is held by workers of another job controller")
            return EX_TEMPFAIL
        await asyncio.sleep(0.05)
    os.set_inheritable(lock, True)  # the workers hold it too
    controller = kind(configuration, places, (*inherited_locks(), lock))
    ending: set[asyncio.Task[None]] = set()

    def end() -> None:
        ending.add(loop.create_task(controller.drain()))

    def reload() -> None:
        try:
            controller.reload(load(instance))
        except ConfigurationError as error:
            controller.alarm(f"reload: {error}; the old configuration stays")

    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGHUP, reload)
    await controller.start()
    gc.freeze()  # configuration and modules stay; no need to look through them again and again
    gc.set_threshold(20_000, 20, 100)
    parent.watch(loop, end)
    parent.announce(ready=True, pid=os.getpid())
    await controller.ended.wait()
    return 0


def main() -> int:
    """Run the process; its exit code."""
    parser = argparse.ArgumentParser(prog="posthouse.relay.job_controller")
    parser.add_argument("--instance", required=True, type=Path)
    parser.add_argument("--orders-only", dest="kind", action="store_const", const=OrdersOnly, default=JobController)
    options = parser.parse_args()
    import uvloop

    ignore_interrupt()
    parent = Parent.from_environment()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(Instance(options.instance), parent, options.kind))
    except (ConfigurationError, UnknownVersion) as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    except OSError as error:
        sys.stderr.write(f"job controller: {error}\n")
        return EX_UNAVAILABLE


if __name__ == "__main__":
    leave(main())
