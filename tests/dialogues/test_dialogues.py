"""Every `.dialogue` script holds, and no way of cutting the client's octets changes what happens."""

import random
from functools import partial
from pathlib import Path

import pytest

from support.dialogue_player import play, read_script, verify

SCRIPTS = sorted(Path(__file__).parent.glob("*/*.dialogue"))
NAMES = [f"{path.parent.name}/{path.stem}" for path in SCRIPTS]


def batches(octets: bytes, size: int) -> list[bytes]:
    return [octets[start : start + size] for start in range(0, len(octets), size)]


def test_the_scripts_are_found() -> None:
    assert len(SCRIPTS) >= 60


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_script(path: Path) -> None:
    verify(read_script(path))


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_every_cut_gives_the_same(path: Path) -> None:
    script = read_script(path)
    expected = play(script)
    for size in (1, 2, 3, 5, 7):
        assert play(script, partial(batches, size=size)) == expected

    def cut_at_random(octets: bytes) -> list[bytes]:
        places = sorted(generator.sample(range(len(octets) + 1), min(4, len(octets))))
        return [octets[start:end] for start, end in zip([0, *places], [*places, len(octets)], strict=True)]

    generator = random.Random(path.name)
    for _ in range(20):
        assert play(script, cut_at_random) == expected
