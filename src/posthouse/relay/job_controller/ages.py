"""When copies become too old to say nothing: warnings and returns, in whatever state a copy is (job-controller-cnf 5).

Each copy of the schedule is in the agenda once, whether it is ready, waits, or is with a worker: one that cannot be had now is
asked for again. So none outlives its last age unseen; `overdue` counts those that have, as the proof.
"""

from typing import Any

from posthouse.relay.job_controller.agenda import Agenda
from posthouse.relay.job_controller.backoff import next_notice, notices_passed
from posthouse.relay.job_controller.cargo import cargo_of
from posthouse.relay.job_controller.entry import Entry
from posthouse.relay.job_controller.plan import Plan
from posthouse.relay.job_controller.protocol import Job
from posthouse.relay.job_controller.schedule import Schedule

SPARED = 3600.0
"""seconds in which a copy is tried before it is returned: one that was released, or is found too old already, by a relay that was
off or whose clock was wrong"""
AGAIN = 30.0
"""seconds after which a move or a notice that failed is tried again"""


class Ages:
    """The notices of a schedule's copies.

    Args:
        schedule: the copies.
        plan: says the ages.
    """

    def __init__(self, schedule: Schedule, plan: Plan) -> None:
        self._schedule = schedule
        self._plan = plan
        self.agenda = Agenda(max(plan.unit / 3600.0, 0.01))

    def enter(self, entry: Entry, now: float) -> None:
        """A copy has come in. Warnings whose age it has passed count as given."""
        cargo, unit = cargo_of(entry), self._plan.unit
        ages = self._plan.ages(entry.channel, cargo.priority)
        if not ages:
            return
        due = entry.enqueued + ages[0] * unit
        if now >= due:
            cargo.notices = notices_passed(ages, unit, entry.enqueued, now)
            if now >= entry.enqueued + ages[-1] * unit:
                cargo.spared = max(cargo.spared, now + SPARED)
            self.plan_next(entry)
        else:
            self.agenda.add(due, entry.key)

    def plan_next(self, entry: Entry) -> None:
        """Note when its next notice is due."""
        cargo = cargo_of(entry)
        due = next_notice(self._plan.ages(entry.channel, cargo.priority), self._plan.unit, entry.enqueued, cargo.notices)
        if due is not None:
            self.agenda.add(due, entry.key)

    def pass_over(self, entry: Entry, now: float) -> None:
        """Of the warnings whose age it has passed at once, all but the newest count as given."""
        cargo = cargo_of(entry)
        passed = notices_passed(self._plan.ages(entry.channel, cargo.priority), self._plan.unit, entry.enqueued, now)
        cargo.notices = max(cargo.notices, passed - 1)

    def take(self, key: int, now: float) -> tuple[Entry, Job] | None:
        """A copy the agenda has named, taken from the schedule, and what is to be done; None when it is not to be done now."""
        entry = self._schedule.get(key)
        if entry is None:
            return None
        cargo, unit = cargo_of(entry), self._plan.unit
        ages = self._plan.ages(entry.channel, cargo.priority)
        due = next_notice(ages, unit, entry.enqueued, cargo.notices)
        if due is None or due > now:  # it stands in the agenda once more, or was done
            return None
        last = cargo.notices == len(ages) - 1
        if (last and now < cargo.spared) or self._schedule.take(key) is None:  # never while it is being delivered
            self.agenda.add(now + min(AGAIN, unit), key)
            return None
        return entry, Job.RETURN if last else Job.WARN

    def overdue(self, now: float) -> dict[str, Any]:
        """Copies older than the age at which they are returned, in whatever state, and by how much the oldest."""
        count, oldest, unit = 0, 0.0, self._plan.unit
        for entry in self._schedule:
            ages = self._plan.ages(entry.channel, cargo_of(entry).priority)
            late = now - entry.enqueued - ages[-1] * unit if ages else 0.0
            if late > 0.0:
                count += 1
                oldest = max(oldest, late)
        return {"copies": count, "oldest_seconds": round(oldest, 3)}
