"""Started as root with IMTA_USER: everything that reads the network or writes mail runs as that user, and mail arrives."""

import os
import pwd
import shutil
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance, posthouse
from support.family_rig import wait_for
from support.imta_user import USER, use_it
from support.journey_mail import Ledger, connect, reconcile, wait_delivered
from support.journey_tiers import everyone, journey, queued, status, wait_empty

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def identity(pid: int) -> tuple[str, set[int], set[int]]:
    """Command line, user ids and group ids (real, effective, saved, file system; and supplementary groups)."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return command, {int(word) for word in lines["Uid"].split()}, {int(word) for word in (lines["Gid"] + lines["Groups"]).split()}


def check(instance: RunningInstance) -> list[str]:
    """The roles that run as the user; everything but supervisor and dispatcher must."""
    entry = pwd.getpwnam(USER)
    roles = {row["pid"]: row["role"] for row in status(instance)["processes"]}
    dropped = []
    for pid in everyone(instance):
        command, users, groups = identity(pid)
        role = roles.get(pid, command)
        if role == "supervisor":
            continue
        assert users == {entry.pw_uid}, (role, users)
        assert 0 not in groups, (role, groups)
        dropped.append(role)
    return dropped


def owners(instance: RunningInstance) -> set[str]:
    """Of data/ and everything below it."""
    return {path.owner() for path in (instance.folder / "data", *(instance.folder / "data").rglob("*"))}


def test_every_process_runs_as_the_user_and_mail_is_delivered(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_it(monkeypatch)
    ledger = Ledger()
    with journey(open_folder, users=4, relay_options=("--user", USER), start=False) as tiers:
        for store in tiers.stores:
            again(store)
        tiers.start()
        assert sorted(check(tiers.relay)) == ["channel", "dispatcher", "job_controller", "smtp", "template"]
        assert [sorted(check(store)) for store in tiers.stores] == [["dispatcher", "lmtp"], ["dispatcher", "lmtp"]]
        with connect(tiers.relay) as client:
            for number in range(5):
                ledger.send(client, ["user0", "user1", "user2"], size=(400, 300_000)[number % 2])
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        for command in ("check", "quota user0 --set 1G,", "rename user0 user9", "rename user9 user0"):
            done = tiers.stores[0].command("store", *command.split())
            assert done.returncode == 0, (command, done.stderr)
        assert owners(tiers.stores[0]) == {USER}
        assert owners(tiers.relay) == {USER}
        assert tiers.relay.command("check").stderr == ""
        for instance in reversed(tiers.instances):
            assert instance.stop() == 0
        reconcile(ledger, tiers.stores).check()


def test_a_strict_umask_of_root_leaves_the_user_his_configuration(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_it(monkeypatch)
    before = os.umask(0o077)
    try:
        with journey(open_folder, users=1, stores=1, start=False) as tiers:
            (store,) = tiers.stores
            shutil.rmtree(store.folder)
            again(store)
            store.start()
            assert store.stop() == 0
            others = [path for path in (store.folder, *store.folder.rglob("*")) if path.stat().st_mode & 0o007]
            assert others == []
    finally:
        os.umask(before)


def test_started_as_root_without_it_check_and_start_warn(tmp_path: Path) -> None:
    with journey(tmp_path, users=1, stores=1) as tiers:
        assert "IMTA_USER" in tiers.relay.output.read_text()
        checked = tiers.relay.command("check")
        assert checked.returncode == 0
        assert "IMTA_USER" in checked.stderr


def test_root_without_it_does_not_start_what_is_another_users(tmp_path: Path) -> None:
    with journey(tmp_path, users=1, stores=1, start=False) as tiers:
        store = tiers.stores[0].folder
        (store / "data").mkdir(exist_ok=True)
        os.chown(store / "data", pwd.getpwnam(USER).pw_uid, -1)
        started = posthouse("start", "--instance", str(store), check=False)
        assert (started.returncode, started.stdout) == (77, "")
        assert f"belongs to {USER}" in started.stderr


def test_orders_typed_by_root_on_a_stopped_relay_leave_it_to_its_owner(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_it(monkeypatch)
    with journey(open_folder, users=4, stores=1, relay_options=("--user", USER), start=False) as tiers:
        relay = tiers.relay
        relay.start()
        ledger = Ledger()
        with connect(relay) as client:
            for user in ("user0", "user1"):
                ledger.send(client, [user], sender="user3@example.com")
        wait_for(lambda: len(queued(relay)) == 2)
        number, other = (copy["id"] for copy in queued(relay))
        assert relay.stop() == 0
        tailor = next(path for path in (relay.folder / "config").iterdir() if "IMTA_USER" in path.read_text())
        text = tailor.read_text()
        tailor.write_text("\n".join(line for line in text.splitlines() if "IMTA_USER" not in line) + "\n")
        assert relay.json("queue", "hold", number)["done"] == 1
        assert relay.json("queue", "return", other)["done"] == 1
        assert owners(relay) == {USER}
        assert {path.owner() for path in (relay.folder / "run").iterdir() if path.is_socket()} <= {USER}
        tailor.write_text(text)
        tiers.start()
        assert relay.json("queue", "release", number)["done"] == 1
        wait_empty(relay)


def again(store: RunningInstance) -> None:
    """`init store` once more, with --user."""
    posthouse(
        "init", "store", str(store.folder), "--lmtp", f"{store.address}:{store.port}", "--user", USER, "--force",
        "--host", f"{store.folder.name}.example.com", "--default-domain", "example.com", "--allow", "127.0.0.0/8",
    )  # fmt: skip
