"""A store with a native service, its mailboxes in a folder of the test, and an LMTP client that asks each recipient's answer."""

import contextlib
import mailbox
import os
import smtplib
from collections.abc import Iterator, Mapping
from pathlib import Path

from posthouse.testing.tiers import RunningInstance, free_port, posthouse
from support.journey_tiers import end

TEXT = b"Subject: %b\r\n\r\nFrom the start\r\n>From the past\r\nend\r\n"


def passwd_file(path: Path, users: Mapping[str, int]) -> Path:
    """A file in the form of passwd(5)."""
    path.write_text("".join(f"{name}:x:{uid}:{uid}:{name}:/nowhere:/bin/sh\n" for name, uid in users.items()))
    return path


def make_native_store(root: Path, users: Mapping[str, int] | None = None, *options: str) -> RunningInstance:
    """`root/store1`, not started; `port` is that of the native service. Mailboxes are in root/mail, files in root/files."""
    users = users or {"jdoe": os.geteuid(), "anna": os.geteuid()}
    port, lmtp = free_port(), free_port()
    posthouse(
        "init", "store", str(root / "store1"), "--lmtp", f"127.0.0.1:{lmtp}", "--host", "store1.example.com",
        "--default-domain", "example.com", "--allow", "127.0.0.0/8", "--native", f"127.0.0.1:{port}",
        "--native-spool", str(root / "mail"), "--native-passwd", str(passwd_file(root / "passwd", users)),
        "--native-files", str(root / "files"), *options,
    )  # fmt: skip
    return RunningInstance(root / "store1", "127.0.0.1", port)


@contextlib.contextmanager
def native_store(root: Path, users: Mapping[str, int] | None = None, *options: str) -> Iterator[RunningInstance]:
    """The same, running; ended by force when the test is over."""
    store = make_native_store(root, users, *options)
    try:
        store.start()
        yield store
    finally:
        end(store)


class Client(smtplib.LMTP):
    """An LMTP client that returns what was said of each recipient."""

    def deliver(self, recipients: list[str], octets: bytes, sender: str = "s@example.org") -> list[str]:
        """One transaction; the final replies in order."""
        self.mail(sender)
        for recipient in recipients:
            name, parameter, options = recipient.partition(" X")
            self.docmd(f"RCPT TO:<{name}>{parameter}{options}")
        self.putcmd("DATA")
        self.getreply()
        assert self.sock is not None
        self.sock.sendall(octets + b".\r\n")
        return [f"{code} {text.decode()}" for code, text in (self.getreply() for _ in recipients)]


@contextlib.contextmanager
def client_of(store: RunningInstance) -> Iterator[Client]:
    with Client(store.address, store.port, timeout=30) as client:
        client.ehlo()
        yield client


def read_mbox(path: Path) -> list[bytes]:
    """The messages Python's reader finds."""
    with contextlib.closing(mailbox.mbox(path, create=False)) as box:
        return [bytes(message) for message in box]
