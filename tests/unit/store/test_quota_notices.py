"""Quota notices: when they come, what they say, that they do not count; a cut at any moment neither loses nor doubles one."""

import contextlib
import email
import email.policy
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.config.configuration import load
from posthouse.config.fault import Severity
from posthouse.config.store_conf import QUOTA_MESSAGE
from posthouse.journal.disk import Disk
from posthouse.store.delivery import quota_notices
from posthouse.store.delivery.account import Account
from posthouse.store.lmtp_server.settings import check, server_settings
from posthouse.store.mailbox.base_name import notice_seconds, size_of
from posthouse.store.mailbox.errors import PersistentQuotaExceeded, QuotaExceeded
from posthouse.store.mailbox.recount import recount
from posthouse.store.quota.decision import QuotaPolicy, Usage
from posthouse.store.quota.limits import Limits
from posthouse.store.quota.notification import Notification
from posthouse.store.quota.saved import LENGTH, SavedQuota
from posthouse.testing.crash_disk import CrashDisk, PowerCut
from posthouse.testing.crash_state import Choose, Extreme
from support.store_files import store_instance
from support.store_world import World

DAY = 86400.0
BODY = b"Subject: x\r\n\r\n" + b"0123456789" * 8 + b"\r\n"
SIZE = len(b"Return-Path: <s@example.org>\n" + BODY.replace(b"\r\n", b"\n"))
TEXT = "Subject: Overquota Warning$$[ID], [PERCENT]: [DISKUSAGE] of [QUOTA], [NUMMSG] of [MSGQUOTA]$-- $Postmaster"
WARN = Notification(90, 7 * DAY, TEXT, "store1.example.com", "example.com")
STRICT = QuotaPolicy(enforced=True, overdraft=False, grace=3600.0)


def notices(world: World, owner: str = "bob") -> list[bytes]:
    return [octets for name, octets in world.messages(owner).items() if notice_seconds(name) is not None]


def full(
    disk: Disk | None = None, policy: QuotaPolicy = STRICT, notification: Notification | None = WARN, number: int = 1
) -> World:
    """A store whose users may have ten messages."""
    return World(disk or CrashDisk(), policy=policy, defaults=Limits(-1, 10), notification=notification, number=number)


def usage(world: World, owner: str = "bob") -> list[bytes]:
    root = world.disk.open_dir(owner, world.partition)
    return world.disk.pread(world.disk.open_file("maildirsize", root), 1 << 20, 0).split(b"\n")[:-1]


def test_a_notice_comes_when_the_threshold_is_passed_and_does_not_count() -> None:
    world = full()
    for _ in range(9):
        world.send(BODY, "<bob>")
    assert notices(world) == []  # 90 % is reached, not passed
    world.send(BODY, "<bob>")
    (notice,) = notices(world)
    assert notice.startswith(b"Return-Path: <>\n")
    assert f"bob, 90%: {10 * SIZE} of unlimited, 10 of 10\n-- \nPostmaster\n".encode() in notice
    assert len(world.accepted) == 10
    assert len(world.refused) == 0
    lines = usage(world)
    assert sum(int(line.split()[1]) for line in lines[1:]) == 10
    root = world.disk.open_dir("bob", world.partition)
    assert recount(world.disk, root)[0] == (10 * SIZE, 10)


def test_one_in_an_interval_also_across_a_restart() -> None:
    world = full()
    for _ in range(12):
        world.send(BODY, "<bob>")
    assert len(notices(world)) == 1
    assert len(world.refused) == 2
    again = full(world.disk, number=2)
    again.send(BODY, "<bob>")
    assert len(notices(again)) == 1
    again.clock.run(7 * DAY - 1)
    again.send(BODY, "<bob>")
    assert len(notices(again)) == 1
    again.clock.run(1)
    again.send(BODY, "<bob>")  # refused, and the owner is told again
    assert len(notices(again)) == 2


