"""Two tiers under faults: short waits, processes by role, killed and waited for by pid, the folder kept when a test fails.

`journey` makes and ends them, `kill` ends one process, `edit` and `append` change the configuration, `queued` is the queue.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from posthouse.dispatcher import control, lock
from posthouse.testing.tiers import RunningInstance, TwoTiers
from support.family_rig import wait_for
from support.slapd import many_people

DOMAIN = "example.com"
DEFAULTS = "defaults logging"
QUICK = 'defaults backoff "pt1s" logging'
"""host and copy are tried again after a second"""


@contextlib.contextmanager
def journey(
    folder: Path,
    *,
    users: int = 20,
    stores: int = 2,
    quick: bool = True,
    directory: list[str] | None = None,
    relay_options: tuple[str, ...] = (),
    start: bool = True,
) -> Iterator[TwoTiers]:
    """A relay and stores, the users spread over the stores by number (user0 on store1, user1 on store2...).

    Everything is ended on the way out. When the test failed its folder is named: the instances stand there as they were.
    """
    if directory is None:
        hosts = tuple(f"store{number}.{DOMAIN}" for number in range(1, stores + 1))
        (folder / "people.ldif").write_text(many_people(users, stores=hosts))
        directory = ["--ldif", str(folder / "people.ldif")]
    tiers = TwoTiers(folder, directory, stores=stores, relay_options=relay_options)
    if quick:
        edit(tiers.relay, "imta.cnf", DEFAULTS, QUICK)
    try:
        if start:
            tiers.start()
        yield tiers
    except BaseException:
        print(f"the instances are kept below {folder}")
        raise
    finally:
        for instance in tiers.instances:
            end(instance)


def end(instance: RunningInstance) -> None:
    """SIGKILL to everything of it that lives, by pid."""
    wait_for(lambda: not any(_kill(pid) for pid in lock.holders(instance.folder / "data" / "lock")))
    instance.kill()


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def edit(instance: RunningInstance, name: str, old: str, new: str) -> None:
    """Replace the first `old` in a configuration file; it must be there."""
    path = instance.folder / "config" / name
    text = path.read_text()
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1))


def append(instance: RunningInstance, name: str, text: str) -> None:
    with (instance.folder / "config" / name).open("a") as file:
        file.write(text)


def limit(tiers: TwoTiers, quota: str) -> None:
    """Give user0 another quota in the LDIF; the relay reads the file again when it has changed."""
    path = tiers.root / "people.ldif"
    text = path.read_text()
    entry = text[text.index("uid: user0\n") :]
    begin = text.index("uid: user0\n") + entry.index("mailQuota: ")
    path.write_text(text[:begin] + f"mailQuota: {quota}" + text[text.index("\n", begin) :])


def status(instance: RunningInstance) -> dict[str, Any]:
    """What `posthouse status` prints, asked without a process of its own; {} while nobody answers."""
    with contextlib.suppress(control.NotRunning):
        return control.ask(instance.folder / "run" / control.SUPERVISOR, {"op": "status"})
    return {}


def pids(instance: RunningInstance, role: str) -> list[int]:
    rows = status(instance).get("processes", [])
    return [int(row["pid"]) for row in rows if row["role"] == role and row["pid"] and Path(f"/proc/{row['pid']}").exists()]


def is_ready(instance: RunningInstance) -> bool:
    return bool(status(instance).get("ready"))


def kill(instance: RunningInstance, role: str, number: signal.Signals = signal.SIGKILL) -> int:
    """A signal to the first process of a role; its pid."""
    if role == "supervisor":
        assert instance.process is not None
        instance.process.send_signal(number)
        return instance.process.pid
    victim: int = wait_for(lambda: pids(instance, role))[0]
    os.kill(victim, number)
    return victim


def restart_after_kill(instance: RunningInstance) -> None:
    """The supervisor was killed: reap it and start anew at once, while the old family may still be ending."""
    instance.kill()
    instance.start()


def everyone(instance: RunningInstance) -> list[int]:
    """Pids of all its processes."""
    return lock.holders(instance.folder / "data" / "lock")


def signal_all(instances: Sequence[RunningInstance], number: signal.Signals) -> None:
    for instance in instances:
        for pid in everyone(instance):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def queued(relay: RunningInstance) -> list[dict[str, Any]]:
    """`queue list` as it stands, asked without a process of its own; one made-up copy while nobody answers."""
    from posthouse.relay.job_controller.client import ControllerDown, request

    try:
        copies: list[dict[str, Any]] = request(relay.folder / "run" / "job_controller.sock", "list")["copies"]
    except ControllerDown:
        return [{"state": "controller down", "recipients": [], "channel": ""}]
    return copies


def retry_all(relay: RunningInstance) -> None:
    relay.command("queue", "retry", "--all")


def wait_empty(relay: RunningInstance, seconds: float = 60.0) -> None:
    """Until nothing is queued; fails with what still waits."""
    deadline = time.monotonic() + seconds
    while copies := queued(relay):
        assert time.monotonic() < deadline, f"{len(copies)} still wait: {copies[:3]}"
        time.sleep(0.05)
