"""The process of a pool's worker: opens what the channels need, is linked to the controller, ends when the worker has ended.

It is watched by a thread of its own, too: a loop that hangs cannot outlive the controller.
"""

import asyncio
import gc
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from typing import cast

from posthouse.config.configuration import load
from posthouse.config.instance import Instance
from posthouse.dispatcher.family import end_hard_when_closed
from posthouse.journal.disk import LinuxDisk
from posthouse.relay.channels.local_program import Opener
from posthouse.relay.channels.settings import read_all
from posthouse.relay.channels.worker import DRAIN_SECONDS, ChannelWorker
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.client import Announcer
from posthouse.relay.job_controller.local_socket import NAME
from posthouse.relay.job_controller.protocol import Alive, FrameError, Frames, Started, Upward, frame, read_downward
from posthouse.relay.notices.notifier import Notifier, Wording
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.relay.queue.places import Places
from posthouse.relay.routing import rules as routing_rules
from posthouse.trace.counters import Counters
from posthouse.trace.options import LogOptions
from posthouse.trace.writer import TransactionLog

_log = logging.getLogger("posthouse")


class Link(asyncio.Protocol):
    """The socketpair to the controller."""

    def __init__(self, worker: ChannelWorker) -> None:
        self._worker = worker
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socketpair is ours."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop has classes of its own

    def data_received(self, data: bytes) -> None:
        """Frames."""
        try:
            for body in self._frames.feed(data):
                for message in read_downward(body):
                    self._worker.take(message)
        except FrameError as error:
            _log.error("controller: %s", error)
            self._worker.orphaned()
            return
        self._worker.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """The controller is gone."""
        del exc
        self._worker.orphaned()

    def send(self, messages: list[Upward]) -> None:
        """One frame; lost when the controller is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame(messages))


async def run(instance: Instance, pool: str, link: socket.socket, open_local: Opener = None) -> None:
    """Work until told to end.

    Args:
        instance: the relay.
        pool: which pool's channels; only part of our name.
        link: our end of the socketpair.
        open_local: opens the store of this machine, where the pool delivers into it.

    Raises:
        ConfigurationError: the configuration is bad.
        OSError: the queue cannot be opened.
    """
    loop = asyncio.get_running_loop()
    announcer = Announcer(instance.run / NAME)
    held: list[Link] = []

    def send(messages: list[Upward]) -> None:
        held[0].send(messages)

    shop = _workshop(instance, pool, loop, announcer, send)
    worker = ChannelWorker(shop, pool)
    shop.notifier = Notifier(
        loop, shop.places.disk, shop.places.body, shop.enqueuer, worker.ids, time.time, shop.note, shop.log.process
    )
    shop.enqueuer.start()
    await worker.open_directory()
    if open_local is not None:
        worker.local = await open_local(shop, worker.one_less)
    fd = os.dup(link.fileno())  # watched by a thread, so that a blocked loop cannot keep an orphan alive
    opened = Link(worker)
    held.append(opened)  # leases may be here, and settled, before the next line returns
    await loop.create_connection(lambda: opened, sock=link)
    end_hard_when_closed(fd)
    loop.add_signal_handler(signal.SIGTERM, worker.drain, DRAIN_SECONDS)
    opened.send([Started(0)])
    gc.freeze()  # configuration and modules stay; no need to look through them again and again
    gc.set_threshold(20_000, 20, 100)
    ticker = loop.create_task(_tick(worker, opened))
    await worker.ended.wait()
    ticker.cancel()
    await loop.run_in_executor(None, shop.enqueuer.stop)
    shop.flush()
    announcer.close()
    if worker.local is not None:
        await worker.local.stop()
    if worker.process is not None:
        await worker.process.directory.close()
    shop.log.close()


def _workshop(
    instance: Instance, pool: str, loop: asyncio.AbstractEventLoop, announcer: Announcer, send: Callable[[list[Upward]], None]
) -> Workshop:
    configuration = load(instance)
    rules = routing_rules.compile(configuration, chance=random.random, clock=time.monotonic)
    host = rules.local_host or instance.root.name
    places = Places(LinuxDisk(), str(instance.journal), str(instance.queue))
    logging_channels = [name for name, channel in configuration.imta.channels.items() if channel.logging]
    options = LogOptions.from_options(configuration.options.integer)
    log = TransactionLog(instance.log, options, logging_channels, Counters(instance.counters, loop.call_later))
    enqueuer = Enqueuer(
        places.disk, places.journal, f"jobs-{pool.lower()}", call_soon=loop.call_soon_threadsafe, announce=announcer.synced
    )
    return Workshop(
        loop, configuration, rules, read_all(configuration), places, log, enqueuer, host,
        Wording.from_configuration(configuration, host), send,
    )  # fmt: skip


async def _tick(worker: ChannelWorker, link: Link) -> None:
    while True:
        await asyncio.sleep(1.0)
        link.send([Alive()])
        try:
            worker.tick()
        except Exception:  # without it no deadline is looked at any more, and nobody would know
            _log.exception("once a second")
