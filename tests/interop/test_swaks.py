"""swaks: SMTP to the relay, LMTP to a store."""

from posthouse.testing.tiers import TwoTiers
from support.interop_daemon import run
from support.interop_tiers import arrived


def test_smtp_to_the_relay(tiers: TwoTiers) -> None:
    relay = tiers.relay
    done = run(
        ["swaks", "--server", relay.address, "--port", str(relay.port), "--from", "a@outside.test",
         "--to", "john.doe@example.com,ann.smith@example.com", "--ehlo", "outside.test", "--header", "Subject: swaks-smtp"]
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "<-  250 2.5.0 Ok, envelope id " in done.stdout
    for store, owner in zip(tiers.stores, ("jdoe", "asmith"), strict=True):
        (octets,) = arrived(store, owner, "Subject: swaks-smtp")
        assert octets.startswith(b"Return-Path: <a@outside.test>\n")


def test_pipelined_smtp_with_one_refused_recipient(tiers: TwoTiers) -> None:
    relay = tiers.relay
    done = run(
        ["swaks", "--server", relay.address, "--port", str(relay.port), "--from", "a@outside.test", "--pipeline",
         "--to", "nobody@example.com,jd@example.com", "--ehlo", "outside.test", "--header", "Subject: swaks-pipelined"]
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "550 5.1.1 unknown or illegal alias: nobody@example.com" in done.stdout
    arrived(tiers.stores[0], "jdoe", "Subject: swaks-pipelined")


def test_a_relaying_attempt_ends_with_swaks_own_exit_code(tiers: TwoTiers) -> None:
    relay = tiers.relay
    done = run(
        ["swaks", "--server", relay.address, "--port", str(relay.port), "--from", "a@outside.test", "--to", "b@elsewhere.test"]
    )
    assert done.returncode == 24, done.stdout  # no recipient was taken
    assert "550 5.7.1" in done.stdout


def test_lmtp_to_a_store(tiers: TwoTiers) -> None:
    store = tiers.stores[0]
    done = run(
        ["swaks", "--protocol", "LMTP", "--server", store.address, "--port", str(store.port), "--from", "a@outside.test",
         "--to", "Swaks1@example.com,swaks2", "--ehlo", "relay.test", "--header", "Subject: swaks-lmtp"]
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "<-  250 2.5.0 <Swaks1@example.com> OK" in done.stdout
    for owner in ("swaks1", "swaks2"):
        arrived(store, owner, "Subject: swaks-lmtp")
