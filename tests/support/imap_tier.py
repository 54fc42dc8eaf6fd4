"""Dovecot on a store, configured by `posthouse store dovecot-config`; stores a Dovecot can serve.

Dovecot serves no mailbox of root's, so the stores of these tests run as the user `mail`.
"""

import contextlib
import imaplib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from posthouse.testing.tiers import RunningInstance, free_port
from support.interop_daemon import daemon
from support.interop_tiers import STORE_USER, run_as
from support.store_alone import store_alone

DOVECOT = shutil.which("dovecot") or "/usr/sbin/dovecot"
DOVEADM = shutil.which("doveadm") or "/usr/bin/doveadm"
PASSWORD = "open sesame"
NO_PENALTY = "auth_failure_delay = 0\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
"""a wrong password makes the next log-ins of that address wait; not here"""


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """What is made may be entered by Dovecot's users: a store in this very process has closed everything (its umask)."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def served_store(folder: Path, *settings: str, name: str = "store1") -> Iterator[RunningInstance]:
    """A running store whose mailboxes Dovecot may serve."""
    with readable(), store_alone(folder, *settings, start=False, name=name) as store:
        if os.geteuid() == 0:
            run_as(store, STORE_USER)
        store.start()
        yield store


def dsync(how: str, user: str, old: Path, new: Path) -> subprocess.CompletedProcess[str]:
    """`doveadm HOW -u USER ssh NEW doveadm dsync-server -u USER`, but no ssh: it leaves doveadm's environment behind.

    Args:
        how: `backup` or `sync`, with its options.
        user: whose mailbox.
        old: the configuration of the Dovecot that is told.
        new: that of the other one.
    """
    there = ["env", "-i", "PATH=/usr/bin:/bin", DOVEADM, "-c", str(new), "dsync-server", "-u", user]
    words = [DOVEADM, "-c", str(old), *how.split(), "-u", user, *there]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@dataclass(frozen=True, slots=True)
class Imap:
    """A running Dovecot."""

    address: str
    port: int
    log: Path

    @contextlib.contextmanager
    def login(self, user: str, password: str = PASSWORD) -> Iterator[imaplib.IMAP4]:
        with imaplib.IMAP4(self.address, self.port, timeout=30) as client:
            try:
                client.login(user, password)
            except imaplib.IMAP4.abort:  # it is gone, or reads its configuration: no LOGOUT
                client.shutdown()
                client.state = "LOGOUT"
                raise
            yield client


@contextlib.contextmanager
def dovecot_of(
    store: RunningInstance, folder: Path, *options: str, users: tuple[str, ...] = (), address: str = "127.0.0.1", port: int = 0
) -> Iterator[Imap]:
    """Dovecot with this store's configuration; `users` go into a passwd-file."""
    port = port or free_port(address)
    with readable():
        folder.mkdir()
        if users:
            (folder / "users").write_text("".join(f"{user}:{{PLAIN}}{PASSWORD}\n" for user in users))
    if users:
        options = (*options, "--passwd-file", str(folder / "users"))
    log = folder / "dovecot.log"
    store.command(
        "store", "dovecot-config", "--imap", f"{address}:{port}", "--run", str(folder / "run"), "--log", str(log),
        "--write", str(folder), *options,
    )  # fmt: skip
    with (folder / "dovecot.conf").open("a") as conf:
        conf.write(NO_PENALTY)
    with daemon([DOVECOT, "-F", "-c", folder / "dovecot.conf"], folder / "said", port=port, address=address):
        yield Imap(address, port, log)
    assert not [line for line in log.read_text().splitlines() if "Panic:" in line or "Fatal:" in line]
