"""What both tiers count is what was sent: through restarts, a killed worker, refusals, and an operator's order."""

import os
import signal
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, wait_delivered
from support.journey_tiers import is_ready, journey, kill, limit, pids, wait_empty

RELAY, STORE = "tcp_lmtpcs", "tcp_lmtpss"
USERS = ["user0", "user1", "user2", "user3"]


def counted(instance: RunningInstance, channel: str) -> dict[str, Any]:
    """Messages and recipients by kind; {} while there is nothing."""
    found: dict[str, Any] = instance.json("counters")["channels"].get(channel, {})
    kinds = ("received", "stored", "delivered", "submitted", "attempted", "rejected", "failed")
    return {kind: (found[kind]["messages"], found[kind]["recipients"]) for kind in kinds if kind in found} | {
        "replies": found.get("replies", {})
    }


def figures(instance: RunningInstance) -> dict[str, float]:
    """Every sample `posthouse metrics` prints, as Prometheus reads it."""
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(instance.command("metrics").stdout)
        for sample in family.samples
    }


def until(instance: RunningInstance, channel: str, **kinds: Any) -> None:
    """Wait until these kinds are counted so; the last moment's are kept a little later."""
    try:
        wait_for(lambda: kinds.items() <= counted(instance, channel).items(), 60)
    except AssertionError:
        assert counted(instance, channel) == kinds
        raise


def test_figures_are_what_was_sent_through_restarts(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4) as tiers:
        relay, (first, second) = tiers.relay, tiers.stores

        def send(times: int) -> None:
            """5 messages, 8 recipients, half of them on each store; the last has a copy for each; one recipient is refused."""
            with connect(relay) as client:
                for user in USERS:
                    assert ledger.send(client, [user], size=1500).code == 250
                assert ledger.send(client, USERS).code == 250
                assert ledger.send(client, ["nobody"]).code == 550
            wait_delivered(ledger, tiers.stores)
            wait_empty(relay)
            nothing, copies, all_ = (0, 0), (6 * times, 8 * times), (5 * times, 8 * times)
            until(relay, RELAY, received=copies, delivered=copies, stored=nothing, attempted=nothing, failed=nothing)
            until(relay, "tcp_local", submitted=all_, rejected=(times, times), received=nothing)
            mine = (3 * times, 4 * times)
            for store in (first, second):
                until(store, STORE, received=mine, delivered=mine, stored=nothing, failed=nothing, replies={"250": 4 * times})

        send(1)
        relay.stop()
        relay.start()
        kill(first, "lmtp")
        wait_for(lambda: is_ready(first) and is_ready(relay), 30)
        send(2)
        before = figures(relay)
        assert before["posthouse_ready"] == 1
        assert before[f"mta_received_recipients_total {RELAY}"] == 16
        assert before[f"queue_files {RELAY} file"] == before["queue_overdue_seconds"] == 0
        assert before["dispatcher_accepted_total SMTP"] >= 1
        assert relay.command("counters", "clear").stdout.startswith("the counters of ")
        assert counted(relay, RELAY)["delivered"] == (0, 0)
        tiers.stop()
        files = {path.name for path in (relay.folder / "data" / "counters").iterdir()}
        assert files == {"1", "2", "cleared"}, "the processes of a later life go on in the files of the ones before"
        after = figures(relay)
        assert after["posthouse_ready"] == 0
        assert after["posthouse_state stopped"] == 1
        total = {name: value for name, value in before.items() if name.startswith("mta_")}
        assert {name: after[name] for name in total} == total, "clear is for `counters` only, and a stop loses nothing"
        assert figures(first)["lmtp_replies_total 250"] == 8
        tiers.start()
        send_again = figures(relay)
        assert {name: send_again[name] for name in total} == total


def test_over_quota_waiting_and_returned(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=2, stores=1, quick=False, start=False) as tiers:
        limit(tiers, "10000")
        tiers.start()
        relay, (store,) = tiers.relay, tiers.stores
        with connect(relay) as client:
            assert ledger.send(client, ["user0"], size=6000, sender="user1@example.com").code == 250
            wait_delivered(ledger, tiers.stores)
            assert ledger.send(client, ["user0"], size=6000, sender="user1@example.com").code == 250
        until(relay, RELAY, received=(2, 2), stored=(1, 1), delivered=(1, 1), attempted=(1, 1), failed=(0, 0))
        until(store, STORE, delivered=(1, 1), attempted=(1, 1), replies={"250": 1, "422": 1})
        assert figures(store)["store_quota_refused_total"] == 1
        waits = figures(relay)
        assert waits[f"queue_files {RELAY} file"] + waits[f"queue_files {RELAY} journal"] == 1
        assert waits[f"queue_oldest_seconds {RELAY}"] > 0

        (controller,) = pids(relay, "job_controller")
        os.kill(controller, signal.SIGSTOP)
        try:
            assert figures(relay)[f"queue_files {RELAY} held"] == 0, "read from the disk: nobody answers"
        finally:
            os.kill(controller, signal.SIGCONT)

        relay.command("queue", "return", "--all")
        wait_empty(relay)
        until(relay, RELAY, received=(3, 3), delivered=(3, 3), stored=(0, 0), failed=(1, 1))
        until(relay, "process", received=(1, 1), delivered=(1, 1), submitted=(1, 1))
        until(store, STORE, delivered=(2, 2), attempted=(1, 1))