def test_with_overdraft_the_owner_is_told_on_crossing_only() -> None:
    told = WARN._replace(percent=100)
    world = full(policy=QuotaPolicy(enforced=True, overdraft=True, grace=3600.0), notification=told)
    for _ in range(10):
        world.send(BODY, "<bob>")
    assert notices(world) == []
    world.send(BODY, "<bob>")
    assert len(notices(world)) == 1
    assert len(world.accepted) == 11
    world.send(BODY, "<bob>")
    assert len(world.refused) == 1


@pytest.mark.parametrize(
    ("policy", "recipient"),
    [(QuotaPolicy(enforced=False, overdraft=False, grace=0.0), "<bob>"), (STRICT, "<bob> xdflg=2")],
    ids=["not enforced", "xdflg 2"],
)
def test_what_is_let_in_over_the_quota_is_told(policy: QuotaPolicy, recipient: str) -> None:
    world = full(policy=policy)
    for _ in range(12):
        world.send(BODY, recipient)
    assert len(world.accepted) == 12
    assert len(notices(world)) == 1


@pytest.mark.parametrize("limits", ["-1,-1", "0,0", "-1,0"])
def test_no_notice_without_a_limit_or_with_a_limit_of_nothing(limits: str) -> None:
    world = full()
    for _ in range(3):
        world.send(BODY, f"<bob> xquota={limits}")
    assert notices(world) == []


def test_with_overdraft_the_grace_period_begins_with_the_crossing_and_goes_on_in_the_next_process() -> None:
    policy = QuotaPolicy(enforced=True, overdraft=True, grace=3600.0)
    world = full(policy=policy, notification=None)
    for _ in range(11):
        world.send(BODY, "<bob>")
    assert len(world.accepted) == 11
    again = full(world.disk, policy=policy, notification=None, number=2)
    for seconds in (3599, 1):
        again.clock.run(seconds)
        again.send(BODY, "<bob>")
    assert [type(each) for each in again.refused] == [QuotaExceeded, PersistentQuotaExceeded]


@pytest.mark.parametrize(
    ("settings", "percent"),
    [
        ((), None), (("store.quotanotification = on",), 90), (("store.quotanotification = on", "quotawarn = 75"), 75),
        (("store.quotanotification = on", "store.quotaoverdraft = on"), 100),
        (("store.quotanotification = on", "store.quotaexceededmsg ="), None),
    ],
)  # fmt: skip
def test_what_store_conf_says(tmp_path: Path, settings: tuple[str, ...], percent: int | None) -> None:
    told = server_settings(load(store_instance(tmp_path, *settings)), "tcp_lmtpss").delivery.notification
    assert (told.percent if told else None) == percent
    assert told is None or (told.interval, told.domain, told.text) == (7 * DAY, "example.com", QUOTA_MESSAGE)


@pytest.mark.parametrize(
    ("settings", "warnings"),
    [
        (("store.quotanotification = on",), 0), (("store.quotanotification = on", "store.quotawarn = 100"), 1),
        (("store.quotanotification = on", "store.quotawarn = 100", "store.quotaoverdraft = on"), 0),
        (("store.quotawarn = 100",), 0),
        (("store.quotanotification = on", "store.quotaexceededmsg ="), 1),
    ],
)  # fmt: skip
def test_check_tells_of_notices_that_are_never_sent(tmp_path: Path, settings: tuple[str, ...], warnings: int) -> None:
    faults = check(load(store_instance(tmp_path, *settings)))
    assert [(fault.file, fault.severity) for fault in faults] == [("config/store.conf", Severity.WARNING)] * warnings


def test_without_the_setting_there_is_none() -> None:
    world = full(notification=None)
    for _ in range(12):
        world.send(BODY, "<bob>")
    assert notices(world) == []


