from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.disk import LinuxDisk
from posthouse.relay.queue.places import Places
from support.queue_world import empty_places


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """A relay's queue, empty."""
    with empty_places(LinuxDisk(), tmp_path) as opened:
        yield opened
