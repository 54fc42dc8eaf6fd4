"""Every row of Table 16-1 of the LMTP chapter, each from its real condition, over a real connection."""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from posthouse.config.instance import Instance
from posthouse.mail.outcome import Deferred, Delivered, Failed, outcome_of
from posthouse.relay.job_controller.backoff import BUSY_LIMIT, is_busy
from posthouse.store.lmtp_server.program import LmtpProgram
from posthouse.store.lmtp_server.status_page import NATIVE, page
from posthouse.store.lmtp_server.status_table import TABLE, Relay, Row, row_of
from posthouse.store.mailbox.errors import AlreadyStored, MailboxError
from posthouse.store.quota.saved import decode_saved
from posthouse.testing.failing_disk import FailingDisk, disk_full
from support.store_files import LmtpTalk, running_store, store_instance

GOOD = b"Subject: hello\r\n\r\ntext\r\n"


@asynccontextmanager
async def talk(instance: Instance, disk: FailingDisk | None = None) -> AsyncIterator[tuple[LmtpTalk, LmtpProgram]]:
    async with running_store(instance, disk) as (program, port):
        client = await LmtpTalk.connect(port)
        yield client, program
        await client.close()


def mailbox(instance: Instance, owner: str) -> Path:
    return instance.store / "primary" / owner


def test_the_table_is_the_chapters() -> None:
    chapter = [
        "250 2.5.0 OK", "420 4.2.0 Mailbox Locked", "422 4.2.2 Quota Exceeded", "420 4.2.0 Mailbox Bad Formats",
        "420 4.2.0 Mailbox not supported", "430 4.3.0 IMAP IOERROR", "522 5.2.2 Persistent Quota Exceeded",
        "523 5.2.3 Message too large", "511 5.1.1 mailbox nonexistent", "560 5.6.0 message contains null",
        "560 5.6.0 message contains nl", "560 5.6.0 message has bad header", "560 5.6.0 message has no blank line",
    ]  # fmt: skip
    assert [f"{row.code} {row.enhanced} {row.text}" for row in TABLE] == chapter


def test_every_fault_of_a_mailbox_has_exactly_one_row_and_everything_else_is_an_io_error() -> None:
    assert {row.fault for row in TABLE if row.fault} == set(MailboxError.__subclasses__()) - {AlreadyStored}
    assert row_of(AlreadyStored("x")) is row_of(None)
    assert row_of(RuntimeError("anything")).text == "IMAP IOERROR"


def test_the_page_of_the_codes_is_up_to_date() -> None:
    file = Path(__file__).parents[3] / "docs" / "status-codes.md"
    assert file.read_text() == page(), "make docs/status-codes.md"


def test_the_page_names_every_fault_that_the_native_service_raises() -> None:
    folder = Path(__file__).parents[3] / "src" / "posthouse" / "store" / "native"
    text = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    raised = {kind for kind in MailboxError.__subclasses__() if kind.__name__ in text}
    assert raised - {AlreadyStored} == set(NATIVE) - {None}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.text)
def test_the_relay_does_what_the_page_says(row: Row) -> None:
    status = row.status("<bob>")
    means = {Relay.SETTLED: Delivered, Relay.SOON: Deferred, Relay.LATER: Deferred, Relay.RETURNED: Failed}
    assert isinstance(outcome_of(status), means[row.relay])
    assert is_busy(status) == (row.relay is Relay.SOON)
    assert f"at most {BUSY_LIMIT} times" in Relay.SOON.value
    assert len(row.condition) > 30


async def test_ok_is_answered_with_the_address_as_given(tmp_path: Path) -> None:
    async with talk(store_instance(tmp_path)) as (client, _):
        assert await client.deliver(GOOD, "<Bob@EXAMPLE.com>", "bob") == ["250 2.5.0 <Bob@EXAMPLE.com> OK", "250 2.5.0 bob OK"]


