"""What is remembered of a quota outlives the processes: the grace period, and who has been told."""

import contextlib
import smtplib
import threading
import time
from pathlib import Path

from posthouse.store.mailbox.base_name import notice_seconds
from posthouse.store.quota.saved import SavedQuota, decode_saved
from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.store_alone import deliver, files_of, kill, root_of, store_alone, subjects

TWO = ("xquota=-1,2",)
NOTICES = (
    "store.quotanotification = on", "store.defaultmessagequota = 4", "store.quotawarn = 70",
    "store.quotaexceededmsg = Subject: told$$Your quota, [ID]: [NUMMSG] of [MSGQUOTA].",
)  # fmt: skip


def saved(store: RunningInstance, owner: str) -> SavedQuota:
    return decode_saved((root_of(store, owner) / ".lmtp-lock").read_bytes())


def notices(store: RunningInstance, owner: str) -> list[Path]:
    return [path for path in files_of(store, owner) if notice_seconds(path.name) is not None]


def test_the_grace_period_goes_on_when_everything_is_killed(tmp_path: Path) -> None:
    with store_alone(tmp_path, "store.quotagraceperiod = 3s") as store:
        assert deliver(store, "bob", "a", "b", "c", options=TWO) == [250, 250, 422]
        since = saved(store, "bob").over_since
        assert since is not None
        kill(store)
        store.start()
        codes = deliver(store, "bob", "d", options=TWO)
        assert saved(store, "bob").over_since == since
        while codes[-1] != 522:
            assert codes[-1] == 422
            assert time.time() < since + 15
            codes += deliver(store, "bob", "e", options=TWO)
        assert time.time() >= since + 3
        kill(store)
        store.start()
        assert deliver(store, "bob", "f", options=TWO) == [522]
        assert deliver(store, "bob", "g", options=("xquota=-1,3",)) == [250]  # a raised limit ends it
        assert saved(store, "bob").over_since is None
        assert deliver(store, "bob", "h") == [422]


def test_a_notice_is_neither_lost_nor_doubled_by_kills_under_load(tmp_path: Path) -> None:
    owners = [f"user{number}" for number in range(90)]
    with store_alone(tmp_path, *NOTICES) as store:
        for group in (owners[:30], owners[30:60], owners[60:]):
            answered: list[str] = []

            def load(group: list[str] = group, answered: list[str] = answered) -> None:
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    for owner in group:
                        deliver(store, owner, "x", "x", "x")
                        answered.append(owner)

            thread = threading.Thread(target=load)
            thread.start()
            wait_for(lambda answered=answered: len(answered) >= 15)  # type: ignore[misc]
            kill(store)
            thread.join(20)
            store.start()
        for owner in owners:  # three of four are above 70 per cent; whoever was not served has them now
            deliver(store, owner, "x", "x", "x")
        for owner in owners:
            (notice,) = wait_for(lambda owner=owner: notices(store, owner))  # type: ignore[misc]
            assert f"Your quota, {owner}: ".encode() in notice.read_bytes()
        assert store.stop() == 0
        assert [len(notices(store, owner)) for owner in owners] == [1] * len(owners)
        assert all(saved(store, owner).noticed and not saved(store, owner).notice_begun for owner in owners)


def test_an_owner_is_told_at_once_in_the_inbox_and_the_notice_does_not_count(tmp_path: Path) -> None:
    with store_alone(tmp_path, *NOTICES) as store:
        assert deliver(store, "bob+Work", "a", "b", "c", options=("xdflg=1",)) == [250] * 3
        (notice,) = wait_for(lambda: notices(store, "bob"))
        assert notice.read_bytes().endswith(b"\n\nYour quota, bob: 3 of 4.\n")
        assert deliver(store, "bob", "d", "e") == [250, 422]  # the fourth has room
        assert subjects(store, "bob") == ["d", "told"]
        assert subjects(store, "bob", ".Work") == ["a", "b", "c"]
        assert len(notices(store, "bob")) == 1


def test_notices_are_switched_on_by_a_reload(tmp_path: Path) -> None:
    with store_alone(tmp_path, "store.defaultmessagequota = 4") as store:
        assert deliver(store, "bob", *"abcd") == [250] * 4
        assert notices(store, "bob") == []
        with (store.folder / "config" / "store.conf").open("a") as conf:
            conf.write("store.quotanotification = on\n")
        store.command("reload")

        def told() -> list[Path]:
            assert deliver(store, "bob", "e") == [422]  # a refusal is an occasion too
            return notices(store, "bob")

        (notice,) = wait_for(told)
        assert b"\nSubject: Your mailbox is nearly full\n" in notice.read_bytes()
