"""Postfix's load generator smtp-source: SMTP to the relay, LMTP (-L) to a store, several sessions at once."""

import shutil

from posthouse.testing.tiers import RunningInstance, TwoTiers
from support.family_rig import wait_for
from support.interop_daemon import run
from support.interop_tiers import arrived, maildir, messages

SMTP_SOURCE = shutil.which("smtp-source") or "/usr/sbin/smtp-source"


def copies(store: RunningInstance, name: str) -> list[int]:
    """How many messages each owner has whom it made of this name: with a number before it, since Postfix 3.9 behind it."""
    owners = [folder.name for folder in maildir(store, name).parent.glob(f"*{name}*")]
    return [len(messages(store, owner, "Subject: source-")) for owner in owners]


def test_smtp_to_the_relay(tiers: TwoTiers) -> None:
    relay = tiers.relay
    done = run(
        [SMTP_SOURCE, "-s", "5", "-m", "50", "-l", "3000", "-S", "source-smtp", "-f", "a@outside.test",
         "-t", "jim.berge@example.com", f"inet:{relay.address}:{relay.port}"]
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    arrived(tiers.stores[0], "jberge", "Subject: source-smtp", count=50)


def test_lmtp_to_a_store(tiers: TwoTiers) -> None:
    store = tiers.stores[0]
    done = run(
        [SMTP_SOURCE, "-L", "-s", "5", "-m", "50", "-l", "3000", "-S", "source-lmtp", "-f", "a@outside.test", "-N",
         "-t", "source@example.com", f"inet:{store.address}:{store.port}"]
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert wait_for(lambda: copies(store, "source") if sum(copies(store, "source")) == 50 else []) == [1] * 50


def test_many_recipients_and_kept_connections(tiers: TwoTiers) -> None:
    store = tiers.stores[1]
    done = run(
        [SMTP_SOURCE, "-L", "-d", "-s", "2", "-m", "10", "-r", "7", "-l", "500", "-S", "source-several", "-f", "a@outside.test",
         "-t", "many@example.com", f"inet:{store.address}:{store.port}"]
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert wait_for(lambda: sum(copies(store, "many")) == 70)