def test_a_disk_that_fails_delays_the_notice_only() -> None:
    disk = CrashDisk()
    world = full(disk)
    for _ in range(9):
        world.send(BODY, "<bob>")
    disk.fault = lambda operation, name: OSError(28, "full") if operation == "create_excl" and "N." in name else None
    world.send(BODY, "<bob>")
    assert len(world.accepted) == 10
    assert notices(world) == []
    disk.fault = lambda _operation, _name: None
    world.clock.run(59)
    world.send(BODY, "<bob>")
    assert notices(world) == []
    world.clock.run(1)
    world.send(BODY, "<bob>")
    assert len(notices(world)) == 1


def test_so_many_are_under_way_and_hold_no_delivery_up(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(CrashDisk(), defaults=Limits(-1, 2), notification=WARN)
    waiting: list[tuple[Callable[[], object], Callable[[object], None]]] = []
    monkeypatch.setattr(world.clock, "in_thread", lambda job, then: waiting.append((job, then)))
    owners = [f"user{number}" for number in range(40)]
    for _ in range(2):
        for owner in owners:
            world.send(BODY, f"<{owner}>")
    assert len(world.accepted) == 80
    assert len(waiting) == quota_notices.MOST
    world.clock.run(120)
    while waiting:
        job, then = waiting.pop()
        then(job())
    for owner in owners:
        world.send(BODY, f"<{owner}>")
    while waiting:
        job, then = waiting.pop()
        then(job())
    assert [len(notices(world, owner)) for owner in owners] == [1] * 40


def test_a_notice_that_was_placed_and_not_noted_is_found_wherever_it_is() -> None:
    world = full()
    for _ in range(10):
        world.send(BODY, "<bob>")
    root = world.disk.open_dir("bob", world.partition)
    (name,) = (name for name in world.messages("bob") if notice_seconds(name) is not None)
    world.disk.mkdir(".Trash", root)
    trash = world.disk.open_dir(".Trash", root)
    world.disk.mkdir("cur", trash)
    world.disk.rename(name, name + ":2,S", world.disk.open_dir("new", root), world.disk.open_dir("cur", trash))
    account = world.accounts.get("bob", world.clock.now())
    account.enter(world.clock.now())
    account.save(account.saved._replace(noticed=0.0, notice_begun=account.saved.noticed))
    account.leave()
    world.send(BODY, "<bob>")
    assert notices(world) == []
    assert account.saved.noticed
    assert not account.saved.notice_begun


def _play(disk: CrashDisk) -> None:
    world = full(disk)
    for _ in range(11):
        world.send(BODY, "<bob>")
    assert world.stop()


def _states(seed: int) -> list[Choose]:
    return [*Extreme, *(random.Random(seed * 10 + number) for number in range(2))]


def _faults() -> list[str]:
    """Cut after every operation from the tenth message on; what was wrong after the next messages."""
    whole, begin = CrashDisk(), CrashDisk()
    _play(whole)
    world = full(begin)
    for _ in range(9):
        world.send(BODY, "<bob>")
    faults = []
    for count in range(begin.operations, whole.operations + 1):
        disk = CrashDisk()
        disk.cut_at(count)
        with contextlib.suppress(PowerCut):
            _play(disk)
        disk.after = lambda _operation: None
        for choose in _states(count):
            again = full(disk.survivor(choose), number=2)
            again.clock.run(120)
            for _ in range(3):
                again.send(BODY, "<bob>")
            found = notices(again)
            if [len(found), *(octets.endswith(b"Postmaster\n") for octets in found)] != [1, True]:
                faults.append(f"{count} {choose}: {found}")
            root = again.disk.open_dir("bob", again.partition)
            if recount(again.disk, root)[0].messages != 10:
                faults.append(f"{count} {choose}: counted")
    return faults


def test_a_cut_at_any_moment_neither_loses_nor_doubles_a_notice() -> None:
    """Power loss in any legal state; a killed process is the state in which everything survives."""
    assert _faults() == []


MUTANTS = ["begun not synced", "noted before", "noted behind only", "file not synced", "always sent anew"]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_mutants_of_the_order_are_caught(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Account.save

    def noted_before(account: Account, saved: SavedQuota) -> None:
        save(account, saved._replace(noticed=saved.notice_begun, notice_begun=0.0) if saved.notice_begun else saved)

    def noted_behind_only(account: Account, saved: SavedQuota) -> None:
        save(account, saved._replace(notice_begun=0.0))

    if mutant == "begun not synced":
        monkeypatch.setattr(Account, "sync_saved", lambda _account: None)
    elif mutant == "noted before":
        monkeypatch.setattr(Account, "save", noted_before)
    elif mutant == "noted behind only":
        monkeypatch.setattr(Account, "save", noted_behind_only)
    elif mutant == "file not synced":
        sync = CrashDisk.fsync
        monkeypatch.setattr(CrashDisk, "fsync", lambda disk, fd: sync(disk, fd) if disk.fstat(fd).size == LENGTH else None)
    else:
        monkeypatch.setattr(quota_notices, "has_notice", lambda *_: False)
    assert _faults() != []


@given(st.integers(0, 2000), st.integers(0, 30), st.integers(-1, 1500), st.integers(-1, 20), st.integers(1, 100))
def test_a_higher_limit_or_threshold_never_makes_a_notice(
    octets: int, messages: int, limit: int, number: int, percent: int
) -> None:
    told = WARN._replace(percent=percent)
    used = Usage(octets, messages)
    if not told.passed(used, Limits(limit, number)):
        more = Limits(limit + 1 if limit > 0 else limit, number + 1 if number > 0 else number)
        assert not told.passed(used, more)
        assert not told._replace(percent=percent + 1).passed(used, Limits(limit, number))


@pytest.mark.parametrize(
    ("owner", "address"),
    [
        ("bob", "bob@example.com"), ("bob@hosted.example", "bob@hosted.example"), ("o'brien", "o'brien@example.com"),
        ("a b", '"a b"@example.com'), ('a"b', '"a\\"b"@example.com'), ("jürgen", "jürgen@example.com"),
    ],
)  # fmt: skip
def test_the_mail_is_well_formed(owner: str, address: str) -> None:
    told = WARN._replace(text="Subject: Über der Grenze$X-Tag: 1$$[ID]: schön [QUOTA]$$.$")
    octets = told.compose(owner, Usage(5, 1), Limits(10, -1), 1_800_000_000.0)
    mail = email.message_from_bytes(octets.partition(b"\n")[2], policy=email.policy.SMTPUTF8)
    assert mail.defects == []
    assert mail["Subject"] == "Über der Grenze"
    assert f"\nTo: <{address}>\n".encode() in octets
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"] == "Fri, 15 Jan 2027 08:00:00 -0000"
    assert [len(mail.get_all(name) or []) for name in ("From", "Message-ID", "X-Tag")] == [1, 1, 1]
    assert mail.get_content() == f"{owner}: schön 10\n\n.\n"
    assert b"\r" not in octets


def test_fields_of_the_text_stand_instead_of_ours() -> None:
    told = WARN._replace(text="From: helpdesk@example.com$subject: x$MIME-Version: 1.0$Content-Type: text/html$$<p>full</p>")
    octets = told.compose("bob", Usage(5, 1), Limits(10, -1), 1_800_000_000.0)
    mail = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert mail["From"] == "helpdesk@example.com"
    assert mail.get_content_type() == "text/html"
    assert len(mail.get_all("From") or []) == len(mail.get_all("MIME-Version") or []) == 1


def test_the_stores_own_text_is_a_mail() -> None:
    octets = WARN._replace(text=QUOTA_MESSAGE).compose("bob", Usage(5, 1), Limits(10, -1), 1_800_000_000.0)
    assert b"\nSubject: Your mailbox is nearly full\n" in octets
    assert b"[" not in octets
    assert max(map(len, octets.split(b"\n"))) <= 78


def test_a_notices_name_tells_its_size_and_time() -> None:
    world = full()
    name = world.names.notice(100, 110)
    assert size_of(name) == 100
    assert notice_seconds(name) == notice_seconds(name + ":2,ST") == int(world.clock.now())
    assert notice_seconds(world.names.next(100, 110)) is None
