"""A full MTA keeps both tiers' journals in one folder: the controller leaves the store's segments and their locks alone."""

from posthouse.journal.adopt import adopt, open_folder, segment_names
from posthouse.journal.disk import Disk
from posthouse.journal.segment import Tier, encode_head
from posthouse.relay.job_controller.ledger import Ledger
from posthouse.testing.crash_disk import CrashDisk

SIZE = 1 << 20


def test_a_dead_store_workers_segment_is_for_the_store_to_adopt() -> None:
    disk: Disk = CrashDisk()
    folder = open_folder(disk, "journal", disk.open_dir("/"))
    fd = disk.create_excl("lmtp-1.seg", folder)
    disk.pwrite(fd, encode_head(Tier.STORE, b"0123456789abcdef", SIZE), 0)
    disk.close(fd)
    alarms: list[str] = []
    ledger = Ledger(disk, folder, alarms.append)
    assert ledger.orphans() == []
    assert (len(ledger), alarms, segment_names(disk, folder)) == (0, [], ["lmtp-1.seg"])
    found = adopt(disk, folder, "lmtp-1.seg", Tier.STORE)
    assert found is not None
    assert found.tier is Tier.STORE
