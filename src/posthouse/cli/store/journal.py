"""The journal of a store that does not run, brought to rest before a command works on mailboxes.

On a stopped store nobody replays what a crash left, and torn mail would be copied or removed mail put back at the next
start. So `data/lock` is taken, what a start does first is done, and the lock is given back: from then on the mailboxes' own locks
are enough, and the store may be started meanwhile. When the lock is held the store runs, starts or stops, and looks after
its journal itself.
"""

import os
import sys

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json
from posthouse.cli.store.opening import DATA, TEMPORARY, Opened, end, opened, say
from posthouse.dispatcher import lock
from posthouse.journal.segment import UnknownVersion
from posthouse.store.administration.unchecked import recover_stopped


def settle_journal(store: Opened) -> tuple[int, int] | None:
    """Replay what a crash left, if the store does not run.

    Returns:
        How many segments were replayed and how many stay; None when the store runs.
    """
    try:
        held = lock.take(store.instance.data / "lock", 0.0)
    except lock.AlreadyRunning:
        return None
    try:
        gone, kept = recover_stopped(store.mailboxes)
    except UnknownVersion as error:
        raise end(str(error), DATA) from None
    finally:
        os.close(held)
    if gone:
        say(f"replayed {gone} segments of the journal that an unclean stop left")
    if kept:
        say(f"{kept} segments of the journal hold mail that cannot be placed")
    return gone, kept


def recover(*, instance: InstanceOption = None, as_json: Json = False) -> None:
    """Put back what an unclean stop left in the journal, without starting the store.

    Args:
        instance: the store's folder.
        as_json: print a JSON object.
    """
    with opened(here(instance)) as store:
        done = settle_journal(store)
    if done is None:
        raise end("the store runs and looks after its journal itself", TEMPORARY)
    gone, kept = done
    sys.stdout.write(f'{{"replayed": {gone}, "kept": {kept}}}\n' if as_json else f"{gone} segments replayed, {kept} kept\n")
    if kept:
        raise SystemExit(DATA)
