"""PERIODIC_JOB sections: which housekeeping is due (job-controller-cnf 2). Nothing else than ours is ever run.

    [PERIODIC_JOB=return]    COMMAND=IMTA_BIN:return_job    TIME=00:30/24:00

The last part of COMMAND counts: `return_job` turns the logs (notices and returns need no job, they are looked at all the time),
`synch` looks for queue files nobody told of. `HH:MM` is the host's own time; the day it changes for the summer a job may come an
hour early or late. A time that passed while the controller did not run is not made up for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from posthouse.config.job_controller_cnf import PeriodicJob, Times, program_name


class Chore(Enum):
    """What can be done."""

    TURN_LOGS = "return_job"
    SCAN = "synch"


def chore_of(command: str) -> Chore | None:
    """What a COMMAND asks for; None: nothing of ours."""
    return next((chore for chore in Chore if chore.value == program_name(command)), None)


@dataclass(slots=True)
class _Job:
    at: float
    every: int
    chore: Chore


class Periodic:
    """The jobs of one configuration.

    Args:
        jobs: of job_controller.cnf.
        now: Unix seconds.
    """

    def __init__(self, jobs: Iterable[PeriodicJob], now: float) -> None:
        known = ((chore_of(job.command), job.times) for job in jobs)
        self._jobs = [_Job(first_after(times, now), times.every, chore) for chore, times in known if chore is not None]

    def due(self, now: float) -> tuple[Chore, ...]:
        """What is to be done now; each is counted as done."""
        found = []
        for job in self._jobs:
            if now >= job.at:
                job.at += ((now - job.at) // job.every + 1) * job.every
                found.append(job.chore)
        return tuple(dict.fromkeys(found))


def first_after(times: Times, now: float) -> float:
    """When a job is due first."""
    if times.first is None:
        return now + times.every
    midnight = datetime.fromtimestamp(now).astimezone().replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    at = midnight + times.first
    return at if at > now else at + ((now - at) // times.every + 1) * times.every
