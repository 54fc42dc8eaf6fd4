"""A relay's processes share a template's memory. Killed, it is not missed: mail flows, workers come back, the stop is clean."""

from pathlib import Path

from posthouse.dispatcher.descendants import below
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, reconcile, wait_delivered
from support.journey_tiers import is_ready, journey, kill, pids, wait_empty

FORKED = ("dispatcher", "job_controller", "smtp", "channel")


def test_a_relay_whose_template_is_killed(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=4, stores=1) as tiers:
        relay = tiers.relay
        assert pids(tiers.stores[0], "template") == []  # three processes gain too little
        (template,) = pids(relay, "template")
        (supervisor,) = pids(relay, "supervisor")
        parent = {each.pid: each.parent for each in below(supervisor)}
        assert parent[template] == supervisor
        for role in FORKED:
            assert {parent[pid] for pid in pids(relay, role)} == {template}, role
        with connect(relay) as client:
            ledger.send(client, ["user0", "user1"], size=400)
        first = kill(relay, "smtp")  # this one comes back as a fork
        wait_for(lambda: first not in pids(relay, "smtp") and is_ready(relay), 30)
        kill(relay, "template")
        wait_for(lambda: pids(relay, "template") == [], 30)
        with connect(relay) as client:  # they go on
            ledger.send(client, ["user2", "user3"], size=400)
        for role in FORKED:  # and these come back as programs
            victim = kill(relay, role)
            wait_for(lambda victim=victim: not Path(f"/proc/{victim}").exists() and is_ready(relay), 30)  # type: ignore[misc]
        with connect(relay) as client:
            ledger.send(client, ["user0", "user3"], size=300_000)
        wait_delivered(ledger, tiers.stores)
        wait_empty(relay)
        for instance in reversed(tiers.instances):
            assert instance.stop() == 0
        reconcile(ledger, tiers.stores).check()
