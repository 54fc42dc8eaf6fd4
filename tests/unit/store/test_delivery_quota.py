"""Deliveries into a store in memory under a quota: what counts, what maildirsize says, when it is counted anew."""

import gc

import pytest

from posthouse.mail.message_id import MessageIds
from posthouse.store.administration.lock import Pace, hold
from posthouse.store.administration.usage import set_limits
from posthouse.store.delivery.transaction import Message
from posthouse.store.mailbox.errors import MailboxError, PersistentQuotaExceeded, QuotaExceeded
from posthouse.store.mailbox.maildirsize import Sizes, parse
from posthouse.store.quota.decision import QuotaPolicy
from posthouse.store.quota.limits import GivenLimits, Limits
from posthouse.store.quota.saved import LENGTH, SavedQuota, decode_saved
from posthouse.testing.crash_disk import CrashDisk
from support.store_world import World, write_file

BODY = b"Subject: x\r\n\r\nbody\r\n"
STORED = b"Return-Path: <s@example.org>\nSubject: x\n\nbody\n"


def sizes(world: World, owner: str) -> list[bytes]:
    root = world.disk.open_dir(owner, world.partition)
    fd = world.disk.open_file("maildirsize", root)
    return world.disk.pread(fd, 1 << 20, 0).split(b"\n")[:-1]


def folders(world: World) -> tuple[int, int]:
    """Descriptors of bob's mailbox and of its `new/`."""
    root = world.disk.open_dir("bob", world.partition)
    return root, world.disk.open_dir("new", root)


def saved(world: World) -> SavedQuota:
    """What is remembered of bob's."""
    lock = world.disk.open_file(".lmtp-lock", folders(world)[0])
    return decode_saved(world.disk.pread(lock, LENGTH, 0))


def set_by_hand(world: World, given: GivenLimits) -> None:
    """As an administrator does for bob."""
    with hold(world.disk, world.partition, "bob", Pace(world.clock.now, world.clock.run)) as held:
        set_limits(held, given, Limits(-1, -1), lambda: "sizes", world.clock.now())


def test_bytes_and_messages_of_all_folders_count_together() -> None:
    world = World(CrashDisk(), defaults=Limits(len(STORED) * 2, -1))
    world.send(BODY, "<bob>")
    world.send(BODY, "<bob+a> xdflg=1")
    world.send(BODY, "<bob>")
    world.send(BODY, "<bob+a> xdflg=1")
    assert [type(each) for each in world.refused] == [QuotaExceeded, QuotaExceeded]
    world.clock.run(3600)
    world.send(BODY, "<bob>")
    assert type(world.refused[-1]) is PersistentQuotaExceeded


def test_a_message_that_is_refused_is_let_go_without_the_garbage_collector() -> None:
    world = World(CrashDisk(), defaults=Limits(1, -1))
    gc.collect()
    before = {id(each) for each in gc.get_objects() if isinstance(each, Message)}
    gc.disable()
    try:
        world.send(BODY, "<bob>", "<eve>")
        world.finished.clear()
        kept = [each for each in gc.get_objects() if isinstance(each, Message) and id(each) not in before]
    finally:
        gc.enable()
    assert len(world.refused) == 2
    assert kept == []


@pytest.mark.parametrize("limits", ["1,-1", "-1,0"])
def test_a_clock_set_forward_ends_a_grace_period_an_hour_later(limits: str) -> None:
    world = World(CrashDisk())
    rcpt, zero = f"<bob> xquota={limits}", limits == "-1,0"
    late = PersistentQuotaExceeded if zero else QuotaExceeded
    world.send(BODY, rcpt)
    world.clock.set_forward(86_400)
    world.send(BODY, rcpt)
    world.clock.run(3590)
    world.send(BODY, rcpt)
    assert [type(each) for each in world.refused] == [late] * 3
    world.clock.run(10)
    world.send(BODY, rcpt)
    assert type(world.refused[-1]) is PersistentQuotaExceeded


