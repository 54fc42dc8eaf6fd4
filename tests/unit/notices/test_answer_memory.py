"""The memory of answers in files: restarts, bounds, names, damage."""

from pathlib import Path

import pytest

from posthouse.relay.notices.answer_memory import FileAnswerMemory, answer_key, folder_of, template_of
from posthouse.relay.routing.clause_template import ClauseError

NOW = 1_795_428_000.0


def sender(number: int) -> str:
    return answer_key(f"s{number}@remote.test")


def test_a_new_process_knows_what_an_old_one_did(tmp_path: Path) -> None:
    assert FileAnswerMemory(folder_of(tmp_path)).claim("ann", sender(1), NOW, 100)
    assert not FileAnswerMemory(folder_of(tmp_path)).claim("ANN", sender(1), NOW + 1, 100)


def test_lines_no_longer_needed_go(tmp_path: Path) -> None:
    memory = FileAnswerMemory(lambda _: tmp_path / "f", cleanup=5)
    for number in range(50):
        assert memory.claim("ann", sender(number), NOW + number, 3)
        assert len((tmp_path / "f").read_bytes().splitlines()) <= 3 + 5
    assert not memory.claim("ann", sender(49), NOW + 50, 3)


def test_no_more_than_so_many_are_remembered_and_the_oldest_go(tmp_path: Path) -> None:
    memory = FileAnswerMemory(lambda _: tmp_path / "f", max_answers=10)
    for number in range(30):
        assert memory.claim("ann", sender(number), NOW + number, 1000)
    assert len((tmp_path / "f").read_bytes().splitlines()) <= 11
    assert not memory.claim("ann", sender(29), NOW + 31, 1000)
    assert memory.claim("ann", sender(0), NOW + 31, 1000)


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    memory = FileAnswerMemory(lambda _: tmp_path / "f")
    (tmp_path / "f").write_bytes(b"\0\0\0\nnonsense\n1 x y\n17954")
    assert memory.claim("ann", sender(1), NOW, 100)
    assert memory.claim("ann", sender(2), NOW, 100)
    assert not memory.claim("ann", sender(2), NOW, 100)


@pytest.mark.parametrize("owner", ["../../etc/passwd", "..", ".", "a/b", "x" * 300, "äöü@h.example", ""])
def test_no_owner_leaves_the_folder(tmp_path: Path, owner: str) -> None:
    for path_of in (folder_of(tmp_path), template_of(f"file://{tmp_path}/$3I/$1U/$U.vac", tmp_path)):
        path = path_of(owner)
        assert path.resolve().is_relative_to(tmp_path.resolve())
        assert ".." not in path.parts


def test_the_template_of_the_chapter() -> None:
    path_of = template_of("file:///srv/vacation/$3I/$1U/$2U/$U.vac", Path("/i"))
    assert path_of("asmith@hosted.example.org") == Path("/srv/vacation/hosted.example.org/s/m/asmith.vac")
    assert path_of("asmith") == Path("/srv/vacation/s/m/asmith.vac")
    assert template_of("file:data/v/$U", Path("/i"))("ann") is not None
    with pytest.raises(ClauseError):
        template_of("file:///srv/$Q", Path("/i"))
