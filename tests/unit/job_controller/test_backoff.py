"""The tables of job-controller-cnf 3 to 5."""

import pytest

from posthouse.mail.status import Status
from posthouse.relay.job_controller.backoff import (
    BUSY_LIMIT,
    Tries,
    Verdict,
    after,
    busy_wait,
    host_wait,
    is_busy,
    next_notice,
    notices_passed,
    ordinary_wait,
)

NORMAL = tuple(60.0 * minutes for minutes in (60, 120, 120, 240, 240, 240, 480))


def test_worked_example_of_the_reference() -> None:
    tries, now, times = Tries(), 0.0, []
    for _ in range(8):
        tries, wait = after(tries, Verdict.DEFERRED, NORMAL, 0.0)
        now += wait
        times.append(now / 60)
    assert times == [60, 180, 300, 540, 780, 1020, 1500, 1980]


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 3600.0), (0.5, 3690.0), (1.0, 3780.0)])
def test_a_wait_is_stretched_by_at_most_five_percent(chance: float, wait: float) -> None:
    assert ordinary_wait(NORMAL, 1, chance) == pytest.approx(wait)


@pytest.mark.parametrize(
    ("busies", "low", "high"), [(1, 1, 15), (5, 1, 15), (6, 1, 30), (11, 1, 60), (16, 1, 120), (21, 1, 120), (50, 1, 120)]
)
def test_busy_range_doubles_every_five(busies: int, low: float, high: float) -> None:
    assert busy_wait(busies, 0.0) == low
    assert busy_wait(busies, 1.0) == high


def test_busy_does_not_advance_the_backoff_until_the_limit() -> None:
    tries = Tries(failures=2)
    for _ in range(BUSY_LIMIT):
        tries, wait = after(tries, Verdict.BUSY, NORMAL, 0.5)
        assert wait < 121
    assert tries == Tries(attempts=BUSY_LIMIT, failures=2, busies=BUSY_LIMIT)
    tries, wait = after(tries, Verdict.BUSY, NORMAL, 0.0)
    assert (tries.failures, wait) == (3, 7200.0)


def test_another_failure_ends_a_run_of_busies() -> None:
    tries, _ = after(Tries(busies=7), Verdict.DEFERRED, NORMAL, 0.0)
    assert tries.busies == 0


def test_one_immediate_retry_after_a_partial_failure() -> None:
    tries, wait = after(Tries(), Verdict.PARTLY, NORMAL, 0.0)
    assert (wait, tries.failures, tries.instant) == (0.0, 0, True)
    tries, wait = after(tries, Verdict.PARTLY, NORMAL, 0.0)
    assert (wait, tries.failures) == (3600.0, 1)


@pytest.mark.parametrize(("verdict", "attempts"), [(Verdict.AGAIN, 4), (Verdict.HOST_DOWN, 5)])
def test_a_host_that_is_down_and_a_stale_session_leave_the_backoff_alone(verdict: Verdict, attempts: int) -> None:
    tries, wait = after(Tries(attempts=4, failures=1), verdict, NORMAL, 1.0)
    assert (tries.attempts, tries.failures, wait) == (attempts, 1, 0.0)


@pytest.mark.parametrize(("failures", "wait"), [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (99, 3600)])
def test_host_wait_doubles_up_to_the_first_backoff(failures: int, wait: float) -> None:
    assert host_wait(failures, 3600.0, 0.0) == wait
    assert host_wait(failures, 3600.0, 1.0) == pytest.approx(wait * 1.05)


@pytest.mark.parametrize(
    ("reply", "busy"),
    [
        ("420 4.2.0 <bob> Mailbox Locked", True),
        ("450 4.2.1 Mailbox busy", True),
        ("450 4.2.1 come back", True),
        ("451 mailbox BUSY now", True),
        ("420 4.2.0 <bob> Mailbox Bad Formats", False),
        ("422 4.2.2 <bob> Quota Exceeded", False),
        ("550 5.2.1 Mailbox busy", False),
        ("250 2.5.0 Mailbox Locked", False),
    ],
)
def test_which_replies_are_busy(reply: str, busy: bool) -> None:
    assert is_busy(Status.parse(reply)) is busy


def test_notices_count_full_units() -> None:
    ages = (3, 6, 9, 12)
    assert next_notice(ages, 86400.0, 1000.0, 0) == 1000.0 + 3 * 86400
    assert next_notice(ages, 86400.0, 1000.0, 3) == 1000.0 + 12 * 86400
    assert next_notice(ages, 86400.0, 1000.0, 4) is None
    assert notices_passed(ages, 1.0, 0.0, 2.9) == 0
    assert notices_passed(ages, 1.0, 0.0, 6.0) == 2
    assert notices_passed(ages, 1.0, 0.0, 100.0) == 3, "the last one is the return, never counted as given"
