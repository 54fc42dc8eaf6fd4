from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.journal.disk import LinuxDisk
from posthouse.relay.queue.places import Places
from support.queue_world import make_folders, open_places


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    """A relay's queue, empty."""
    disk = LinuxDisk()
    root = disk.open_dir(str(tmp_path))
    make_folders(disk, root)
    disk.close(root)
    opened = open_places(disk, str(tmp_path))
    yield opened
    opened.close()
