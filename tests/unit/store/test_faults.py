"""Whatever fails, each recipient has a temporary row of the table, nothing is left behind, and delivery goes on afterwards."""

import asyncio
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from posthouse.config.instance import Instance
from posthouse.dispatcher.trouble import Trouble
from posthouse.store.delivery.account import Account
from posthouse.store.delivery.admission import MOST_WAITING
from posthouse.testing.failing_disk import FailingDisk, no_inodes, read_only
from support.store_files import LmtpTalk, running_store, store_instance

GOOD = b"Subject: hello\r\n\r\ntext\r\n"
LARGE = b"Subject: large\r\n\r\n" + (b"y" * 998 + b"\r\n") * 400
OPERATIONS = (
    "open_dir", "open_file", "create_excl", "mkdir", "pread", "pwrite", "pwritev", "write", "fdatasync", "fsync", "fsync_dir",
    "rename", "link", "unlink", "listdir", "stat", "flock", "unlock", "ftruncate",
)  # fmt: skip
IO_ERROR, GONE_WELL = "430 4.3.0 <{}> IMAP IOERROR", "250 2.5.0 <{}> OK"


def messages(instance: Instance, owner: str) -> list[bytes]:
    new = instance.store / "primary" / owner / "new"
    return [path.read_bytes() for path in new.iterdir()] if new.is_dir() else []


def left_behind(instance: Instance) -> list[str]:
    return [str(path) for path in instance.store.glob("primary/*/tmp/*")]


async def well_again(client: LmtpTalk, *recipients: str) -> None:
    """A failed segment is replaced within a second."""
    wanted = [GONE_WELL.format(recipient) for recipient in recipients]
    answers: list[str] = []
    for _ in range(200):
        answers = await client.deliver(GOOD, *(f"<{recipient}>" for recipient in recipients))
        if answers == wanted:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(answers)


