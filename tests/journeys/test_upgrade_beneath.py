"""The program's files are replaced beneath a running relay, by others that fit nothing: what runs has read what it needs."""

import shutil
from pathlib import Path

import posthouse
from posthouse.testing.tiers import free_port
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, wait_delivered
from support.journey_tiers import is_ready, journey, kill, pids, queued


def test_a_relay_goes_on_as_it_was_read_until_it_is_restarted(tmp_path: Path) -> None:
    program = tmp_path / "program" / "posthouse"
    shutil.copytree(Path(posthouse.__file__).parent, program, ignore=shutil.ignore_patterns("__pycache__"))
    options, ledger = ("--internal", "127.0.0.1", "--route", f"route.test=127.0.0.1:{free_port()}"), Ledger()
    with journey(tmp_path, users=2, stores=1, relay_options=options, start=False) as tiers:
        relay = tiers.relay
        tiers.stores[0].start()
        relay.start(environment={"PYTHONPATH": str(program.parent)})
        for path in program.rglob("*.py"):
            path.write_text("raise RuntimeError('the new version')\n")
        for role in ("channel", "smtp", "job_controller", "dispatcher"):
            victim = kill(relay, role)
            wait_for(lambda victim=victim: not Path(f"/proc/{victim}").exists() and is_ready(relay), 30)  # type: ignore[misc]
        with connect(relay) as client:
            for outside in ("a@route.test", "b@world.test"):  # a smart host; the DNS, of which a part is read late
                client.sendmail("sender@example.com", [outside], b"Subject: out\r\n\r\n")
            (worker,) = wait_for(lambda: pids(relay, "channel"))
            ledger.send(client, ["user0", "user1"], size=400)
        wait_delivered(ledger, tiers.stores)

        def why() -> dict[str, str]:
            said = [recipient for copy in queued(relay) for recipient in copy["recipients"] if recipient["status"]]
            return {each["original"]: each["status"]["enhanced"] for each in said}

        wait_for(lambda: len(why()) == 2)
        assert why() == {"a@route.test": "4.4.1", "b@world.test": "4.3.0"}
        assert pids(relay, "channel") == [worker]
