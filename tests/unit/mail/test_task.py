"""Tasks that recipients carry: of which nobody hears when they fail."""

import pytest

from posthouse.mail.task import Answer, Bounce, Forward, Note, Onward, Task, Told, encode_task, is_quiet

LOUD = [Forward("jdoe@example.com"), Bounce("no"), Onward("tcp_local"), Told(final=True)]
QUIET = [Answer("jdoe", "jdoe@example.com", (), "away"), Note("jdoe", "line 1: what?")]


@pytest.mark.parametrize(("task", "quiet"), [*((task, False) for task in LOUD), *((task, True) for task in QUIET)])
def test_only_answers_and_notes_fail_without_a_word(task: Task, quiet: bool) -> None:
    assert is_quiet(encode_task(task)) == quiet


def test_a_recipient_without_a_task_is_not_quiet() -> None:
    assert not is_quiet("")
