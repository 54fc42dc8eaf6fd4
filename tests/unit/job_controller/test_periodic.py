"""Periodic jobs: what is due when, and the turn of the logs."""

import time
from collections.abc import Iterator
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
    assert now < at <= now + every + 7200


def test_half_past_twelve_at_night() -> None:
    day = time.mktime((2026, 6, 1, 12, 0, 0, 0, 0, -1))
    at = time.localtime(first_after(Times(1800, 86_400), day))
    assert (at.tm_mday, at.tm_hour, at.tm_min) == (2, 0, 30)


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def shown(first: int, every: int, begin: tuple[int, int, int], hours: int) -> list[str]:
    """What the host's clock shows each time a job is done, looked at every five minutes."""
    start = int(time.mktime((*begin, 12, 0, 0, 0, 0, -1)))
    periodic = Periodic([PeriodicJob("a", "synch", Times(first, every))], start)
    done = [now for now in range(start, start + hours * 3600, 300) if periodic.due(now)]
    return [time.strftime("%d %H:%M", time.localtime(now)) for now in done]


@pytest.mark.parametrize(
    ("first", "every", "begin", "times"),
    [
        (3 * 3600, 86_400, (2026, 3, 27), "28 03:00, 29 03:00, 30 03:00"),
        (3 * 3600, 86_400, (2026, 10, 23), "24 03:00, 25 03:00, 26 03:00"),
        (2 * 3600 + 1800, 86_400, (2026, 3, 27), "28 02:30, 29 03:30, 30 02:30"),
        (2 * 3600 + 1800, 86_400, (2026, 10, 23), "24 02:30, 25 02:30, 26 02:30"),
        (1800, 8 * 3600, (2026, 10, 24), "24 16:30, 25 00:30, 25 08:30, 25 16:30, 26 00:30, 26 08:30"),
        (3 * 3600, 36 * 3600, (2026, 3, 27), "28 15:00, 30 03:00"),
    ],
)
def test_the_hour_stays_when_the_clock_changes_for_the_summer(
    in_berlin: None, first: int, every: int, begin: tuple[int, int, int], times: str
) -> None:
    assert ", ".join(shown(first, every, begin, 72)).startswith(times)


def test_short_periods_leave_no_hour_out(in_berlin: None) -> None:
    assert len(shown(600, 1800, (2026, 10, 24), 24)) == 48


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
