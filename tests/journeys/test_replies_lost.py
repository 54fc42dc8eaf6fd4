"""The store stops in the middle of the final replies: who had a reply is settled, the others are tried again, and counted."""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

from support.family_rig import wait_for
from support.jobs_relay import until
from support.journey_mail import Answer, Ledger, connect, reconcile, wait_delivered
from support.journey_tiers import journey, pids, wait_empty
from support.lmtp_sink import Sink

USERS = [f"user{number}" for number in range(20)]
ROUNDS, REPLIES = 12, 7


async def test_each_of_twenty_recipients_is_settled_by_its_own_reply_only(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=20, stores=1, start=False) as tiers:
        sink = Sink(host="127.0.0.1", port=tiers.stores[0].port)
        # twenty users in front of a scripted store that answers seven of them and closes
        sink.script.final = lambda address, _: (
            None if len(sink.taken) == 1 and len(sink.seen) > REPLIES else f"250 2.5.0 <{address}> OK"
        )
        await sink.start()
        try:
            await asyncio.to_thread(tiers.relay.start)

            def offer() -> None:
                with connect(tiers.relay) as client:
                    assert ledger.send(client, USERS).code == 250

            await asyncio.to_thread(offer)
            await until(lambda: len(sink.taken) == 2 and len(sink.seen) == 20, 30)
            await asyncio.to_thread(wait_empty, tiers.relay)
        finally:
            await sink.stop()
        first, second = sink.taken
        assert first.addresses == [user for user in USERS if user in first.addresses]
        assert second.addresses == first.addresses[REPLIES:]
        assert sorted(first.addresses) == sorted(USERS)
        print(f"{len(second.addresses)} recipients were sent again, {REPLIES} had their reply")


def test_a_killed_worker_of_the_store_owes_replies_and_nothing_is_lost(tmp_path: Path) -> None:
    ledger = Ledger()
    chance = random.Random(4)
    with journey(tmp_path, users=20, stores=1) as tiers:
        (store,) = tiers.stores
        for _ in range(ROUNDS):
            (victim, *_) = wait_for(lambda: pids(store, "lmtp"))
            with connect(tiers.relay) as client:
                for _ in range(3):
                    ledger.send(client, USERS, size=20_000)
            time.sleep(chance.random() * 0.06)
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda victim=victim: not Path(f"/proc/{victim}").exists())  # type: ignore[misc]
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        assert ledger.count(Answer.ACCEPTED) == 3 * ROUNDS
        verdict = reconcile(ledger, tiers.stores).check()
        assert verdict.duplicates == 0  # the store that starts again knows what it has stored, answered or not
