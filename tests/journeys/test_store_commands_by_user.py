"""`posthouse store ...` beside a store that root started and that runs as IMTA_USER: typed by root or by that user, it works."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from journeys.test_imta_user import owners
from posthouse.testing.tiers import RunningInstance, free_port, posthouse
from support.family_rig import wait_for
from support.imta_user import USER, use_it
from support.journey_tiers import end, status
from support.store_alone import deliver, files_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def store(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningInstance]:
    use_it(monkeypatch)
    root, port = open_folder / "store1", free_port()
    posthouse(
        "init", "store", str(root), "--lmtp", f"127.0.0.1:{port}", "--host", "store1.example.com",
        "--default-domain", "example.com", "--allow", "127.0.0.0/8", "--user", USER,
    )  # fmt: skip
    made = RunningInstance(root, "127.0.0.1", port)
    made.start()
    yield made
    end(made)


def command(store: RunningInstance, user: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`posthouse WORDS` typed by that user."""
    group = pwd.getpwnam(user).pw_gid
    return subprocess.run(
        [sys.executable, "-m", "posthouse.cli", *words, "--instance", str(store.folder)],
        user=user, group=group, extra_groups=[], cwd="/", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("user", [USER, "root"])
def test_every_command_works_and_leaves_what_deliveries_may_write(store: RunningInstance, open_folder: Path, user: str) -> None:
    shared = open_folder / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (store.folder / "data" / "store" / "second").mkdir()
    shutil.chown(store.folder / "data" / "store" / "second", USER)
    taken, stop = list[int](), threading.Event()

    def load() -> None:
        while not stop.is_set():
            taken.extend(deliver(store, "user", "under-load"))

    loader = threading.Thread(target=load)
    loader.start()
    try:
        for words in (
            "create made", "path made", "list --folders", "quota", "quota made --set 1G,100", "quota user --set 1G,",
            "check --dry-run", "check", f"export user {shared}/user.tar", f"import copy {shared}/user.tar",
            f"export user {shared}/user.mbox --format mbox", f"import other {shared}/user.mbox", "rename copy moved", "check",
            "move moved --partition second", "delete moved", "dovecot-config", "list --json",
        ):  # fmt: skip
            done = command(store, user, "store", *words.split())
            fine = {0, 65} if "--dry-run" in words else {0}  # it locks nothing: mail may come between two looks
            assert done.returncode in fine, (words, done.stdout, done.stderr)
        assert command(store, user, "store", "recover").returncode == 75  # the store runs
    finally:
        stop.set()
        loader.join(60)
    assert set(taken) == {250}
    assert owners(store) == {USER}
    for owner in ("user", "made", "other"):
        assert deliver(store, owner, f"last-{owner}") == [250]
        assert any(f"last-{owner}" in path.read_text() for path in files_of(store, owner))
    assert owners(store) == {USER}


def test_root_clears_counters_as_their_owner(store: RunningInstance, open_folder: Path) -> None:
    assert deliver(store, "user", "counted") == [250]
    wait_for(lambda: "tcp_lmtpss" in command(store, USER, "counters").stdout)
    for user in ("root", USER):
        assert command(store, user, "counters", "clear").stdout == "the counters of 1 channels begin anew\n"
    assert owners(store) == {USER}
    end(store)
    counters, elsewhere = store.folder / "data" / "counters", open_folder / "root's"
    counters.rename(elsewhere)
    (elsewhere / "cleared").unlink()
    os.chown(elsewhere, 0, 0)
    elsewhere.chmod(0o755)
    counters.symlink_to(elsewhere)
    refused = command(store, "root", "counters", "clear")
    assert (refused.returncode, [path.name for path in elsewhere.iterdir()]) == (77, ["1"]), "the user's link leads root nowhere"


def test_the_user_may_ask_how_root_s_supervisor_does_but_not_end_it(store: RunningInstance) -> None:
    told = command(store, USER, "status", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["processes"] == status(store)["processes"]
    for words in ("stop", "reload"):
        denied = command(store, USER, words)
        assert denied.returncode == 77, denied.stderr
        assert "belongs to another user" in denied.stderr
    for line in ("status", "metrics", "metrics --listen 0"):
        stranger = command(store, "games", *line.split())
        assert (stranger.returncode, stranger.stdout) == (77, ""), stranger.stderr
    assert status(store)["ready"]


@pytest.mark.parametrize("hidden", ["data", "data/store"])
def test_another_user_s_check_ends_in_no_traceback(store: RunningInstance, hidden: str) -> None:
    with (store.folder / "config" / "store.conf").open("a") as settings:
        settings.write("store.partitionof.sue = second\n")
    assert "partition second: there is no folder" in command(store, "root", "check").stderr
    (store.folder / hidden).chmod(0o700)
    done = command(store, "daemon", "check")
    assert (done.returncode, done.stderr) == (0, "")
