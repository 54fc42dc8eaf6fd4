"""Deliveries into a store in memory: what is stored, where, and what others in the mailbox make of it."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.journal.commit import Item
from posthouse.journal.disk import Disk, Octets
from posthouse.store.delivery.delivery import GATHER_SECONDS
from posthouse.store.delivery.stored_form import LineEnds
from posthouse.store.mailbox.base_name import size_of
from posthouse.store.mailbox.errors import MailboxIOError, MailboxLocked, PersistentQuotaExceeded, QuotaExceeded
from posthouse.store.mailbox.folder import may_post
from posthouse.store.mailbox.maildirsize import Sizes, parse
from posthouse.store.quota.decision import QuotaPolicy
from posthouse.store.quota.limits import Limits
from posthouse.testing.crash_disk import CrashDisk
from posthouse.testing.crash_state import Extreme
from support.store_world import QuickWorld, World

BODY = b"Subject: x\r\n\r\nbody\r\n"
STORED = b"Return-Path: <s@example.org>\nSubject: x\n\nbody\n"


def write(disk: Disk, folder: int, name: str, octets: bytes) -> None:
    fd = disk.create_excl(name, folder)
    disk.pwrite(fd, octets, 0)
    disk.close(fd)


def sizes(world: World, owner: str) -> list[bytes]:
    root = world.disk.open_dir(owner, world.partition)
    fd = world.disk.open_file("maildirsize", root)
    return world.disk.pread(fd, 1 << 20, 0).split(b"\n")[:-1]


_text = st.binary(max_size=300).map(lambda octets: octets.replace(b"\n", b"\r\n").replace(b"\0", b""))


@given(st.lists(_text, min_size=1, max_size=3), st.binary(max_size=60).filter(lambda octets: b"\n" not in octets))
@settings(max_examples=60, deadline=None)
def test_what_is_stored_is_what_was_sent_behind_one_return_path(bodies: list[bytes], sender: bytes) -> None:
    world = World(CrashDisk())
    expected = []
    for body in bodies:
        world.deliver(body, "<bob>", sender=sender)
        world.commit()
        expected.append(b"Return-Path: <" + sender + b">\n" + body.replace(b"\r\n", b"\n"))
    found = world.messages("bob")
    assert sorted(found.values()) == sorted(expected)
    for name, octets in found.items():
        assert size_of(name) == len(octets)
        lines = octets.count(b"\n")
        assert f",W={len(octets) + lines}" in name


_crlf = st.lists(st.sampled_from([b"\r", b"\r\n", b"x", b".", b"\0", b"\xff"]), max_size=60).map(b"".join)


@given(_crlf, st.lists(st.integers(0, 120), max_size=6))
def test_line_ends_of_a_stream_do_not_depend_on_how_it_is_cut(data: bytes, cuts: list[int]) -> None:
    ends = LineEnds()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    stored = b"".join(ends.convert(data[a:b]) for a, b in pairwise(edges)) + ends.end()
    assert stored == data.replace(b"\r\n", b"\n")
    assert ends.taken == len(data) - len(stored)


def test_recipients_of_one_transaction_share_one_inode_unless_xdflg_16() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob>", "<sue>", "<tim> xdflg=16")
    inodes = []
    for owner in ("bob", "sue", "tim"):
        root = disk.open_dir(owner, world.partition)
        new = disk.open_dir("new", root)
        (name,) = disk.listdir(new)
        found = disk.stat(name, new)
        assert found is not None
        inodes.append(found.inode)
        assert disk.listdir(disk.open_dir("tmp", root)) == []
    assert inodes[0] == inodes[1] != inodes[2]
    assert len({each.base for each in world.accepted}) == 3


def test_a_recipient_named_twice_gets_two_answers_and_two_messages() -> None:
    world = World(CrashDisk())
    world.send(BODY, "<bob>", "<bob>")
    assert [each.owner for each in world.accepted] == ["bob", "bob"]
    assert list(world.messages("bob").values()) == [STORED, STORED]


@pytest.mark.parametrize(
    ("acl", "allowed"),
    [
        (b"", False), (b"anyone p\n", True), (b"user=fred lrwstip\nanyone lrp\n", True), (b"anyone lr\n", False),
        (b"user=fred p\n", False), (b"anyone p\n-anyone p\n", False), (b"anyone :post lookup\n", True), (b"\xff\xfe p\n", False),
    ],
)  # fmt: skip
def test_acl(acl: bytes, allowed: bool) -> None:
    assert may_post(acl) is allowed


def test_a_folder_takes_mail_when_it_is_there_and_anyone_may_post() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob+Lists/python> xdflg=1")
    assert world.accepted[0].directory == ".Lists.python"
    root = disk.open_dir("bob", world.partition)
    folder = disk.open_dir(".Lists.python", root)
    assert "maildirfolder" in disk.listdir(folder)
    subscriptions = disk.open_file("subscriptions", root)
    assert disk.pread(subscriptions, 100, 0) == b"Lists.python\n"
    # Without the relay's flag: no right, INBOX; with the right, the folder; what is not there, INBOX.
    world.send(BODY, "<bob+Lists/python>")
    write(disk, folder, "dovecot-acl", b"anyone lp\n")
    world.send(BODY, "<bob+Lists/python>")
    for name in ("Nowhere", "lists/python", "../../sue", "a.b", "INBOX"):
        world.send(BODY, f"<bob+{name}>")
    world.send(BODY, "<bob+../../sue> xdflg=1")
    assert [each.directory for each in world.accepted[1:]] == ["", ".Lists.python", *[""] * 6]
    assert len(world.accepted) == 9
    assert world.disk.listdir(world.partition).count("sue") == 0


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
    write(disk, root, "maildirsize", b"3C\n10 1\n")  # Dovecot has counted
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
    write(disk, root, "maildirsize", garbage)
    write(disk, disk.open_dir("cur", root), "1.foreign:2,S", b"12345")
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


def test_a_full_mailbox_is_counted_again_at_most_every_quarter_of_an_hour() -> None:
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 1))
    world.send(BODY, "<bob>")
    root = disk.open_dir("bob", world.partition)
    new = disk.open_dir("new", root)
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


def test_waiting_for_a_lock_is_bounded_in_time_and_number() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob>")
    root = disk.open_dir("bob", world.partition)
    lock = disk.open_file(".lmtp-lock", root, write=True)
    assert disk.flock(lock)
    for _ in range(17):
        world.deliver(BODY, "<bob>", "<sue>")
        world.commit()
    assert len(world.refused) == 1
    assert len(world.messages("sue")) == 17
    world.clock.run(4.9)
    assert len(world.refused) == 1
    world.clock.run(0.2)
    assert len(world.refused) == 17
    assert {type(each) for each in world.refused} == {MailboxLocked}
    disk.close(lock)
    world.send(BODY, "<bob>")
    assert len(world.messages("bob")) == 2


def test_a_mailbox_that_was_removed_or_renamed_is_made_anew() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob>")
    disk.rename("bob", "bob-old", world.partition, world.partition)
    world.send(BODY, "<bob>")
    assert len(world.messages("bob")) == len(world.messages("bob-old")) == 1


def test_one_that_cannot_be_placed_is_answered_4xx_and_never_comes_back() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<sue>")
    world.deliver(BODY, "<bob>", "<sue>", "<tim>")
    disk.fault = lambda operation, name: OSError(5, "io") if operation == "link" and "Q" in name else None
    world.commit()
    assert [each.owner for each in world.accepted] == ["sue", "bob"]
    assert [type(each) for each in world.refused] == [MailboxIOError, MailboxIOError]
    disk.fault = lambda _operation, _name: None
    again = World(disk.survivor(Extreme.MOST), number=2)
    assert again.recovered == (1, 0)
    assert [owner for owner, _ in again.everything()] == ["sue", "bob"]


def test_accounts_are_closed_when_there_are_too_many() -> None:
    disk = CrashDisk()
    world = World(disk)
    for number in range(120):
        world.send(BODY, f"<user{number % 60}>")
    assert len(world.accepted) == 120
    assert len(world.accounts._open) == 50
    assert len(disk._handles) < 50 * 6 + 30
    assert world.stop()
    assert disk.listdir(world.journal) == []


def test_stray_files_in_tmp_go_after_36_hours_and_not_before() -> None:
    moment = [0]
    disk = CrashDisk(now_ns=lambda: moment[0])
    world = World(disk)
    world.send(BODY, "<bob>")
    tmp = disk.open_dir("tmp", disk.open_dir("bob", world.partition))
    moment[0] = int((world.clock.time - 37 * 3600) * 1e9)
    write(disk, tmp, "old", b"x")
    moment[0] = int((world.clock.time - 35 * 3600) * 1e9)
    write(disk, tmp, "young", b"x")
    again = World(disk, number=2)
    again.send(BODY, "<bob>")
    assert disk.listdir(tmp) == ["young"]


def test_deliveries_go_without_a_record_while_too_much_is_unchecked() -> None:
    world = World(CrashDisk())
    world.delivery.without_record = True
    world.deliver(BODY, "<bob>", "<sue+A> xdflg=1")
    assert len(world.accepted) == 2
    again = World(world.disk.survivor(Extreme.LEAST) if isinstance(world.disk, CrashDisk) else world.disk, number=2)
    assert sorted(again.everything().values()) == [STORED, STORED]


def test_nothing_is_delivered_while_the_disk_is_not_believed() -> None:
    world = World(CrashDisk())
    world.delivery.closed = MailboxIOError("checkpoint: io")
    world.send(BODY, "<bob>", "<../x>")
    assert [type(each).__name__ for each in world.refused] == ["MailboxIOError", "MailboxNonexistent"]


def test_a_batch_waits_a_moment_for_what_is_under_way_and_not_for_a_client_that_stays_there() -> None:
    world = World(CrashDisk())
    first = world.delivery.expect()
    world.deliver(BODY, "<bob>")
    world.commit()
    assert world.accepted == []
    world.clock.run(0.001)
    world.delivery.expect_no_more(first)
    world.deliver(BODY, "<sue>")  # the one it waited for: both go together
    world.commit()
    assert [each.owner for each in world.accepted] == ["bob", "sue"]
    stays = world.delivery.expect()
    world.deliver(BODY, "<bob>")
    world.commit()
    assert len(world.accepted) == 2
    world.clock.run(2 * GATHER_SECONDS)
    world.commit()
    assert len(world.accepted) == 3
    world.deliver(BODY, "<bob>")
    world.commit()
    assert len(world.accepted) == 4
    world.delivery.expect()
    world.delivery.expect_no_more(stays)
    assert world.delivery.expected == 1


class Batches(QuickWorld):
    """Notes how many records are made durable together, and which were left to the committer."""

    sizes: tuple[int, ...] = ()
    appended = 0

    def append(self, token: object, envelope: bytes, body: Sequence[Octets], slots: int) -> bool:
        self.appended += 1
        return super().append(token, envelope, body, slots)

    def _make_durable(self, items: Sequence[Item]) -> None:
        self.sizes += (len(items),)
        super()._make_durable(items)


def test_an_only_peers_message_goes_to_the_committer_at_once_as_one_batch() -> None:
    world = Batches(CrashDisk())
    world.send(BODY, "<eve>")  # there is a segment from now on
    appended = world.appended
    world.delivery.peers = ("one",)
    world.deliver(BODY, "<bob>", "<sue> xdflg=16")
    assert world.appended == appended + 2
    assert [each.owner for each in world.accepted] == ["eve"]
    world.commit()
    assert [each.owner for each in world.accepted] == ["eve", "bob", "sue"]
    assert list(world.sizes) == [1, 2]
    world.delivery.peers = ("one", "other")
    world.deliver(BODY, "<bob>")
    assert len(world.accepted) == 3
    world.commit()
    assert len(world.accepted) == 4
    assert list(world.sizes) == [1, 2, 1]
    assert world.appended == appended + 2


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


def test_mail_gone_unseen_ends_the_grace_period_when_it_is_counted() -> None:
    """The third message does not fit, for two hours; then the user's server has removed mail and the file with the sums."""
    disk = CrashDisk()
    world = World(disk, defaults=Limits(-1, 2))
    for _ in range(3):
        world.send(BODY, "<bob>")
    world.clock.run(7200)
    world.send(BODY, "<bob>")
    assert [type(each) for each in world.refused] == [QuotaExceeded, PersistentQuotaExceeded]
    root = disk.open_dir("bob", world.partition)
    new = disk.open_dir("new", root)
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
    root = disk.open_dir("bob", world.partition)
    new = disk.open_dir("new", root)
    disk.unlink(disk.listdir(new)[0], new)
    world.clock.run(1000)
    large = BODY + b"x" * 1000 + b"\r\n"
    world.send(large, "<bob> xquota=500,3")  # does not fit either, but the owner is under the quota
    assert [type(each) for each in world.refused[5:]] == [QuotaExceeded]
    world.send(BODY, "<bob>")
    assert len(world.accepted) == 4
