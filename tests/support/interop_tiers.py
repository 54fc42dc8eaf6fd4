"""The relay and two stores the foreign tools talk to, and a look into their mailboxes.

Started by root the stores run as the user `mail`: Dovecot serves no mailbox of root's. They keep the right to read what only
root may read, so that a checkout below /root works as well.
"""

import contextlib
import os
import pwd
import shutil
import smtplib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from posthouse.testing.tiers import RunningInstance, TwoTiers
from support.family_rig import wait_for
from support.interop_daemon import open_folder

PEOPLE = Path(str(files("posthouse.cli.demo"))) / "people.ldif"
STORE_USER = "mail"


def run_as(instance: RunningInstance, user: str) -> None:
    """Have a new instance's processes run as a user who owns its data."""
    who = pwd.getpwnam(user)
    for name in ("data", "log", "run"):
        for path in (instance.folder / name, *(instance.folder / name).rglob("*")):
            shutil.chown(path, who.pw_uid, who.pw_gid)
    instance.before = (
        "setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups",
        "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--",
    )  # fmt: skip


@contextlib.contextmanager
def two_tiers() -> Iterator[TwoTiers]:
    """Up and running; store1 on 127.0.0.1, store2 on 127.0.0.2."""
    with open_folder("tiers") as root:
        tiers = TwoTiers(root, ["--ldif", str(PEOPLE)], relay_options=("--postmaster", "john.doe@example.com"))
        if os.geteuid() == 0:
            for store in tiers.stores:
                run_as(store, STORE_USER)
        with tiers:
            yield tiers


def maildir(store: RunningInstance, owner: str, folder: str = "") -> Path:
    """Where a mailbox is; `Lists/python` is `.Lists.python`."""
    root = store.folder / "data" / "store" / "primary" / owner
    return root / ("." + folder.replace("/", ".")) if folder else root


def messages(store: RunningInstance, owner: str, mark: str, folder: str = "") -> list[bytes]:
    """The messages of a mailbox with this text in them."""
    found = []
    for part in ("new", "cur"):
        place = maildir(store, owner, folder) / part
        for path in place.iterdir() if place.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # an IMAP server moved it
                octets = path.read_bytes()
                if mark.encode() in octets:
                    found.append(octets)
    return found


def arrived(store: RunningInstance, owner: str, mark: str, folder: str = "", *, count: int = 1) -> list[bytes]:
    """The same, once there are so many."""

    def look() -> list[bytes]:
        found = messages(store, owner, mark, folder)
        return found if len(found) >= count else []

    found = wait_for(look)
    assert len(found) == count, f"{len(found)} messages with {mark}"
    return found


def smtp(relay: RunningInstance) -> smtplib.SMTP:
    return smtplib.SMTP(relay.address, relay.port, local_hostname="outside.test", timeout=30)


def lmtp(store: RunningInstance) -> smtplib.LMTP:
    return smtplib.LMTP(store.address, store.port, local_hostname="relay.test", timeout=30)


def mail(mark: str, *, lines: int = 1) -> bytes:
    """A message that can be found again by its mark."""
    head = f"From: a@outside.test\r\nTo: b@example.com\r\nSubject: {mark}\r\nMessage-ID: <{mark}@outside.test>\r\n\r\n"
    return head.encode() + b"Something to read.\r\n" * lines


def limit(store: RunningInstance, owner: str, xquota: str) -> None:
    """Leave limits at the store, as a relay of ours does with its mail; this mail itself is of no matter."""
    with lmtp(store) as client:
        client.ehlo()
        client.mail("")
        assert client.rcpt(owner, [f"xquota={xquota}"])[0] == 250
        assert client.data(mail("of-no-matter"))[0] in {250, 422}
