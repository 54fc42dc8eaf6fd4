"""Does what PERIODIC_JOB sections ask for (periodic.py), in the controller's loop; a fault of it stops nothing.

It sees too when the clock is set (clock_step.py), which moves the jobs' times like all others.
"""

import asyncio
import logging
import time
from typing import Protocol

from posthouse.config.configuration import Configuration
from posthouse.relay.job_controller.clock_step import ClockStep, set_back, set_forward
from posthouse.relay.job_controller.periodic import Chore, Periodic
from posthouse.relay.job_controller.stock import Stock
from posthouse.trace.rotation import rotate

_log = logging.getLogger("posthouse")


class Owner(Protocol):
    """Whose house it is."""

    def scan_files(self) -> None:
        """Look for queue files that are not known."""

    def alarm(self, text: str) -> None:
        """Something a person must know."""


class Housekeeping:
    """The chores of a relay.

    Args:
        owner: the controller.
        configuration: of the relay.
        stock: the copies that wait.
    """

    def __init__(self, owner: Owner, configuration: Configuration, stock: Stock) -> None:
        self._owner = owner
        self._stock = stock
        self._clock = ClockStep(time.time, time.monotonic)
        self.configure(configuration)

    def configure(self, configuration: Configuration) -> None:
        """Other jobs from now on."""
        jobs = configuration.job_controller
        self._log = configuration.instance.log
        self._jobs = jobs.periodic_jobs if jobs is not None else ()
        self._periodic = Periodic(self._jobs, time.time())

    def look_at_the_clock(self) -> None:
        """See whether it was set; before anything is done because of the time."""
        step = self._clock.step()
        if step > 0.0:
            _log.warning("the clock was set forward by %.0f seconds: what is too old by it is tried once more", step)
            set_forward(self._stock, time.time())
        elif step < 0.0:
            _log.warning("the clock was set back by %.0f seconds: nothing waits longer for it", -step)
            set_back(self._stock, -step)
            self._periodic = Periodic(self._jobs, time.time())

    async def each_second(self) -> None:
        """Do what is due."""
        for chore in self._periodic.due(time.time()):
            if chore is Chore.SCAN:
                self._owner.scan_files()
                continue
            try:
                await asyncio.get_running_loop().run_in_executor(None, rotate, self._log)
            except OSError as error:
                self._owner.alarm(f"the logs could not be turned: {error}")
