"""Clock, timer and threads of an event loop, as deliveries use them (`admission.Surroundings`)."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Around:
    """Clock, timer and threads.

    Args:
        loop: the event loop; everything but a thread's job runs in it.
        pool: the threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: ThreadPoolExecutor) -> None:
        self._loop = loop
        self._pool = pool
        self.now = time.time
        self.steady = time.monotonic

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back after some time."""
        if seconds:
            self._loop.call_later(seconds, callback)
        else:
            self._loop.call_soon(callback)

    def in_thread(self, job: Callable[[], object], then: Callable[[object], None]) -> None:
        """Run a job that blocks; `then` gets its result, or the exception it raised."""

        def run() -> None:
            try:
                result = job()
            except Exception as error:
                result = error
            self._loop.call_soon_threadsafe(then, result)

        self._pool.submit(run)
