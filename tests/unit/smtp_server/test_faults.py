"""Disk, directory and connections fail: 4xx, nothing half done, and other sessions go on."""

import asyncio
import errno
import os
import threading
import time
from pathlib import Path
from typing import cast

import pytest

from posthouse.cli.demo.samples import people
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.relay.directory.question import Answer, Question
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.relay.smtp_server.relay import Relay
from posthouse.testing.directory import MemoryDirectory
from posthouse.testing.failing_disk import FailingDisk, disk_full
from posthouse.trace.record import Action
from support.smtp_world import SmtpWorld, queued, relay_files

BODY = b"Subject: x\r\n\r\ntext\r\n"
LARGE = b"Subject: x\r\n\r\n" + b"0123456\r\n" * 50_000


def broken(operation: str, _name: str) -> OSError | None:
    """Every sync fails."""
    return OSError(errno.EIO, os.strerror(errno.EIO)) if operation in {"fdatasync", "fsync"} else None


class WaitingDirectory(MemoryDirectory):
    """Answers only when the gate is opened."""

    def __init__(self) -> None:
        super().__init__(people(), at_hand=False)
        self.gate = asyncio.Event()

    async def answer(self, question: Question) -> Answer:
        await self.gate.wait()
        return await super().answer(question)


@pytest.mark.parametrize(("fault", "reply"), [(disk_full, "452 4.3.1"), (broken, "451 4.3.0")], ids=["full", "broken"])
def test_a_disk_that_fails_and_recovers(tmp_path: Path, fault: object, reply: str) -> None:
    disk = FailingDisk()
    with SmtpWorld(relay_files(tmp_path), disk=cast("Disk", disk)) as world:
        client = world.hello()
        assert client.message(BODY, "jd@example.com").startswith("250 ")
        disk.fault = fault  # type: ignore[assignment] # one of the two above
        assert client.message(b"Message-ID: <one@x>\r\n" + BODY, "jd@example.com").startswith(reply + " ")
        assert client.message(b"Message-ID: <two@x>\r\n" + LARGE, "jd@example.com").startswith(reply + " ")
        refused = [(f"{each.co} {each.en}", each.mi) for each in world.records(Action.REFUSED)]
        assert refused == [(reply, "<one@x>"), (reply, "<two@x>")]
        disk.fault = None
        end = time.monotonic() + 20  # a new segment is tried each second
        while not (answer := client.message(BODY, "jd@example.com")).startswith("250 "):
            assert answer.startswith(reply + " "), answer
            assert time.monotonic() < end
        assert client.message(LARGE, "jd@example.com").startswith("250 ")
        assert len(world.records(Action.ENQUEUED)) == 3
        assert len(list((world.instance.journal / "body").iterdir())) == 1
        assert [len(each.body) > 1000 for each in world.queued()].count(True) == 1


def test_no_room_for_a_segment_leaves_no_body_file(tmp_path: Path) -> None:
    """The body is on the disk already when its record finds no room."""
    disk = FailingDisk()

    def full_for_records(operation: str, name: str) -> OSError | None:
        return disk_full(operation, name) if operation == "pwritev" else None

    with SmtpWorld(relay_files(tmp_path), disk=cast("Disk", disk)) as world:
        disk.fault = full_for_records
        assert world.hello().message(LARGE, "jd@example.com").startswith("452 4.3.1 ")
        assert list((world.instance.journal / "body").iterdir()) == []
        disk.fault = None
        assert world.queued() == []


def test_a_body_file_that_cannot_be_removed_costs_nobody_anything(tmp_path: Path) -> None:
    disk = FailingDisk()

    def stuck(operation: str, name: str) -> OSError | None:
        return OSError(errno.EIO, "stuck") if operation == "unlink" else disk_full(operation, name)

    with SmtpWorld(relay_files(tmp_path), disk=cast("Disk", disk)) as world:
        client = world.hello()
        client.begin("jd@example.com")
        client.send(LARGE)
        world.until(lambda: bool(list((world.instance.journal / "body").iterdir())))
        disk.fault = stuck
        client.close()
        world.until(lambda: world.closed == 1)
        disk.fault = None


def test_the_directory_does_not_know(tmp_path: Path) -> None:
    def unknown(relay: Relay) -> None:
        directory = MemoryDirectory(people())
        directory.failing = "no server answers"
        relay.directory = directory

    with SmtpWorld(relay_files(tmp_path), prepare=unknown) as world:
        client = world.hello()
        client.ask("MAIL FROM:<a@outside.test>")
        assert client.ask("RCPT TO:<jd@example.com>").startswith("450 4.3.0 ")
        assert client.ask("DATA").startswith("503 ")


