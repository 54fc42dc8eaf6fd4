"""Periodic jobs: what is due when, and the turn of the logs."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.config.job_controller_cnf import PeriodicJob, Times
from posthouse.relay.job_controller.periodic import Chore, Periodic, chore_of, first_after
from posthouse.trace.rotation import KEEP, rotate


@pytest.mark.parametrize(
    ("command", "chore"),
    [
        ("IMTA_BIN:return_job", Chore.TURN_LOGS),
        ("/opt/bin/RETURN_JOB -x", Chore.TURN_LOGS),
        ("synch", Chore.SCAN),
        ("/bin/rm -rf /", None),
        ("", None),
    ],
)
def test_only_our_own_chores_are_known(command: str, chore: Chore | None) -> None:
    assert chore_of(command) is chore


def test_due_once_each_time() -> None:
    jobs = [PeriodicJob("a", "synch", Times(None, 60)), PeriodicJob("b", "other", Times(None, 1))]
    periodic = Periodic(jobs, 1000.0)
    assert periodic.due(1059.0) == ()
    assert periodic.due(1060.0) == (Chore.SCAN,)
    assert periodic.due(1061.0) == ()
    assert periodic.due(5000.0) == (Chore.SCAN,)
    assert periodic.due(5001.0) == ()


@given(st.integers(0, 86_399), st.integers(60, 90_000), st.floats(1e9, 2e9))
def test_the_first_time_is_ahead_and_not_further_than_needed(first: int, every: int, now: float) -> None:
    at = first_after(Times(first, every), now)
    assert now < at <= now + max(every, 86_400 + 7200)


def test_half_past_twelve_at_night() -> None:
    day = time.mktime((2026, 6, 1, 12, 0, 0, 0, 0, -1))
    at = time.localtime(first_after(Times(1800, 86_400), day))
    assert (at.tm_mday, at.tm_hour, at.tm_min) == (2, 0, 30)


def test_logs_are_turned_and_nothing_is_lost(tmp_path: Path) -> None:
    for day in range(KEEP + 2):
        (tmp_path / "mail.log_current").write_text(f"{day}\n")
        (tmp_path / "transactions.jsonl").write_text(f"{day}\n")
        rotate(tmp_path)
    assert (tmp_path / "mail.log_yesterday").read_text() == f"{KEEP + 1}\n"
    assert (tmp_path / "mail.log").read_text().split() == [str(day) for day in range(KEEP + 1)]
    assert not (tmp_path / "transactions.jsonl").exists()
    assert (tmp_path / "transactions.jsonl.1").read_text() == f"{KEEP + 1}\n"
    assert len(list(tmp_path.glob("transactions.jsonl.*"))) == KEEP
    rotate(tmp_path)
    assert (tmp_path / "mail.log_yesterday").read_text() == f"{KEEP + 1}\n"