async def test_mailbox_locked_by_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthouse.store.delivery.admission.LOCK_WAIT", 0.1)
    instance = store_instance(tmp_path)
    async with talk(instance) as (client, _):
        await client.deliver(GOOD, "<bob>")
        fd = os.open(mailbox(instance, "bob") / ".lmtp-lock", os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # The other recipient is not held up by it.
        assert await client.deliver(GOOD, "<bob>", "<sue>") == ["420 4.2.0 <bob> Mailbox Locked", "250 2.5.0 <sue> OK"]
        os.close(fd)
        assert await client.deliver(GOOD, "<bob>") == ["250 2.5.0 <bob> OK"]


async def test_a_lock_that_comes_free_in_time_is_waited_for(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    async with talk(instance) as (client, program):
        await client.deliver(GOOD, "<bob>")
        fd = os.open(mailbox(instance, "bob") / ".lmtp-lock", os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        waiting = asyncio.create_task(client.deliver(GOOD, "<bob>", "<sue>"))
        while not program.delivery._admission._waiting:
            await asyncio.sleep(0)
        assert not waiting.done()
        os.close(fd)
        assert await waiting == ["250 2.5.0 <bob> OK", "250 2.5.0 <sue> OK"]


async def test_mailbox_locked_by_an_administrator_at_once(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    async with talk(instance) as (client, _):
        await client.deliver(GOOD, "<bob>")
        lock = mailbox(instance, "bob") / ".admin-lock"
        lock.touch()
        assert await client.deliver(GOOD, "<bob>") == ["420 4.2.0 <bob> Mailbox Locked"]
        lock.unlink()
        assert await client.deliver(GOOD, "<bob>") == ["250 2.5.0 <bob> OK"]


async def test_quota_exceeded_then_persistent_after_the_grace_period(tmp_path: Path) -> None:
    instance = store_instance(tmp_path, "store.quotagraceperiod = 1h")
    async with talk(instance) as (client, _):
        assert await client.deliver(GOOD, "<bob> XQUOTA=10000,1") == ["250 2.5.0 <bob> OK"]
        assert await client.deliver(GOOD, "<bob>") == ["422 4.2.2 <bob> Quota Exceeded"]
    # The grace period goes on while the server is down: let an hour have passed.
    lock = mailbox(instance, "bob") / ".lmtp-lock"
    saved = decode_saved(lock.read_bytes())
    assert saved.over_since is not None
    lock.write_bytes(saved._replace(over_since=saved.over_since - 3600).encode())
    async with talk(instance) as (client, _):
        assert await client.deliver(GOOD, "<bob>") == ["522 5.2.2 <bob> Persistent Quota Exceeded"]
        assert await client.deliver(GOOD, "<bob> xdflg=2") == ["250 2.5.0 <bob> OK"]
        assert await client.deliver(GOOD, "<bob> XQUOTA=-1,-1") == ["250 2.5.0 <bob> OK"]
        assert await client.deliver(GOOD, "<bob> XQUOTA=0,0") == ["522 5.2.2 <bob> Persistent Quota Exceeded"]


async def test_quota_by_bytes_counts_octets_on_disk_and_takes_effect_at_once(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    size = len(b"Return-Path: <s@example.org>\n") + len(GOOD.replace(b"\r\n", b"\n"))
    async with talk(instance) as (client, _):
        assert await client.deliver(GOOD, f"<bob> XQUOTA={2 * size},-1") == ["250 2.5.0 <bob> OK"]
        assert (mailbox(instance, "bob") / "maildirsize").read_bytes().split(b"\n")[0] == b"%dS" % (2 * size)
        assert await client.deliver(GOOD, "<bob>") == ["250 2.5.0 <bob> OK"]
        assert await client.deliver(GOOD, "<bob>") == ["422 4.2.2 <bob> Quota Exceeded"]
        assert await client.deliver(GOOD, f"<bob> XQUOTA={3 * size},-1") == ["250 2.5.0 <bob> OK"]
        assert await client.deliver(GOOD, f"<bob> XQUOTA={3 * size},-1") == ["422 4.2.2 <bob> Quota Exceeded"]
        lines = (mailbox(instance, "bob") / "maildirsize").read_bytes().split(b"\n")
        assert lines[0] == b"%dS" % (3 * size)
        assert sum(int(line.split()[0]) for line in lines[1:] if line) == 3 * size


async def test_bad_format_when_a_file_stands_where_the_mailbox_belongs(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    async with talk(instance) as (client, _):
        mailbox(instance, "bob").write_text("From old@mbox\n")
        mailbox(instance, "sue").mkdir()
        (mailbox(instance, "sue") / "notes.txt").touch()
        mailbox(instance, "tim").mkdir()
        (mailbox(instance, "tim") / "new").touch()
        assert await client.deliver(GOOD, "<bob>", "<sue>", "<tim>") == [
            f"420 4.2.0 <{owner}> Mailbox Bad Formats" for owner in ("bob", "sue", "tim")
        ]


async def test_not_supported_when_links_or_special_files_stand_there_or_it_is_read_only(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    for part in ("cur", "new", "tmp"):
        (elsewhere / part).mkdir(parents=True)
    async with talk(instance) as (client, _):
        mailbox(instance, "bob").symlink_to(elsewhere)
        os.mkfifo(mailbox(instance, "sue"))
        await client.deliver(GOOD, "<tim>", "<kim>")
        new = mailbox(instance, "tim") / "new"
        new.rename(mailbox(instance, "tim") / "aside")
        new.symlink_to(elsewhere / "new")
        (mailbox(instance, "ann")).mkdir()
        for part in ("cur", "new", "tmp"):
            (mailbox(instance, "ann") / part).mkdir(mode=0o500)
        assert await client.deliver(GOOD, "<bob>", "<sue>", "<tim>", "<ann>") == [
            f"420 4.2.0 <{owner}> Mailbox not supported" for owner in ("bob", "sue", "tim", "ann")
        ]
    assert not list((elsewhere / "new").iterdir())


@pytest.mark.parametrize("operation", ["fdatasync", "rename", "create_excl", "pwrite", "pwritev"])
async def test_io_error_and_recovery_by_itself(tmp_path: Path, operation: str) -> None:
    disk = FailingDisk()
    async with talk(store_instance(tmp_path), disk) as (client, _):
        await client.deliver(GOOD, "<bob>")
        disk.fault = lambda name, _: OSError(errno.EIO, os.strerror(errno.EIO)) if name == operation else None
        assert await client.deliver(GOOD, "<bob>") == ["430 4.3.0 <bob> IMAP IOERROR"]
        disk.fault = None
        answers = []
        for _ in range(100):  # a failed segment is replaced within a second
            answers = await client.deliver(GOOD, "<bob>")
            if answers == ["250 2.5.0 <bob> OK"]:
                break
            await asyncio.sleep(0.05)
        assert answers == ["250 2.5.0 <bob> OK"]


async def test_disk_full_is_an_io_error_for_small_and_large(tmp_path: Path) -> None:
    disk = FailingDisk()
    large = b"Subject: x\r\n\r\n" + (b"y" * 998 + b"\r\n") * 700
    async with talk(store_instance(tmp_path), disk) as (client, program):
        await client.deliver(GOOD, "<bob>")
        assert program.failing() == {}
        disk.fault = disk_full
        assert await client.deliver(GOOD, "<bob>", "<new>") == ["430 4.3.0 <bob> IMAP IOERROR", "430 4.3.0 <new> IMAP IOERROR"]
        assert await client.deliver(large, "<bob>", "<../x>") == [
            "430 4.3.0 <bob> IMAP IOERROR", "511 5.1.1 <../x> mailbox nonexistent",
        ]  # fmt: skip
        assert "(bob: No space left on device)" in program.failing()["store"]
        program.failed = time.time() - 61, "bob: no more"
        assert program.failing() == {}
        disk.fault = lambda operation, name: disk_full(operation, name) if operation == "pwrite" else None  # full meanwhile
        assert await client.deliver(large, "<bob>") == ["430 4.3.0 <bob> IMAP IOERROR"]
        assert "(bob: No space left on device)" in program.failing()["store"]
        disk.fault = None
        assert await client.deliver(large, "<bob>") == ["250 2.5.0 <bob> OK"]


async def test_message_too_large_when_the_client_announced_it(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path, "store.maxmessagesize = 2000")) as (_, port):
        client = await LmtpTalk.connect(port, "LHLO")
        body = b"Subject: x\r\n\r\n" + b"y" * 2000 + b"\r\n"
        assert await client.say(f"MAIL FROM:<s@example.org> SIZE={len(body)}") == "250 OK"
        assert await client.say("RCPT TO:<bob>") == "250 OK"
        assert (await client.say("DATA")).startswith("354")
        client.writer.write(body + b".\r\n")
        assert await client.reply() == "523 5.2.3 <bob> Message too large"
        await client.close()


async def test_message_too_big_for_its_announced_size_ends_the_connection(tmp_path: Path) -> None:
    async with running_store(store_instance(tmp_path)) as (_, port):
        client = await LmtpTalk.connect(port, "LHLO")
        await client.say("MAIL FROM:<s@example.org> size=30")
        await client.say("RCPT TO:<bob>")
        await client.say("DATA")
        client.writer.write(GOOD * 3 + b".\r\n")
        assert await client.reply() == "500 message too big"
        assert await client.reader.read() == b""
        client.writer.close()


async def test_nonexistent(tmp_path: Path) -> None:
    instance = store_instance(tmp_path, "store.autocreate = 0")
    async with talk(instance) as (client, _):
        assert await client.deliver(GOOD, "<bob>", "<../../etc/passwd>", '<"a/b">') == [
            "511 5.1.1 <bob> mailbox nonexistent",
            "511 5.1.1 <../../etc/passwd> mailbox nonexistent",
            '511 5.1.1 <"a/b"> mailbox nonexistent',
        ]
    assert not mailbox(instance, "bob").exists()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"Subject: x\r\n\r\na\0b\r\n", "message contains null"),
        (b"Subject: x\r\n\r\na\nb\0\r\n", "message contains null"),
        (b"Subject: x\r\n\r\na\nb\r\n", "message contains nl"),
        (b"no header line\r\n\r\nbody\r\n", "message has bad header"),
        (b": x\r\n\r\nbody\r\n", "message has bad header"),
        (b"Subject: x\r\n", "message has no blank line"),
    ],
)
async def test_faults_of_the_message_are_everybodys(tmp_path: Path, message: bytes, text: str) -> None:
    instance = store_instance(tmp_path)
    async with talk(instance) as (client, _):
        assert await client.deliver(message, "<bob>", "<sue>") == [f"560 5.6.0 <bob> {text}", f"560 5.6.0 <sue> {text}"]
        assert await client.deliver(GOOD, "<bob>") == ["250 2.5.0 <bob> OK"]
    assert len(list((mailbox(instance, "bob") / "new").iterdir())) == 1


async def test_lenient_header_check_accepts_the_last_two(tmp_path: Path) -> None:
    async with talk(store_instance(tmp_path, "store.header_check = lenient")) as (client, _):
        assert await client.deliver(b"no header line\r\n\r\nbody\r\n", "<bob>") == ["250 2.5.0 <bob> OK"]
        assert await client.deliver(b"Subject: x\r\n\r\na\nb\r\n", "<bob>") == ["560 5.6.0 <bob> message contains nl"]
