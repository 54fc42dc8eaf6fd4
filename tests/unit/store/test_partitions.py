"""Partitions: mailboxes stay where they stand, are made where the setting says; a message has one inode in each partition."""

import random
from pathlib import Path

from posthouse.config.configuration import load
from posthouse.config.fault import Severity
from posthouse.journal.disk import Disk
from posthouse.store.lmtp_server.settings import check
from posthouse.store.mailbox.errors import MailboxIOError
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Extreme
from support.store_files import LmtpTalk, running_store, store_instance
from support.store_world import World

BODY = b"Subject: x\r\n\r\nbody\r\n"
LARGE = b"Subject: large\r\n\r\n" + (b"y" * 998 + b"\r\n") * 400
CHOSEN = {"sue": "second", "kim": "second"}


def with_partitions(disk: Disk, *names: str) -> Disk:
    folder = disk.open_dir("/")
    for name in ("data", "store"):
        disk.mkdir(name, folder)
        disk.fsync_dir(folder)
        folder = disk.open_dir(name, folder)
    for name in names:
        disk.mkdir(name, folder)
    disk.fsync_dir(folder)
    return disk


def world_of(disk: Disk, number: int = 1) -> World:
    world = World(disk, number=number)
    world.partitions.choose("primary", CHOSEN)
    return world


def where(world: World, owner: str) -> list[str]:
    disk = world.disk
    return [
        name
        for name in disk.listdir(world.store)
        if (found := disk.stat(name, world.store)) is not None
        and found.is_folder
        and disk.stat(owner, disk.open_dir(name, world.store)) is not None
    ]


def messages(instance_store: Path, partition: str, owner: str) -> list[Path]:
    return list((instance_store / partition / owner / "new").iterdir())


def test_a_mailbox_is_made_where_the_setting_says_and_stays_where_it_is() -> None:
    world = world_of(with_partitions(CrashDisk(), "second", "third"))
    world.send(BODY, "<bob>", "<sue>", "<kim>")
    assert [where(world, owner) for owner in ("bob", "sue", "kim")] == [["primary"], ["second"], ["second"]]
    world.accounts.close()
    world.accounts._open.clear()
    world.partitions.choose("third", {"bob": "second"})
    world.send(BODY, "<bob>", "<sue>", "<new>")
    assert [where(world, owner) for owner in ("bob", "sue", "new")] == [["primary"], ["second"], ["third"]]


def test_a_partition_that_is_not_there_is_not_made() -> None:
    world = World(CrashDisk())
    world.partitions.choose("primary", {"sue": "unmounted"})
    sent = world.send(BODY, "<bob>", "<sue>")
    assert [type(each.fault) for each in sent.addressees] == [type(None), MailboxIOError]
    assert where(world, "sue") == []
    assert world.disk.stat("unmounted", world.store) is None


def test_what_was_answered_is_put_back_in_its_partition() -> None:
    whole = with_partitions(CrashDisk(), "second")
    assert isinstance(whole, CrashDisk)
    play(whole)
    for count in range(20, whole.operations, 5):
        disk = with_partitions(CrashDisk(), "second")
        assert isinstance(disk, CrashDisk)
        disk.cut_at(count)
        accepted: list[str] = []
        try:
            play(disk, accepted)
        except PowerCut:
            disk.after = lambda _operation: None
        for choose in (Extreme.LEAST, Extreme.NAMES_ONLY, random.Random(count)):
            again = world_of(disk.survivor(choose), number=2)
            for owner in accepted:
                assert where(again, owner) == [CHOSEN.get(owner, "primary")], (count, choose)


def play(disk: CrashDisk, accepted: list[str] | None = None) -> None:
    world = world_of(disk)
    for owners in (("bob", "sue"), ("sue", "kim", "tim")):
        world.send(BODY, *(f"<{owner}>" for owner in owners))
        if accepted is not None:
            accepted += owners
    assert world.stop()


async def test_one_inode_in_each_partition_and_one_more_for_xdflg_16(tmp_path: Path) -> None:
    settings = ("store.defaultpartition = primary", "store.partitionof.sue = second", "store.partitionof.Kim = second")
    instance = store_instance(tmp_path, *settings)
    (instance.store / "second").mkdir(parents=True)
    for body in (BODY, LARGE):
        async with running_store(instance) as (_, port):
            client = await LmtpTalk.connect(port)
            owners = ("bob", "sue", "tim", "kim", "own")
            answers = await client.deliver(body, "<bob>", "<sue>", "<tim>", "<kim>", "<own> XDFLG=16")
            assert answers == [f"250 2.5.0 <{owner}> OK" for owner in owners]
            await client.close()
        inodes = {}
        for owner in owners:
            (path,) = messages(instance.store, "second" if owner in {"sue", "kim"} else "primary", owner)
            inodes[owner] = path.stat().st_ino
            assert path.read_bytes().endswith(body.replace(b"\r\n", b"\n"))
        assert inodes["bob"] == inodes["tim"]
        assert inodes["sue"] == inodes["kim"]
        assert inodes["own"] not in {inodes["bob"], inodes["sue"]}
        if body is BODY:
            assert inodes["bob"] != inodes["sue"]
        for owner in owners:
            (path,) = messages(instance.store, "second" if owner in {"sue", "kim"} else "primary", owner)
            path.unlink()
        assert not list(instance.store.glob("*/*/tmp/*"))