def test_a_clock_set_back_spares_nobody() -> None:
    world = World(CrashDisk(), defaults=Limits(1, -1))
    world.send(BODY, "<bob>")
    world.clock.run(10_000)
    world.clock.set_forward(-5000)
    world.send(BODY, "<bob>")
    assert [type(each) for each in world.refused] == [QuotaExceeded, PersistentQuotaExceeded]


@pytest.mark.parametrize(("limits", "refused"), [("2,-1", QuotaExceeded), ("1,9", PersistentQuotaExceeded)])
def test_raised_limits_begin_a_new_grace_period_others_do_not(limits: str, refused: type[MailboxError]) -> None:
    world = World(CrashDisk())
    world.send(BODY, "<bob> xquota=1,-1")
    world.clock.run(3600)
    world.send(BODY, f"<bob> xquota={limits}")
    assert [type(each) for each in world.refused] == [QuotaExceeded, refused]


def test_without_a_grace_period_it_does_not_matter_that_the_clock_was_set() -> None:
    world = World(CrashDisk(), policy=QuotaPolicy(enforced=True, overdraft=False, grace=0))
    world.clock.set_forward(86_400)
    world.send(BODY, "<bob> xquota=1,-1")
    assert [type(each) for each in world.refused] == [PersistentQuotaExceeded]


def test_mail_that_waits_for_its_record_is_reserved_in_the_quota() -> None:
    world = World(CrashDisk(), defaults=Limits(-1, 2))
    for _ in range(3):
        world.deliver(BODY, "<bob>")
    assert len(world.refused) == 1
    world.commit()
    assert len(world.accepted) == 2
    assert sizes(world, "bob") == [b"2C", b"0 0", b"%d 1" % len(STORED), b"%d 1" % len(STORED)]


def test_nobody_enforces_when_enforcement_is_off() -> None:
    world = World(CrashDisk(), policy=QuotaPolicy(enforced=False, overdraft=False, grace=0), defaults=Limits(1, 1))
    world.send(BODY, "<bob>")
    assert len(world.accepted) == 1


def test_what_an_imap_server_appends_and_replaces_is_believed() -> None:
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 3))
    world.send(BODY, "<bob>")
    root = disk.open_dir("bob", world.partition)
    fd = disk.open_file("maildirsize", root, append=True)
    disk.write(fd, b"-%d -1\n" % len(STORED))  # the user deleted one
    for _ in range(3):
        world.send(BODY, "<bob>")
    assert len(world.accepted) == 4
    disk.unlink("maildirsize", root)
    write_file(disk, root, "maildirsize", b"3C\n10 1\n")  # Dovecot has counted
    world.send(BODY, "<bob>")
    assert len(world.accepted) == 5
    assert sizes(world, "bob") == [b"3C", b"10 1", b"%d 1" % len(STORED)]


@pytest.mark.parametrize("garbage", [b"", b"x", b"3C\nx y\n", b"3C\n1 1\0\n", b"3C\n-5 -1\n", b"3C\n1 1", b"\n\n"])
def test_a_garbled_maildirsize_is_counted_anew(garbage: bytes) -> None:
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 9))
    world.send(BODY, "<bob>", "<bob+a> xdflg=1")
    root = disk.open_dir("bob", world.partition)
    disk.unlink("maildirsize", root)
    write_file(disk, root, "maildirsize", garbage)
    write_file(disk, disk.open_dir("cur", root), "1.foreign:2,S", b"12345")
    world.send(BODY, "<bob>")
    size = len(STORED)
    assert sizes(world, "bob") == [b"9C", b"%d 3" % (2 * size + 5), b"%d 1" % size]


def test_a_long_maildirsize_is_summed_without_losing_a_line_appended_meanwhile() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob>")
    root = disk.open_dir("bob", world.partition)
    imap = disk.open_file("maildirsize", root, append=True)
    for _ in range(750):
        disk.write(imap, b"1000 1\n")
    before = disk.stat("maildirsize", root)

    def another_line(operation: str, name: str) -> OSError | None:
        if (operation, name) == ("rename", "maildirsize"):
            disk.write(imap, b"7 1\n")
        return None

    disk.fault = another_line
    world.send(BODY, "<bob>")
    disk.fault = lambda _operation, _name: None
    after = disk.stat("maildirsize", root)
    assert before is not None
    assert after is not None
    assert before.inode != after.inode
    # And one more through the old descriptor, behind our back, within the time that is allowed for.
    disk.write(imap, b"70 1\n")
    world.send(BODY, "<bob>")
    total = [sum(int(line.split()[field]) for line in sizes(world, "bob")[1:]) for field in (0, 1)]
    assert total == [750_000 + 77 + 3 * len(STORED), 755]


