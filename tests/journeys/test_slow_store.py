"""One slow store never delays mail for another: store1 is stopped in mid-air, store2's users get theirs at once."""

import signal
import time
from pathlib import Path

from support.family_rig import wait_for
from support.journey_mail import Ledger, connect, mailboxes, reconcile, wait_delivered
from support.journey_tiers import journey, retry_all, signal_all, wait_empty

AT_ONCE = 2.0


def test_mail_for_one_store_goes_out_while_the_other_hangs(tmp_path: Path) -> None:
    ledger = Ledger()
    with journey(tmp_path, users=8) as tiers:
        first, second = tiers.stores
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0", "user1"])
            wait_delivered(ledger, tiers.stores)
            signal_all([first], signal.SIGSTOP)
            # more than there are sessions to the first store: all of them hang, and the pool's workers have their hands full
            for _ in range(40):
                ledger.send(client, ["user0", "user2", "user4"])
            for _ in range(10):
                begin = time.monotonic()
                sent = ledger.send(client, ["user1"])
                wait_for(lambda sent=sent: any(found.token == sent.token for found in mailboxes([second])))  # type: ignore[misc]
                assert time.monotonic() - begin < AT_ONCE
            # one message for both: the half that can be delivered is
            sent = ledger.send(client, ["user2", "user3"])
            wait_for(lambda: any(found.token == sent.token for found in mailboxes([second])), AT_ONCE)
        assert not any(found.token == sent.token for found in mailboxes([first]))
        signal_all([first], signal.SIGCONT)
        retry_all(tiers.relay)
        wait_delivered(ledger, tiers.stores)
        wait_empty(tiers.relay)
        reconcile(ledger, tiers.stores).check()
