"""What is delivered gives its room on the disk back while the relay runs: no process keeps a freed segment open."""

import contextlib
import os
from pathlib import Path

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, wait_delivered
from support.journey_tiers import everyone, is_ready, journey, kill, pids, wait_empty


def unlinked(instance: RunningInstance) -> list[str]:
    """Files of the instance's journal without a name that a process of it still has open."""
    journal, found = f"{instance.folder}/data/journal/", []
    for pid in everyone(instance):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for link in Path(f"/proc/{pid}/fd").iterdir():
                target = _target(link)
                if target.startswith(journal) and target.endswith(" (deleted)"):
                    found.append(f"{pid}: {target}")
    return found


def _target(link: Path) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - Path.readlink would lose what is behind the name
    except FileNotFoundError:
        return ""


def segments(instance: RunningInstance) -> set[str]:
    return {path.name for path in (instance.folder / "data" / "journal").glob("smtp-*.seg")}


def test_a_freed_segment_is_closed_everywhere(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=2, stores=1) as tiers:
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0"])
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        (channel,) = pids(tiers.relay, "channel")
        before = segments(tiers.relay)
        kill(tiers.relay, "smtp")  # its segments are the job controller's to free
        wait_for(lambda: is_ready(tiers.relay) and not before & segments(tiers.relay))
        wait_for(lambda: not unlinked(tiers.relay))
        assert pids(tiers.relay, "channel") == [channel]
