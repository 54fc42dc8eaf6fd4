"""PERIODIC_JOB sections: which housekeeping is due (job-controller-cnf 2). Nothing else than ours is ever run.

    [PERIODIC_JOB=return]    COMMAND=IMTA_BIN:return_job    TIME=00:30/24:00

The last part of COMMAND counts: `return_job` turns the logs (notices and returns need no job, they are looked at all the time),
`synch` looks for queue files nobody told of. `HH:MM` is the host's own time, and stays so when that changes for the summer: what
is due in the hour that is left out comes an hour later, in the hour that comes twice it comes once. Periods of up to an hour are
only counted. A time that passed while the controller did not run is not made up for.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum

from posthouse.config.job_controller_cnf import PeriodicJob, Times, program_name

_HOUR = 3600


class Chore(Enum):
    """What can be done."""

    TURN_LOGS = "return_job"
    SCAN = "synch"


def chore_of(command: str) -> Chore | None:
    """What a COMMAND asks for; None: nothing of ours."""
    return next((chore for chore in Chore if chore.value == program_name(command)), None)


class _Job:
    """When something is due.

    Args:
        times: of its section.
        now: Unix seconds.
    """

    def __init__(self, times: Times, now: float) -> None:
        self._every, self._counted = times.every, times.first is None or times.every <= _HOUR
        here = datetime.fromtimestamp(now).astimezone().replace(tzinfo=None)
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
        self._clock = here if times.first is None else midnight + timedelta(seconds=times.first)
        """what the host's clock shows then"""
        self._clock += (here - self._clock) // timedelta(seconds=self._every) * timedelta(seconds=self._every)
        self.at = self._clock.timestamp()
        self.pass_over(now)

    def pass_over(self, now: float) -> None:
        """The next time is one that is ahead."""
        if self._counted:
            self.at += ((now - self.at) // self._every + 1) * self._every
        while self.at <= now:
            self._clock += timedelta(seconds=self._every)
            self.at = self._clock.timestamp()


class Periodic:
    """The jobs of one configuration.

    Args:
        jobs: of job_controller.cnf.
        now: Unix seconds.
    """

    def __init__(self, jobs: Iterable[PeriodicJob], now: float) -> None:
        known = ((chore_of(job.command), job.times) for job in jobs)
        self._jobs = [(_Job(times, now), chore) for chore, times in known if chore is not None]

    def due(self, now: float) -> tuple[Chore, ...]:
        """What is to be done now; each is counted as done."""
        found = []
        for job, chore in self._jobs:
            if now >= job.at:
                job.pass_over(now)
                found.append(chore)
        return tuple(dict.fromkeys(found))


def first_after(times: Times, now: float) -> float:
    """When something is due first, in Unix seconds."""
    return _Job(times, now).at
