"""Power cut under both running tiers on real ext4: everything acknowledged is there after the next start (DURABILITY 5, 7)."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance
from support.ext4_image import Ext4Image, ext4_image_or_skip, put_on
from support.family_rig import wait_for
from support.journey_mail import Load, Verdict, mailboxes, reconcile, wait_delivered
from support.journey_tiers import end, journey, wait_empty

CUTS = 3


@pytest.fixture
def images(tmp_path: Path) -> Iterator[list[Ext4Image]]:
    made: list[Ext4Image] = []
    for name in ("relay_disk", "store_disk"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(ext4_image_or_skip(folder))
    yield made
    for image in made:
        image.end()


def cut(instances: list[RunningInstance], images: list[Ext4Image]) -> None:
    """Off at once, the processes with it; then the machine comes back."""
    for image in images:
        image.cut_power()
    for instance in instances:
        end(instance)
    for image in images:
        image.power_on()


def test_nothing_acknowledged_is_lost_when_the_power_goes(tmp_path: Path, images: list[Ext4Image]) -> None:
    chance = random.Random(7)
    with journey(tmp_path, users=12, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        put_on(images[0], tiers.relay)
        put_on(images[1], store)
        tiers.start()
        empty = 0
        users = [f"user{number}" for number in range(12)]
        with Load(tiers.relay.port, users, clients=4, sizes=(400, 4000, 40_000, 300_000), pause=0.01) as load:
            for _ in range(CUTS):
                goal = load.ledger.accepted + 80
                wait_for(lambda goal=goal: load.ledger.accepted >= goal, 60)  # type: ignore[misc]
                time.sleep(chance.random())
                cut([tiers.relay, store], images)
                empty += sum(1 for found in mailboxes(tiers.stores) if not found.token)
                store.start()
                tiers.relay.start()
        wait_delivered(load.ledger, tiers.stores)
        wait_empty(tiers.relay)
        for instance in reversed(tiers.instances):
            assert instance.stop() == 0
        print(f"{CUTS} cuts; {empty} files were empty or torn before the store's recovery")
        bounded(reconcile(load.ledger, tiers.stores).check(), load)
        for instance in tiers.instances:
            assert list((instance.folder / "data" / "journal").glob("*.seg")) == []


def bounded(verdict: Verdict, load: Load) -> None:
    """Duplicates: at most the results of the last second or two before each cut."""
    rate = verdict.accepted / max(1.0, load.seconds)
    assert verdict.duplicates <= CUTS * (3 * rate + 2 * 7 * 3), verdict
