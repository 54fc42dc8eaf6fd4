"""One store without a relay, as real processes, for tests of `posthouse store`: made, started, killed, its mailboxes read."""

import contextlib
import json
import os
import signal
import smtplib
from collections.abc import Iterator
from pathlib import Path

from posthouse.dispatcher import lock
from posthouse.testing.tiers import RunningInstance, free_port, posthouse

DOMAIN = "example.com"


@contextlib.contextmanager
def store_alone(folder: Path, *settings: str, start: bool = True, name: str = "store1") -> Iterator[RunningInstance]:
    """A store below the folder, started; killed on the way out. `settings` are lines of store.conf."""
    root, port = folder / name, free_port()
    posthouse(
        "init", "store", str(root), "--lmtp", f"127.0.0.1:{port}", "--host", f"{name}.{DOMAIN}", "--default-domain", DOMAIN,
        "--allow", "127.0.0.0/8",
    )  # fmt: skip
    with (root / "config" / "store.conf").open("a") as conf:
        conf.writelines(f"{line}\n" for line in settings)
    store = RunningInstance(root, "127.0.0.1", port)
    try:
        if start:
            store.start()
        yield store
    finally:
        kill(store)


def kill(store: RunningInstance) -> None:
    """SIGKILL to all its processes at once."""
    for pid in lock.holders(store.folder / "data" / "lock"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    store.kill()
    assert lock.wait_until_free(store.folder / "data" / "lock", 10)


def message(mark: str, *, octets: int = 0) -> bytes:
    """A message that can be found again by its mark."""
    head = f"From: a@outside.test\r\nSubject: {mark}\r\nMessage-ID: <{mark}@outside.test>\r\n\r\n".encode()
    return head + b"Something to read.\r\n" * (1 + octets // 20)


def deliver(store: RunningInstance, owner: str, *marks: str, octets: int = 0, options: tuple[str, ...] = ()) -> list[int]:
    """Deliver one message for each mark; the replies' codes."""
    codes = []
    with smtplib.LMTP(store.address, store.port, local_hostname="relay.test", timeout=30) as client:
        client.ehlo()
        for mark in marks:
            client.mail("a@outside.test")
            assert client.rcpt(owner, options)[0] == 250
            codes.append(client.data(message(mark, octets=octets))[0])
    return codes


def root_of(store: RunningInstance, owner: str) -> Path:
    return store.folder / "data" / "store" / "primary" / owner


def files_of(store: RunningInstance, owner: str, folder: str = "") -> list[Path]:
    """The message files in `new` and `cur` of a folder (a directory name)."""
    place = root_of(store, owner) / folder
    return [path for shelf in ("new", "cur") if (place / shelf).is_dir() for path in sorted((place / shelf).iterdir())]


def subjects(store: RunningInstance, owner: str, folder: str = "") -> list[str]:
    """Of all messages of a folder, sorted."""
    found = []
    for path in files_of(store, owner, folder):
        head = path.read_bytes().partition(b"\n\n")[0].replace(b"\r", b"")
        found += [line[9:].decode() for line in head.split(b"\n") if line.startswith(b"Subject: ")]
    return sorted(found)


def faults(store: RunningInstance, *words: str) -> list[str]:
    """What `posthouse store check --dry-run` says is wrong."""
    done = store.command("store", "check", *words, "--dry-run", "--json", check=False)
    return [f"{fault['owner']}/{fault['path']}: {fault['text']}" for fault in json.loads(done.stdout)["faults"]]
