"""A full disk, or one that became read-only, real: a small ext4. 4xx while it is so, and recovery by itself or by a start."""

import itertools
import smtplib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ext4_image import Ext4Image, ext4_image_or_skip, put_on
from support.family_rig import wait_for
from support.journey_mail import Answer, Ledger, connect, reconcile, wait_delivered
from support.journey_tiers import is_ready, journey, pids, wait_empty
from support.store_alone import deliver, store_alone

SMALL = 4000
LARGE = 300_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Ext4Image]:
    folder = tmp_path / "disk"
    folder.mkdir()
    image = ext4_image_or_skip(folder)
    yield image
    image.end()


class Ballast:
    """A file that takes all the room there is, for root too."""

    def __init__(self, image: Ext4Image) -> None:
        self.path = image.path / "ballast"

    def fill(self) -> None:
        with self.path.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1 << 9):
                try:
                    while file.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        self.path.unlink(missing_ok=True)


def test_the_queue_s_disk_is_full(tmp_path: Path, disk: Ext4Image) -> None:
    ledger, ballast = Ledger(), Ballast(disk)
    with journey(tmp_path, users=20, start=False) as tiers:
        put_on(disk, tiers.relay)
        tiers.relay.start()  # no store yet: what is accepted stays
        workers = pids(tiers.relay, "smtp")
        with connect(tiers.relay) as client:
            assert ledger.send(client, ["user0", "user1"], size=SMALL).code == 250

            def is_refused(user: str, size: int) -> bool:
                ballast.fill()  # again: a segment that could not be made ahead gives its room back
                return ledger.send(client, [user], size=size).code == 452

            # a body file needs room at once; records have it until the segments made ahead are used up
            wait_for(lambda: is_refused("user0", LARGE))
            users = itertools.cycle([f"user{number}" for number in range(20)])  # 50 MB each
            wait_for(lambda: is_refused(next(users), 200_000), 90)
            assert is_refused("user1", 200_000)
            assert client.noop()[0] == 250
            assert is_ready(tiers.relay)
            said = wait_for(lambda: [each for each in tiers.relay.json("status")["troubles"] if each["what"] == "queue"])
            assert [each["text"] for each in said] == ["mail is refused (No space left on device): senders get 452"]
            # mail goes on being delivered, and that alone makes room in the journal
            for store in tiers.stores:
                store.start()
            wait_delivered(ledger, tiers.stores, 90)
            ballast.free()
            wait_for(lambda: ledger.send(client, ["user1"], size=LARGE).code == 250, 30)
            wait_for(lambda: ledger.send(client, ["user0"], size=SMALL).code == 250, 30)
        assert pids(tiers.relay, "smtp") == workers, "no process had to be replaced"
        print(f"{ledger.accepted} accepted, {ledger.count(Answer.REFUSED)} refused, codes {sorted(ledger.codes)}")
        assert ledger.codes == {250, 452}
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert tiers.relay.stop() == 0
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


def test_the_store_s_disk_is_full(tmp_path: Path, disk: Ext4Image) -> None:
    ledger, ballast = Ledger(), Ballast(disk)
    direct = Ledger()
    with journey(tmp_path, users=4, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        put_on(disk, store)
        tiers.start()
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0", "user1"], size=LARGE)
            wait_delivered(ledger, tiers.stores)
            ballast.fill()
            for size in (SMALL, LARGE, SMALL):
                for users in (["user0"], ["user1", "user2"]):
                    assert ledger.send(client, users, size=size).code == 250, "the relay's disk is another one"
            with smtplib.LMTP(store.address, store.port, timeout=60) as lmtp:
                codes = [direct.send(lmtp, ["user3"], size=size).code for size in (LARGE, SMALL, LARGE)]
            assert all(400 <= code < 500 for code in codes), codes
            assert is_ready(store)
            time.sleep(1)
            ballast.free()
            wait_delivered(ledger, tiers.stores)
            wait_empty(tiers.relay)
            ledger.send(client, ["user0"], size=LARGE)
            wait_delivered(ledger, tiers.stores)
        assert direct.accepted == 0
        for instance in reversed(tiers.instances):
            assert instance.stop() == 0
        assert list((store.folder / "data" / "journal").glob("*.seg")) == []
        ledger.sent += direct.sent
        assert reconcile(ledger, tiers.stores).check().duplicates == 0


def test_a_disk_that_became_read_only_is_told_of_and_a_stop_is_clean(tmp_path: Path, disk: Ext4Image) -> None:
    with store_alone(disk.path, start=False) as store:
        store.output = tmp_path / "stderr"
        store.start()
        disk.make_read_only()
        assert deliver(store, "anna", "refused") == [430]
        ((what, text),) = wait_for(lambda: [(each["what"], each["text"]) for each in store.json("status")["troubles"]])
        assert (what, text) == ("store", "a mailbox could not be written (anna: Read-only file system): relays get 430")
        assert store.stop() == 0
        assert "Traceback" not in store.output.read_text()
        disk.power_on()
        store.start()
        assert deliver(store, "anna", "after") == [250]
        assert store.stop() == 0
