"""A channel worker that is silent for a minute of its parent's own turns is killed; one that keeps ending is told of."""

import asyncio
from pathlib import Path

import pytest

from posthouse.relay.job_controller.child import GOOD_RUN, QUICK_ENDS, SILENT, SILENT_START, Child
from posthouse.relay.job_controller.protocol import Alive, frame


class _Open(asyncio.Transport):
    def is_closing(self) -> bool:
        return False


def _child() -> Child:
    child = Child("SMTP_POOL", Path("/"), (), lambda _pool, _messages: None, lambda _pool: None)
    child.connection_made(_Open())
    return child


def test_silence_is_told_once_after_a_minute() -> None:
    child = _child()
    child.data_received(frame([Alive()]))
    assert [child.second() for _ in range(SILENT - 1)] == [False] * (SILENT - 1)
    assert child.second()
    assert not child.second()


def test_any_word_begins_the_minute_anew() -> None:
    child = _child()
    child.data_received(frame([Alive()]))
    for _ in range(10):
        assert not any(child.second() for _ in range(SILENT - 1))
        child.data_received(frame([Alive()]))


def test_one_that_starts_has_longer() -> None:
    child = _child()
    assert not any(child.second() for _ in range(SILENT_START - 1))
    assert child.second()


async def test_one_that_ends_again_and_again_is_told_of_until_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    child = _child()
    for _ in range(QUICK_ENDS):
        assert child.trouble() is None
        child.connection_made(_Open())
        child._started = now  # as `start` does
        child.connection_lost(None)
    trouble = child.trouble()
    assert trouble is not None
    assert (trouble.what, f"has ended {QUICK_ENDS} times" in trouble.text) == ("worker", True)
    child.connection_made(_Open())
    child._started = now
    assert child.trouble() is not None
    now += GOOD_RUN
    assert child.trouble() is None
    child.connection_lost(None)
    assert child.trouble() is None, "that is the first time again"


async def test_one_that_has_been_killed_and_not_started_again_is_not_told_of_each_second() -> None:
    child = _child()
    child.data_received(frame([Alive()]))
    assert sum(child.second() for _ in range(SILENT)) == 1
    child.connection_lost(None)
    assert not any(child.second() for _ in range(10))
