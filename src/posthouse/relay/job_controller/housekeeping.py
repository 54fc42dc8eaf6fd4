"""Does what PERIODIC_JOB sections ask for (periodic.py), in the controller's loop; a fault of it stops nothing."""

import asyncio
import time
from typing import Protocol

from posthouse.config.configuration import Configuration
from posthouse.relay.job_controller.periodic import Chore, Periodic
from posthouse.trace.rotation import rotate


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
    """

    def __init__(self, owner: Owner, configuration: Configuration) -> None:
        self._owner = owner
        self.configure(configuration)

    def configure(self, configuration: Configuration) -> None:
        """Other jobs from now on."""
        jobs = configuration.job_controller
        self._log = configuration.instance.log
        self._periodic = Periodic(jobs.periodic_jobs if jobs is not None else (), time.time())

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
