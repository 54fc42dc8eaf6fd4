"""Deliveries into a store in memory: what is stored, where, and what others in the mailbox make of it."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.journal.commit import Item
from posthouse.journal.disk import Octets
from posthouse.store.delivery.gathering import GATHER_SECONDS
from posthouse.store.delivery.stored_form import LineEnds
from posthouse.store.mailbox.base_name import size_of
from posthouse.store.mailbox.errors import AlreadyStored, MailboxIOError, MailboxLocked
from posthouse.store.mailbox.folder import may_post
from posthouse.testing.crash_disk import CrashDisk
from posthouse.testing.crash_state import Extreme
from support.store_world import QuickWorld, World, write_file

BODY = b"Subject: x\r\n\r\nbody\r\n"
STORED = b"Return-Path: <s@example.org>\nSubject: x\n\nbody\n"


_text = st.binary(max_size=300).map(lambda octets: octets.replace(b"\n", b"\r\n").replace(b"\0", b""))


@given(st.lists(_text, min_size=1, max_size=3), st.binary(max_size=60).filter(lambda octets: b"\n" not in octets))
@settings(max_examples=60)
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
    write_file(disk, folder, "dovecot-acl", b"anyone lp\n")
    world.send(BODY, "<bob+Lists/python>")
    for name in ("Nowhere", "lists/python", "../../sue", "a.b", "INBOX"):
        world.send(BODY, f"<bob+{name}>")
    world.send(BODY, "<bob+../../sue> xdflg=1")
    assert [each.directory for each in world.accepted[1:]] == ["", ".Lists.python", *[""] * 6]
    assert len(world.accepted) == 9
    assert world.disk.listdir(world.partition).count("sue") == 0


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


def test_a_folder_that_is_removed_under_a_message_makes_it_come_again_soon() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.deliver(BODY, "<bob+Work> xdflg=1")
    disk.fault = lambda operation, name: OSError(2, "gone") if operation == "rename" and "Q" in name else None
    world.commit()
    disk.fault = lambda _operation, _name: None
    assert [type(each) for each in world.refused] == [MailboxLocked]
    world.send(BODY, "<bob+Work> xdflg=1")
    assert [each.directory for each in world.accepted] == [".Work"]


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
    write_file(disk, tmp, "old", b"x")
    moment[0] = int((world.clock.time - 35 * 3600) * 1e9)
    write_file(disk, tmp, "young", b"x")
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
    assert world.delivery.gathering.expected == 1


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
    world.delivery.gathering.peers = ("one",)
    world.deliver(BODY, "<bob>", "<sue> xdflg=16")
    assert world.appended == appended + 2
    assert [each.owner for each in world.accepted] == ["eve"]
    world.commit()
    assert [each.owner for each in world.accepted] == ["eve", "bob", "sue"]
    assert list(world.sizes) == [1, 2]
    world.delivery.gathering.peers = ("one", "other")
    world.deliver(BODY, "<bob>")
    assert len(world.accepted) == 3
    world.commit()
    assert len(world.accepted) == 4
    assert list(world.sizes) == [1, 2, 1]
    assert world.appended == appended + 2


def test_what_nobody_foresaw_in_writing_a_file_is_the_fault_of_that_file_only() -> None:
    disk = CrashDisk()
    world = World(disk)
    world.send(BODY, "<bob>", "<sue>")
    world.delivery.gathering.peers = ("one", "other")
    made = 0

    def fault(operation: str, _name: str) -> OSError | None:
        nonlocal made
        made += operation == "create_excl"
        if operation == "create_excl" and made == 2:
            raise RuntimeError("unforeseen")
        return None

    disk.fault = fault
    world.deliver(BODY, "<bob> xqid=A.0")
    world.deliver(BODY, "<bob> xqid=A.0", "<sue>")  # the first one waits for what becomes of the message before
    world.deliver(BODY, "<sue>")
    world.commit()
    world.clock.run(1.0)
    assert len(world.finished) == 4
    assert [type(each) for each in world.refused] == [AlreadyStored, MailboxIOError]
    assert [len(world.messages(owner)) for owner in ("bob", "sue")] == [2, 2]
