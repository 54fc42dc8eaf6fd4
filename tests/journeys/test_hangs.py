"""A process that lives and does not answer: `status` says which, and the queue can still be seen."""

import json
import signal
from pathlib import Path

from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, reconcile, wait_delivered
from support.journey_tiers import is_ready, journey, kill, wait_empty

TEMPORARY = 75


def test_a_job_controller_that_hangs_is_named_and_its_mail_is_found(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=2) as tiers:
        pid = kill(tiers.relay, "job_controller", signal.SIGSTOP)
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
        told = tiers.relay.command("status", check=False)
        assert (told.returncode, told.stderr) == (TEMPORARY, f"not ready: job_controller {pid} does not answer\n")
        states = {
            row["role"]: row["state"]
            for row in json.loads(tiers.relay.command("status", "--json", check=False).stdout)["processes"]
        }
        assert (states["job_controller"], states["dispatcher"]) == ("silent", "ready")
        listed = tiers.relay.command("queue", "list", "--json")
        assert listed.stderr == "posthouse queue list: the job controller does not answer, waiting for it (15 seconds)\n"
        (copy,) = json.loads(listed.stdout)
        assert (copy["state"], copy["recipients"][0]["original"]) == ("journal", "user0@example.com")
        held = tiers.relay.command("queue", "hold", "--all", check=False)
        assert (held.returncode, held.stdout) == (TEMPORARY, "")
        assert "does not answer" in held.stderr
        kill(tiers.relay, "job_controller", signal.SIGCONT)
        wait_for(lambda: is_ready(tiers.relay))
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        reconcile(ledger, tiers.stores).check()


def test_a_dispatcher_that_hangs_is_named(tmp_path: Path) -> None:
    with journey(tmp_path, users=2, stores=1) as tiers:
        (store,) = tiers.stores
        pid = kill(store, "dispatcher", signal.SIGSTOP)
        told = store.command("status", check=False)
        assert (told.returncode, told.stderr) == (TEMPORARY, f"not ready: dispatcher {pid} does not answer\n")
        kill(store, "dispatcher", signal.SIGCONT)
        wait_for(lambda: is_ready(store))
