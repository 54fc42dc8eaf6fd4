"""Our relay in front of stores that are not ours: Dovecot's LMTP server as store1, smtp-sink -L as store2."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from posthouse.testing.tiers import RunningInstance, free_port, posthouse
from support.interop_daemon import daemon, open_folder
from support.interop_dovecot import Dovecot, dovecot
from support.interop_tiers import PEOPLE

SMTP_SINK = shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"


@dataclass(frozen=True, slots=True)
class ForeignStores:
    """All of them running."""

    relay: RunningInstance
    dovecot: Dovecot
    sunk: Path
    """folder with a file for each message the sink took"""

    def in_sink(self, mark: str) -> list[str]:
        """What the sink wrote of messages with this text: its own X- lines, then the message."""
        texts = [path.read_text(errors="replace") for path in self.sunk.iterdir()]
        return [text for text in texts if mark in text]


@contextlib.contextmanager
def foreign_stores() -> Iterator[ForeignStores]:
    """Start them."""
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(open_folder("foreign"))
        lmtp, smtp = free_port(), free_port()
        imap = stack.enter_context(dovecot(lmtp))
        sunk = root / "sunk"
        sunk.mkdir()
        shutil.chown(sunk, "postfix")
        sink = [SMTP_SINK, "-L", "-u", "postfix", "-d", f"{sunk}/%H%M%S.", f"127.0.0.2:{lmtp}", "100"]
        stack.enter_context(daemon(sink, root / "sink.log", port=lmtp, address="127.0.0.2"))
        posthouse(
            "init", "relay", str(root / "relay1"), "--smtp", f"127.0.0.1:{smtp}", "--host", "relay1.example.com",
            "--default-domain", "example.com", "--ldif", str(PEOPLE), "--lmtp-port", str(lmtp),
            "--resolve", "store1.example.com=127.0.0.1", "--resolve", "store2.example.com=127.0.0.2",
        )  # fmt: skip
        relay = RunningInstance(root / "relay1", "127.0.0.1", smtp)
        relay.start()
        stack.callback(relay.stop)
        yield ForeignStores(relay, imap, sunk)