def test_what_came_into_a_partition_made_late_survives_a_cut() -> None:
    def play_late(disk: CrashDisk, accepted: list[str]) -> None:
        world = world_of(disk)

        def take(partition: int) -> None:
            assert world.leftovers.include(partition)
            world.delivery.several = True

        world.partitions.found = take
        world.send(BODY, "<bob>")
        disk.mkdir("second", world.store)
        disk.fsync_dir(world.store)
        world.send(BODY, "<bob>", "<sue>", "<kim>")
        accepted += ["sue", "kim"]
        assert len({world.partitions.of(owner) for owner in ("bob", "sue", "kim")}) == 2
        assert world.stop()

    whole = CrashDisk()
    play_late(whole, [])
    for count in range(20, whole.operations, 5):
        disk, accepted = CrashDisk(), list[str]()
        disk.cut_at(count)
        try:
            play_late(disk, accepted)
        except PowerCut:
            disk.after = lambda _operation: None
        again = world_of(disk.survivor(Extreme.LEAST), number=2)
        assert [where(again, owner) for owner in accepted] == [["second"]] * len(accepted), count


def test_who_takes_over_anothers_journal_has_a_barrier_in_partitions_made_since() -> None:
    disk = CrashDisk()
    early = world_of(disk)
    disk.mkdir("second", early.store)
    devices = disk.fstat
    disk.fstat = lambda fd: devices(fd)._replace(device=fd)  # type: ignore[method-assign]
    late = world_of(disk, number=2)
    late.send(BODY, "<sue>")
    before = len(early.leftovers._barriers)
    early.leftovers.adopt()
    assert len(early.leftovers._barriers) == before  # nothing was left
    assert late.committer.current is not None
    disk.unlock(late.committer.current.fd)
    assert early.leftovers.adopt() == (1, 0)
    assert len(early.leftovers._barriers) > before


def test_check_tells_of_partitions_that_are_missing_and_of_links(tmp_path: Path) -> None:
    instance = store_instance(tmp_path, "store.partitionof.sue = second")
    (tmp_path / "elsewhere").mkdir()
    instance.store.mkdir(parents=True)
    (missing,) = check(load(instance))
    assert "there is no folder" in missing.reason
    for name in ("second", "primary"):
        (instance.store / name).symlink_to(tmp_path / "elsewhere")
    assert [(each.severity, "is a symbolic link" in each.reason) for each in check(load(instance))] == [
        (Severity.ERROR, True), (Severity.WARNING, True),
    ]  # fmt: skip


async def test_a_partition_made_while_the_store_runs_is_taken(tmp_path: Path) -> None:
    instance = store_instance(tmp_path, "store.partitionof.sue = second")
    async with running_store(instance) as (program, port):
        client = await LmtpTalk.connect(port)
        assert await client.deliver(BODY, "<bob>", "<sue>") == ["250 2.5.0 <bob> OK", "430 4.3.0 <sue> IMAP IOERROR"]
        (instance.store / "second").mkdir()
        (instance.store / "third" / "kim").mkdir(parents=True)
        for body in (BODY, LARGE):
            answers = await client.deliver(body, "<bob>", "<sue>", "<tim>")
            assert answers == ["250 2.5.0 <bob> OK", "250 2.5.0 <sue> OK", "250 2.5.0 <tim> OK"]
        assert len(messages(instance.store, "second", "sue")) == 2
        await program.reload()
        assert await client.deliver(BODY, "<kim>") == ["250 2.5.0 <kim> OK"]
        assert len(messages(instance.store, "third", "kim")) == 1
        await client.close()


def test_a_partition_under_another_name_takes_no_mail_until_it_is_back() -> None:
    world = world_of(with_partitions(CrashDisk(), "second"))
    world.send(BODY, "<bob>", "<sue>")
    world.disk.rename("second", "away", world.store, world.store)
    world.partitions.look_for_strays()
    world.send(BODY, "<bob>", "<sue>", "<kim>")
    assert [type(each) for each in world.refused] == [MailboxIOError, MailboxIOError]
    world.disk.mkdir("second", world.store)
    world.partitions.look_for_strays()
    world.send(BODY, "<sue>")
    assert len(world.refused) == 3
    world.disk.rmdir("second", world.store)
    world.disk.rename("away", "second", world.store, world.store)
    world.partitions.look_for_strays()
    world.send(BODY, "<sue>", "<kim>")
    assert len(world.refused) == 3
    assert [each.owner for each in world.accepted] == ["bob", "sue", "bob", "sue", "kim"]


async def test_a_running_store_sees_its_partition_go_and_come(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    primary = instance.store / "primary"
    async with running_store(instance) as (_, port):
        client = await LmtpTalk.connect(port)
        assert await client.deliver(BODY, "<bob>") == ["250 2.5.0 <bob> OK"]
        primary.rename(instance.store / "away")
        primary.mkdir()
        while await client.deliver(BODY, "<bob>") != ["430 4.3.0 <bob> IMAP IOERROR"]:
            pass
        primary.rmdir()
        (instance.store / "away").rename(primary)
        while await client.deliver(BODY, "<bob>") != ["250 2.5.0 <bob> OK"]:
            pass
        await client.close()