class Fat(FailingDisk):
    """A file system without hard links, and one whose syncfs is not believed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.fault = lambda operation, _name: OSError(number, os.strerror(number)) if operation == "link" else None

    def fstype(self, fd: int) -> int:
        del fd
        return 0x4D44


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("body", [GOOD, LARGE], ids=["small", "large"])
async def test_where_there_are_no_hard_links_everybody_has_a_copy(tmp_path: Path, number: int, body: bytes) -> None:
    instance = store_instance(tmp_path)
    async with running_store(instance, Fat(number)) as (_, port):
        client = await LmtpTalk.connect(port)
        for recipients in (["bob"], ["bob", "sue", "eve"]):
            answers = await client.deliver(body, *(f"<{each}>" for each in recipients))
            assert answers == [GONE_WELL.format(each) for each in recipients]
        await client.close()
    assert [len(messages(instance, each)) for each in ("bob", "sue", "eve")] == [2, 1, 1]
    assert left_behind(instance) == []


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("body", [GOOD, LARGE], ids=["small", "large"])
async def test_an_io_error_of_any_operation_is_430_or_does_not_matter(tmp_path: Path, operation: str, body: bytes) -> None:
    disk = FailingDisk()
    instance = store_instance(tmp_path)
    async with running_store(instance, disk) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, "<bob>", "<sue>")
        shutil.rmtree(instance.store / "primary" / "sue")
        before = len(messages(instance, "bob"))
        disk.fault = lambda name, _: OSError(errno.EIO, os.strerror(errno.EIO)) if name == operation else None
        answers = await client.deliver(body, "<bob>", "<sue>", "<new>")
        disk.fault = None
        assert set(answers) <= {row.format(owner) for row in (IO_ERROR, GONE_WELL) for owner in ("bob", "sue", "new")}
        for owner, answer in zip(("bob", "sue", "new"), answers, strict=True):
            placed = len(messages(instance, owner)) - (before if owner == "bob" else 0)
            assert placed == (1 if answer.startswith("250") else 0), answers
        if operation != "unlink":
            assert left_behind(instance) == []
        await well_again(client, "bob", "sue", "new")
        await client.close()


@pytest.mark.parametrize("fault", [no_inodes, read_only])
@pytest.mark.parametrize("body", [GOOD, LARGE], ids=["small", "large"])
async def test_no_inodes_and_a_read_only_disk(tmp_path: Path, fault: Callable[[str, str], OSError | None], body: bytes) -> None:
    disk = FailingDisk()
    instance = store_instance(tmp_path)
    async with running_store(instance, disk) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, "<bob>")
        disk.fault = fault
        assert await client.deliver(body, "<bob>", "<new>") == [IO_ERROR.format("bob"), IO_ERROR.format("new")]
        disk.fault = None
        await well_again(client, "bob", "new")
        assert left_behind(instance) == []
        await client.close()


async def test_what_keeps_mail_from_being_taken_is_told_until_it_is_over(tmp_path: Path) -> None:
    disk, told = FailingDisk(), list[Trouble]()

    def tell(troubles: Sequence[Trouble]) -> None:
        told[:] = troubles

    async def until(good: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not good():
                await asyncio.sleep(0.02)

    instance = store_instance(tmp_path)
    async with running_store(instance, disk, tell) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, "<bob>")
        (instance.store / "primary").rename(instance.store / "away")
        await until(lambda: bool(told))
        away = "partition primary was moved away, or covered: relays get 430"
        assert [(each.what, each.text) for each in told] == [("partition", away)]
        (instance.store / "away").rename(instance.store / "primary")
        await until(lambda: not told)
        disk.fault = lambda name, _: OSError(errno.EIO, "Input/output error") if name == "syncfs" else None
        await client.deliver(GOOD, "<bob>")
        await until(lambda: bool(told))
        assert [each.what for each in told] == ["store"]
        assert told[0].text.startswith("mail is refused until the disk is well (checkpoint: ")
        disk.fault = None
        await client.close()


async def test_what_nobody_foresaw_is_430_gives_the_lock_back_and_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise ZeroDivisionError("a fault of ours")

    instance = store_instance(tmp_path)
    async with running_store(instance) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, "<bob>")
        with monkeypatch.context() as patch:
            patch.setattr(Account, "admit", broken)
            assert await client.deliver(GOOD, "<bob>", "<new>") == [IO_ERROR.format("bob"), IO_ERROR.format("new")]
        assert "a fault of ours" in caplog.text
        assert await client.deliver(GOOD, "<bob>", "<new>") == [GONE_WELL.format("bob"), GONE_WELL.format("new")]
        await client.close()


async def test_the_seventeenth_delivery_that_would_wait_for_one_mailbox_is_told_at_once(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    async with running_store(instance) as (_, port):
        clients = [await LmtpTalk.connect(port) for _ in range(MOST_WAITING + 1)]
        await clients[0].deliver(GOOD, "<bob>")
        lock = os.open(instance.store / "primary" / "bob" / ".lmtp-lock", os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = [asyncio.create_task(client.deliver(GOOD, "<bob>")) for client in clients]
        done, others = await asyncio.wait(waiting, timeout=4, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result() for task in done] == [["420 4.2.0 <bob> Mailbox Locked"]]
        assert len(others) == MOST_WAITING
        stranger = await LmtpTalk.connect(port)
        assert await stranger.deliver(GOOD, "<sue>") == [GONE_WELL.format("sue")]
        os.close(lock)
        assert await asyncio.gather(*others) == [[GONE_WELL.format("bob")]] * MOST_WAITING
        for client in (*clients, stranger):
            await client.close()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK], ids=["fifo", "socket"])
async def test_a_special_file_in_place_of_maildirsize_is_not_supported(tmp_path: Path, kind: int) -> None:
    instance = store_instance(tmp_path)
    async with running_store(instance) as (_, port):
        client = await LmtpTalk.connect(port)
        await client.deliver(GOOD, "<bob> XQUOTA=5000,5")
        file = instance.store / "primary" / "bob" / "maildirsize"
        file.unlink()
        os.mknod(file, kind | 0o600)
        assert await client.deliver(GOOD, "<bob> XQUOTA=5000,5", "<sue>") == [
            "420 4.2.0 <bob> Mailbox not supported", "250 2.5.0 <sue> OK",
        ]  # fmt: skip
        file.unlink()
        assert await client.deliver(GOOD, "<bob> XQUOTA=5000,5") == ["250 2.5.0 <bob> OK"]
        await client.close()