def test_maildirsize_is_summed_before_an_imap_server_would_count() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob>")
    root = disk.open_dir("bob", world.partition)
    imap = disk.open_file("maildirsize", root, append=True)
    for _ in range(590):  # 4130 octets: Dovecot counts at 5120
        disk.write(imap, b"1000 1\n")
    world.send(BODY, "<bob>")
    assert len(sizes(world, "bob")) == 3


def test_a_full_mailbox_is_counted_again_at_most_every_quarter_of_an_hour() -> None:
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 1))
    world.send(BODY, "<bob>")
    _, new = folders(world)
    disk.unlink(disk.listdir(new)[0], new)  # by somebody who does not keep maildirsize
    world.send(BODY, "<bob>")
    assert len(world.refused) == 1
    world.clock.run(900)
    world.send(BODY, "<bob>")
    assert len(world.accepted) == 2


def test_a_quota_line_that_cannot_be_written_makes_the_next_delivery_count() -> None:
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 9))
    world.send(BODY, "<bob>")
    disk.fault = lambda operation, _: OSError(28, "full") if operation == "write" else None
    world.send(BODY, "<bob>")
    disk.fault = lambda _operation, _name: None
    assert len(world.accepted) == 2
    world.send(BODY, "<bob>")
    assert sizes(world, "bob")[1:] == [b"%d 2" % (2 * len(STORED)), b"%d 1" % len(STORED)]


@pytest.mark.parametrize("limits", [b"9C", b"100S,9C", b"0S"])
def test_line_1_of_maildirsize_is_limits(limits: bytes) -> None:
    assert parse(limits + b"\n10 1\n5 1\n") == (limits, Sizes(15, 2))
    assert parse(b"-4503599627370496 0\n" + b"10 1\n") is None  # a file that was empty when a recount was asked for
    assert parse(b"100\n10 1\n") is None


def test_a_lowered_limit_is_in_maildirsize_though_it_refuses_the_message() -> None:
    world = World(CrashDisk())
    for _ in range(3):
        world.send(BODY, "<bob> xquota=10000,10")
    assert sizes(world, "bob")[0] == b"10000S,10C"
    world.send(BODY, "<bob> xquota=20,2")
    assert [type(each) for each in world.refused] == [QuotaExceeded]
    assert sizes(world, "bob")[0] == b"20S,2C"
    world.send(BODY, "<bob> xquota=-1,4")
    assert len(world.accepted) == 4
    assert sizes(world, "bob")[0] == b"4C"


def test_an_old_message_does_not_bring_back_limits_that_a_younger_one_or_an_administrator_has_changed() -> None:
    world = World(CrashDisk())
    relay, other = (MessageIds(world.clock.now, lambda bits: bits) for _ in range(2))
    world.send(BODY, "<bob>")
    oldest, older = relay.next(), relay.next()
    world.clock.run(60)
    world.send(BODY, f"<bob> xquota=20000,9 xqid={other.next()}.0")
    world.send(BODY, f"<bob> xquota=20,1 xqid={older}.0")
    assert sizes(world, "bob")[0] == b"20000S,9C"
    assert (len(world.accepted), world.refused) == (3, [])
    waits = relay.next()
    world.clock.run(60)
    set_by_hand(world, GivenLimits(30000, 9))
    world.send(BODY, f"<bob> xquota=20,1 xqid={waits}.0", f"<eve> xquota=20000,9 xqid={oldest}.1")
    assert sizes(world, "bob")[0] == b"30000S,9C"
    assert sizes(world, "eve")[0] == b"20000S,9C"  # nobody has said anything else
    world.send(BODY, f"<bob> xquota=20,1 xqid={relay.next()}.0", "<eve> xquota=20,1")
    assert (sizes(world, "bob")[0], sizes(world, "eve")[0]) == (b"20S,1C", b"20S,1C")


