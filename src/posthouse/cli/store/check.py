"""`posthouse store check [OWNER...]`: what the product's `reconstruct` finds and repairs (`store.administration.check`).

Each mailbox's lock is held while it is repaired; deliveries to it wait that long. With --dry-run nothing is locked or changed.
Without owners also: removed mailboxes whose emptying was cut short, and names no mailbox can have. One line for each fault;
with --json

    {"mailboxes": number, "faults": [{"owner", "kind", "path", "text", "repaired"}]}

Exit 0 when nothing is wrong any more, 65 when faults are left, 67 for an owner without a mailbox, 75 when a mailbox was locked
all the time.
"""

import os
import secrets
import sys
from typing import Any

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.store.creating import DryRun
from posthouse.cli.store.journal import settle_journal
from posthouse.cli.store.opening import DATA, PACE, TEMPORARY, Opened, opened, progress, say
from posthouse.cli.supervisor_call import ask_supervisor
from posthouse.config.instance import Instance
from posthouse.dispatcher import lock
from posthouse.store.administration.check import Check, Fault, Writers
from posthouse.store.administration.lock import hold
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.administration.removal import finish_removals
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxError, MailboxLocked, MailboxNonexistent


def check(*owners: str, instance: InstanceOption = None, as_json: Json = False, dry_run: DryRun = False) -> None:
    """Find and repair faults of mailboxes.

    Args:
        owners: uid, uid@domain, or patterns; all without any.
        instance: the store's folder.
        as_json: print a JSON object.
        dry_run: only find.
    """
    found: list[dict[str, Any]] = []
    locked = False
    asked = PACE.now()
    answer = ask_supervisor(here(instance), "status")  # while we are root: its socket may be root's
    with opened(here(instance)) as store:
        if not dry_run:
            settle_journal(store)
        chosen = store.chosen(owners)
        writers = _writers(store.instance, answer, asked)
        names = BaseNames(PACE.now, os.getpid(), secrets.randbits(32), store.conf.hostname or "store")
        if not owners:
            found += _around(store, repair=not dry_run)
        for mailbox in progress(chosen, len(chosen), "mailboxes"):
            try:
                faults = _look(store, mailbox, writers, None if dry_run else names)
            except (MailboxNonexistent, FileNotFoundError):  # removed meanwhile
                continue
            except (MailboxError, OSError) as error:
                locked |= isinstance(error, MailboxLocked)
                faults = [Fault("locked" if isinstance(error, MailboxLocked) else "kind", "", str(error))]
            found += [{"owner": mailbox.owner, **fault._asdict()} for fault in faults]
        if not dry_run:
            for partition in store.mailboxes.partitions:
                store.disk.syncfs(store.mailboxes.descriptor(partition))
    _tell(found, len(chosen), as_json=as_json)
    if any(not fault["repaired"] for fault in found):
        raise SystemExit(TEMPORARY if locked else DATA)


def _look(store: Opened, mailbox: Mailbox, writers: Writers, names: BaseNames | None) -> list[Fault]:
    disk, defaults = store.disk, store.defaults
    if names is None:
        root = store.mailboxes.open_root(mailbox)
        try:
            return list(Check(disk, root, writers, defaults, PACE, None).faults())
        finally:
            disk.close(root)
    with hold(disk, store.mailboxes.descriptor(mailbox.partition), mailbox.owner, PACE) as held:
        return list(Check(disk, held.root, writers, defaults, PACE, names.unsized).faults())


def _around(store: Opened, *, repair: bool) -> list[dict[str, Any]]:
    """What stands in the partitions and is no mailbox."""
    facts = [
        {"owner": "", "kind": "removed", "path": path, "text": "a removed mailbox that was not emptied", "repaired": repair}
        for path in finish_removals(store.mailboxes, repair=repair)
    ]
    return facts + [
        {"owner": "", "kind": "name", "path": path, "text": "no mailbox: a link, a file or a strange name", "repaired": False}
        for path in store.mailboxes.foreign()
    ]


def _writers(instance: Instance, answer: dict[str, Any] | None, asked: float) -> Writers:
    """The store's processes, as its supervisor answered; nobody when the store does not run."""
    if answer is not None:
        live = (process for process in answer["processes"] if process["pid"] and process["state"] != "ended")
        return Writers(frozenset(int(process["pid"]) for process in live), asked)
    return Writers(None if lock.is_held(instance.data / "lock") else frozenset(), asked)


def _tell(found: list[dict[str, Any]], mailboxes: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"mailboxes": mailboxes, "faults": found})
        return
    for fault in found:
        where = ": ".join(part for part in (fault["owner"], fault["path"]) if part)
        line = f"{where}: {fault['text']}{' (repaired)' if fault['repaired'] else ''}"
        sys.stdout.write("".join(each if each.isprintable() else "?" for each in line) + "\n")
    left = sum(not fault["repaired"] for fault in found)
    say(f"{mailboxes} mailboxes, {len(found)} faults, {left} left")
