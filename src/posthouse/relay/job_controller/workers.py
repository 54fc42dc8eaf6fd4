"""The channel workers of a job controller: each is started when its pool has work, missed when it ends, and started anew.

What a lost worker had stays with it until its process is gone: only then nobody else writes marks.
"""

import asyncio
import logging
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from posthouse.dispatcher.trouble import Trouble
from posthouse.relay.job_controller.child import Child, watch
from posthouse.relay.job_controller.protocol import Downward, Drain, Reload, Upward
from posthouse.relay.job_controller.stock import Stock

DRAIN_SECONDS = 33.0
_GONE_SECONDS = 0.05
_log = logging.getLogger("posthouse")


class Owner(Protocol):
    """Whose workers they are."""

    def heard(self, pool: str, messages: list[Upward]) -> None:
        """A worker's frame."""

    def give_back(self, pool: str) -> None:
        """A lost worker's process is gone: what it had is to be handed out again."""

    def soon(self) -> None:
        """Hand out what may go, after this turn."""

    def alarm(self, text: str) -> None:
        """Something a person must know."""


class Workers:
    """All of them, by pool.

    Args:
        owner: the controller.
        stock: its copies, and the plan.
        instance: the instance's folder.
        locks: descriptors they inherit.
    """

    def __init__(self, owner: Owner, stock: Stock, instance: Path, locks: tuple[int, ...]) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._stock = stock
        self._instance = instance
        self._locks = locks
        self._children: dict[str, Child] = {}
        self._troubles: dict[str, tuple[Trouble, ...]] = {}
        """what they have said"""
        self._starting: set[str] = set()
        self._recovering: set[str] = set()
        """pools whose lost worker's copies have not been given back"""
        self._ending = False

    async def start(self, pools: Sequence[str]) -> None:
        """Start the first ones, and look after all."""
        for pool in pools:
            await self._start(pool)
        self._loop.create_task(watch(self._children, self._owner.alarm))

    async def _start(self, pool: str) -> None:
        child = self._children.get(pool)
        if child is None:
            child = self._children[pool] = Child(pool, self._instance, self._locks, self._owner.heard, self._lost)
        self._starting.add(pool)
        try:
            if not self._ending:
                await child.start(self._stock.plan.worker_module(pool))
            if self._ending:  # `drain` could not be heard yet
                child.send([Drain()])
        except OSError as error:
            self._owner.alarm(f"a channel worker cannot be started: {error}")
            child.not_before = self._loop.time() + 1.0
        finally:
            self._starting.discard(pool)

    def get(self, pool: str) -> Child | None:
        """The pool's worker if it runs; else it is being started."""
        child = self._children.get(pool)
        if child is not None and child.running:
            return child
        ready = child is None or (child.ended() and self._loop.time() >= child.not_before)
        ready = ready and pool not in self._starting and pool not in self._recovering
        if ready and not self._ending:
            self._starting.add(pool)
            self._loop.create_task(self._start(pool)).add_done_callback(lambda _: self._owner.soon())
        return None

    def runs(self, pool: str) -> bool:
        """Whether the pool has a worker that can be told something."""
        return pool in self._children and self._children[pool].running

    def send(self, pool: str, messages: list[Downward]) -> None:
        """One frame for a worker that ran a moment ago."""
        self._children[pool].send(messages)

    # what they say of themselves

    def is_troubled(self, pool: str, troubles: tuple[Trouble, ...]) -> None:
        """A worker says what is wrong from now on."""
        self._troubles[pool] = troubles

    @property
    def troubles(self) -> list[Trouble]:
        """What keeps mail from being delivered on this machine."""
        return [*chain(*self._troubles.values()), *filter(None, (child.trouble() for child in self._children.values()))]

    def rows(self) -> list[dict[str, Any]]:
        """Those that run."""
        return [{"pool": child.pool, "pid": child.pid, "role": "channel"} for child in self._children.values() if child.pid]

    # their ends

    def _lost(self, pool: str) -> None:
        self._troubles.pop(pool, None)
        entries = self._stock.schedule.worker_lost(pool)
        if not self._ending:
            _log.warning("the channel worker of pool %s has ended; it had %d copies", pool, len(entries))
            self._recovering.add(pool)
            self._loop.call_later(_GONE_SECONDS, self._recover, pool)

    def _recover(self, pool: str) -> None:
        child = self._children[pool]
        if not child.ended():
            child.kill()
            self._loop.call_later(_GONE_SECONDS, self._recover, pool)
            return
        self._recovering.discard(pool)
        self._owner.give_back(pool)

    def reload(self) -> None:
        """Let them read the configuration again; one that is to be another program ends for it."""
        for child in self._children.values():
            other = child.module != self._stock.plan.worker_module(child.pool)
            child.send([Drain() if other else Reload()])

    async def drain(self) -> None:
        """Start none any more, and wait until all have ended what they do; those that take too long are killed."""
        self._ending = True
        for child in self._children.values():
            child.send([Drain()])
        deadline = self._loop.time() + DRAIN_SECONDS
        while any(not child.ended() for child in self._children.values()):
            await asyncio.sleep(0.02)
            if self._loop.time() > deadline:
                for child in self._children.values():
                    child.kill()