def waiting(world: SmtpWorld) -> WaitingDirectory:
    directory = WaitingDirectory()
    world.call(lambda: setattr(world.relay, "directory", directory))
    return directory


def test_one_waits_for_the_directory_the_others_go_on(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        quick = world.relay.directory
        slow, other = world.hello(), world.hello()
        directory = waiting(world)
        slow.send(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<jd@example.com>\r\nRCPT TO:<x@example.com>\r\nDATA\r\n")
        assert slow.reply().startswith("250 2.5.0 ")
        world.call(lambda: setattr(world.relay, "directory", quick))
        assert other.message(BODY, "jd@example.com").startswith("250 ")
        world.call(directory.gate.set)
        assert [each[:9] for each in slow.replies(3)] == ["250 2.1.5", "550 5.1.1", "354 Enter"]


def test_a_flood_behind_an_owed_answer_is_not_read(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        directory = waiting(world)
        client.send(b"MAIL FROM:<a@outside.test>\r\nRCPT TO:<jd@example.com>\r\n")
        assert client.reply().startswith("250 ")
        client.send(b"VRFY x\r\n" * 30_000)
        (session,) = world.call(lambda: list(world.relay.sessions))
        world.until(lambda: session._paused)
        world.call(directory.gate.set)
        assert client.reply().startswith("250 2.1.5 ")
        assert {each[:3] for each in client.replies(99)} == {"252"}
        assert client.reply().startswith("421 4.7.0 ")


def test_a_reload_while_a_decision_waits(tmp_path: Path) -> None:
    """The old directory is closed under the question: the new one is asked."""
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        directory = waiting(world)
        client.ask("MAIL FROM:<a@outside.test>")
        client.send(b"RCPT TO:<jd@example.com>\r\n")
        world.until(lambda: bool(next(iter(world.relay.sessions)).server.awaiting))
        world.reload()
        assert world.call(directory.health) == "the directory is closed"
        world.call(directory.gate.set)
        assert client.reply().startswith("250 2.1.5 ")


def test_a_reload_in_a_transaction_keeps_its_rules(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.begin("jd@example.com")
        imta = world.instance.config / "imta.cnf"
        imta.write_text(imta.read_text().replace("tcp_lmtpcs ", "tcp_lmtpother ").replace("@lmtpcs-daemon", "@lmtpother-daemon"))
        world.reload()
        assert "tcp_lmtpcs" not in world.call(lambda: world.relay.rules.imta.channels)
        client.send(BODY + b".\r\n")
        assert client.reply().startswith("250 ")
        assert client.ask("NOOP").startswith("250 ")


def test_a_bad_reload_changes_nothing(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        before = world.call(lambda: (world.relay.rules, world.relay.directory, world.relay.limits, world.relay.sources))
        imta = world.instance.config / "imta.cnf"
        imta.write_text(imta.read_text().replace("\ntcp_local ", "\ntcp_other "))
        with pytest.raises(Exception, match="tcp_local"):
            world.reload()
        after = world.call(lambda: (world.relay.rules, world.relay.directory, world.relay.limits, world.relay.sources))
        assert all(old is new for old, new in zip(before, after, strict=True))
        assert world.hello().message(BODY, "jd@example.com").startswith("250 ")


def test_a_client_lost_before_its_answer_has_delivered(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.begin("jd@example.com")
        client.send(BODY + b".\r\n")
        client.close()
        world.until(lambda: world.closed == 1)
        world.until(lambda: len(world.records_now(Action.ENQUEUED)) == 1)
        assert len(world.queued()) == 1


def test_a_client_lost_while_the_directory_is_asked(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        directory = waiting(world)
        client.ask("MAIL FROM:<a@outside.test>")
        client.send(b"RCPT TO:<jd@example.com>\r\nRCPT TO:<jd@example.com>\r\n")
        world.until(lambda: bool(next(iter(world.relay.sessions)).server.awaiting))
        (session,) = world.call(lambda: list(world.relay.sessions))
        assert session.transport is not None
        world.call(session.transport.abort)
        world.until(lambda: world.closed == 1)
        world.call(directory.gate.set)
        assert world.hello().ask("NOOP").startswith("250 ")


def test_a_client_that_closed_its_side_still_hears_the_answer(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.begin("jd@example.com")
        client.send(BODY + b".\r\nNOOP\r\nQUIT\r\n")
        client.finish()
        assert [each[:9] for each in client.replies(3)] == ["250 2.5.0", "250 2.5.0", "221 2.3.0"]
        assert client.at_end()
        assert len(world.queued()) == 1


def test_drain(tmp_path: Path) -> None:
    """Who is idle hears 421 at once, who is in a transaction after its reply."""
    with SmtpWorld(relay_files(tmp_path)) as world:
        idle, busy = world.hello(), world.hello()
        busy.begin("jd@example.com")
        for session in world.call(lambda: list(world.relay.sessions)):
            world.call(session.shed)
        assert idle.reply().startswith("421 4.3.2 ")
        assert idle.at_end()
        busy.send(BODY + b".\r\n")
        assert busy.reply().startswith("250 ")
        assert busy.reply().startswith("421 4.3.2 ")
        assert busy.at_end()
        instance = world.instance
    assert len(queued(instance)) == 1


def test_bodies_that_do_not_end_give_way(tmp_path: Path) -> None:
    def small(relay: Relay) -> None:
        relay.memory.limit = 400_000

    with SmtpWorld(relay_files(tmp_path), prepare=small) as world:
        stalled = [world.hello() for _ in range(3)]
        for client in stalled:
            client.begin("jd@example.com")
            client.send(b"Subject: x\r\n\r\n" + b"x" * 150_000)
        # full, or full a moment ago: within a second the oldest goes, and this thread may not look in between
        world.until(lambda: world.relay.memory.is_full or len(world.relay.sessions) < len(stalled))
        client = world.hello()
        assert client.message(BODY, "jd@example.com").startswith("250 ")
        assert stalled[0].reply().startswith("421 4.3.2 ")
        stalled[2].send(b"\r\n.\r\n")
        assert stalled[2].reply().startswith("250 ")
        stalled[1].send(b"\r\n.\r\n")
        assert stalled[1].reply()[:3] in {"250", "421"}
        assert world.call(lambda: world.relay.memory.held) == 0


def test_what_is_thrown_away_takes_no_memory(tmp_path: Path) -> None:
    """Beyond the size limit, in a refused chunk, and for a body the disk does not take: octets pass by uncounted."""

    def small(relay: Relay) -> None:
        relay.memory.limit = 700_000

    disk = FailingDisk()
    instance = relay_files(tmp_path, option_dat="BLOCK_LIMIT=1000\n")
    with SmtpWorld(instance, disk=cast("Disk", disk), prepare=small) as world:
        client = world.hello()
        assert client.message(b"\r\n" + b"x" * 3_000_000 + b"\r\n", "jd@example.com").startswith("552 5.3.4 ")
        client.send(b"BDAT 2000000\r\n" + b"x" * 2_000_000)
        assert client.reply().startswith("503 ")
        disk.fault = disk_full
        assert client.message(b"\r\n" + b"x" * 1_000_000 + b"\r\n", "jd@example.com").startswith("452 4.3.1 ")
        disk.fault = None
        assert world.call(lambda: world.relay.memory.held) == 0


class GatedDisk(LinuxDisk):
    """Its syncs wait while the gate is closed."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def fdatasync(self, fd: int, /) -> None:  # type: ignore[override] # a method in place of the call
        assert self.gate.wait(60)
        os.fdatasync(fd)


def test_what_the_journal_has_no_room_for_follows_in_order(tmp_path: Path) -> None:
    """More waits for the disk than the journal takes; nobody is refused or overtaken, no other session stands still."""
    disk = GatedDisk()

    def narrow(relay: Relay) -> None:
        announce = relay.enqueuer._announce
        relay.enqueuer.stop()
        relay.enqueuer = Enqueuer(
            cast("Disk", disk), journal, "narrow", call_soon=relay.loop.call_soon_threadsafe, announce=announce, max_waiting=1
        )
        relay.enqueuer.start()

    instance = relay_files(tmp_path)
    journal = disk.open_dir(str(instance.journal))
    with SmtpWorld(instance, disk=cast("Disk", disk), prepare=narrow) as world:
        clients = [world.hello() for _ in range(4)]
        disk.gate.clear()
        for number, client in enumerate(clients):
            client.begin("jd@example.com", sender=f"a{number}@outside.test")
            client.send(BODY + b".\r\n")
            world.until(lambda: world.relay.enqueuer.writer.waiting > 0)
            world.until(lambda number=number: len(world.relay._stuck) == number)  # type: ignore[misc]
        assert world.hello().ask("NOOP").startswith("250 ")
        disk.gate.set()
        assert [client.reply()[:4] for client in clients] == ["250 "] * 4
        assert clients[0].message(BODY, "jd@example.com").startswith("250 ")
        assert [each.envelope.sender for each in world.queued()][:4] == [f"a{number}@outside.test" for number in range(4)]
    disk.close(journal)