def test_an_administrator_who_sets_limits_as_they_are_is_heard() -> None:
    world = World(CrashDisk())
    relay = MessageIds(world.clock.now, lambda bits: bits)
    world.send(BODY, f"<bob> xquota=20000,9 xqid={relay.next()}.0")
    world.clock.run(60)
    waits = relay.next()
    world.clock.run(60)
    set_by_hand(world, GivenLimits(20000, None))
    world.send(BODY, f"<bob> xquota=20,1 xqid={waits}.0")
    assert sizes(world, "bob")[0] == b"20000S,9C"


def test_it_is_written_down_once_a_day_that_limits_stay_the_same() -> None:
    world = World(CrashDisk())
    relay, told = MessageIds(world.clock.now, lambda bits: bits), set()
    for _ in range(30):
        world.send(BODY, f"<bob> xquota=20000,99 xqid={relay.next()}.0")
        told.add(saved(world).told)
        world.clock.run(3600)
    assert len(told) == 2


@pytest.mark.parametrize("rcpt", ["<bob>", "<bob> xquota=10000,10"])
def test_a_new_mailbox_has_its_maildirsize_written_once(rcpt: str) -> None:
    disk = CrashDisk()
    world = World(disk)
    written = []

    def note(operation: str, name: str) -> OSError | None:
        if (operation, name) == ("rename", "maildirsize"):
            written.append(name)
        return None

    disk.fault = note
    for _ in range(2):
        world.send(BODY, rcpt)
    assert len(written) == 1
    assert saved(world).counted  # so no other process counts it for that
    assert sizes(world, "bob") == [b"10000S,10C" if "xquota" in rcpt else b"0S", b"0 0", *[b"%d 1" % len(STORED)] * 2]


def test_a_new_mailbox_that_takes_nothing_tells_its_limits() -> None:
    world = World(CrashDisk())
    world.send(BODY, "<bob> xquota=20,2")
    assert [type(each) for each in world.refused] == [QuotaExceeded]
    assert sizes(world, "bob") == [b"20S,2C", b"0 0"]
    world.send(BODY, "<bob> xquota=10000,2")
    assert sizes(world, "bob") == [b"10000S,2C", b"0 0", b"%d 1" % len(STORED)]


def test_mail_gone_unseen_ends_the_grace_period_when_it_is_counted() -> None:
    """The third message does not fit, for two hours; then the user's server has removed mail and the file with the sums."""
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 2))
    for _ in range(3):
        world.send(BODY, "<bob>")
    world.clock.run(7200)
    world.send(BODY, "<bob>")
    assert [type(each) for each in world.refused] == [QuotaExceeded, PersistentQuotaExceeded]
    root, new = folders(world)
    for name in disk.listdir(new):
        disk.unlink(name, new)
    disk.unlink("maildirsize", root)
    big = World(disk, defaults=Limits(-1, 2), number=2)  # another process, which never knew the usage
    big.clock.run(7300)
    big.send(BODY, "<bob>", "<bob>", "<bob>")
    assert len(big.accepted) == 2
    assert [type(each) for each in big.refused] == [QuotaExceeded]


def test_a_grace_period_ends_when_a_count_finds_less_and_goes_on_when_it_finds_the_same() -> None:
    """A count comes every 15 minutes; another server has removed a message and told nobody."""
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 3))
    for _ in range(4):
        world.send(BODY, "<bob>")
    for _ in range(4):
        world.clock.run(1000)
        world.send(BODY, "<bob>")
    assert [type(each) for each in world.refused] == [*[QuotaExceeded] * 4, PersistentQuotaExceeded]
    _, new = folders(world)
    disk.unlink(disk.listdir(new)[0], new)
    world.clock.run(1000)
    large = BODY + b"x" * 1000 + b"\r\n"
    world.send(large, "<bob> xquota=500,3")  # does not fit either, but the owner is under the quota
    assert [type(each) for each in world.refused[5:]] == [QuotaExceeded]
    world.send(BODY, "<bob>")
    assert len(world.accepted) == 4
