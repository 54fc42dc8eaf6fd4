"""Power loss right behind `posthouse init`: the instance is there as it was made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import posthouse
from support.ext4_image import Ext4Image, ext4_image_or_skip


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Ext4Image]:
    made = ext4_image_or_skip(tmp_path)
    yield made
    made.end()


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_what_init_made_is_there_after_a_power_loss(image: Ext4Image) -> None:
    folder = image.path / "srv" / "mail" / "store1"
    service = ("--lmtp", "127.0.0.1:4225", "--host", "store1.example.com", "--default-domain", "example.com")
    assert posthouse("init", "store", str(folder), *service, "--allow", "127.0.0.1").returncode == 0
    before = tree(folder)
    image.cut_power()
    image.power_on()
    assert tree(folder) == before
    assert len(before["config/store.conf"] or b"") > 0
