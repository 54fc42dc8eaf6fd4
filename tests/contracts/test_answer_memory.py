"""What every memory of vacation answers does: the one in files and the one for tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.relay.notices.answer_memory import AnswerMemory, FileAnswerMemory, answer_key, folder_of
from posthouse.testing.answers import RememberedAnswers

DAY = 86_400.0
NOW = 1_795_428_000.0
KEY = answer_key("Bob@remote.test")

Make = Callable[[Path], AnswerMemory]
MAKERS: dict[str, Make] = {
    "files": lambda folder: FileAnswerMemory(folder_of(folder)),
    "testing": lambda _: RememberedAnswers(),
}


@pytest.fixture(params=MAKERS)
def memory(request: pytest.FixtureRequest, tmp_path: Path) -> AnswerMemory:
    return MAKERS[request.param](tmp_path)


def test_the_second_claim_within_the_time_is_refused(memory: AnswerMemory) -> None:
    assert memory.claim("ann", KEY, NOW, DAY)
    assert not memory.claim("ann", KEY, NOW + DAY - 1, DAY)
    assert memory.claim("ann", KEY, NOW + DAY, DAY)
    assert not memory.claim("ann", KEY, NOW + DAY + 1, DAY)


def test_a_refused_claim_does_not_prolong_the_first(memory: AnswerMemory) -> None:
    assert memory.claim("ann", KEY, NOW, DAY)
    assert not memory.claim("ann", KEY, NOW + DAY / 2, DAY)
    assert memory.claim("ann", KEY, NOW + DAY + 1, DAY)


def test_two_at_once_are_one(memory: AnswerMemory) -> None:
    assert [memory.claim("ann", KEY, NOW + part, DAY) for part in (0.4, 0.6, 0.7, 1.2)] == [True, False, False, False]
    assert [memory.claim("eve", KEY, NOW + part, DAY) for part in (0.6, 0.7)] == [True, False]


def test_owners_senders_and_handles_are_apart(memory: AnswerMemory) -> None:
    assert memory.claim("ann", KEY, NOW, DAY)
    assert memory.claim("eve@hosted.example.org", KEY, NOW, DAY)
    assert memory.claim("ann", answer_key("other@remote.test"), NOW, DAY)
    assert memory.claim("ann", answer_key("bob@remote.test", "second"), NOW, DAY)
    assert not memory.claim("ann", answer_key("bob@REMOTE.test"), NOW + 1, DAY)


def test_the_time_asked_for_now_counts(memory: AnswerMemory) -> None:
    assert memory.claim("ann", KEY, NOW, 7 * DAY)
    assert memory.claim("ann", KEY, NOW + DAY + 1, DAY)


def test_what_was_released_may_be_claimed_again(memory: AnswerMemory) -> None:
    assert memory.claim("ann", KEY, NOW, DAY)
    memory.release("ann", KEY)
    assert memory.claim("ann", KEY, NOW + 1, DAY)
    assert not memory.claim("ann", KEY, NOW + 2, DAY)


def test_a_clock_that_was_wrong_silences_nobody_for_ever(memory: AnswerMemory) -> None:
    assert memory.claim("ann", KEY, NOW + 1000 * DAY, DAY)
    assert memory.claim("ann", KEY, NOW, DAY)
