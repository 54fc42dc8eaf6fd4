"""Postfix's load generator smtp-source: SMTP to the relay, LMTP (-L) to a store, several sessions at once."""

import shutil

from posthouse.testing.tiers import TwoTiers
from support.interop_daemon import run
from support.interop_tiers import arrived

SMTP_SOURCE = shutil.which("smtp-source") or "/usr/sbin/smtp-source"


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
    found = [len(arrived(store, f"{number}source", "Subject: source-lmtp")) for number in range(1, 51)]
    assert found == [1] * 50


def test_many_recipients_and_kept_connections(tiers: TwoTiers) -> None:
    store = tiers.stores[1]
    done = run(
        [SMTP_SOURCE, "-L", "-d", "-s", "2", "-m", "10", "-r", "7", "-l", "500", "-S", "source-several", "-f", "a@outside.test",
         "-t", "many@example.com", f"inet:{store.address}:{store.port}"]
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    for number in ("", *range(2, 8)):  # how it names them
        arrived(store, f"{number}many", "Subject: source-several", count=10)
