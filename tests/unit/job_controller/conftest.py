"""A queue of the job controller's in a folder, for the tests of what it knows and does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stock_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.enqueuer.stop()
