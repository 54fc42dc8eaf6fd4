"""`posthouse store check [OWNER...]`: what the product's `reconstruct` finds and repairs (`store.administration.check`).

Each mailbox's lock is held while it is repaired; deliveries to it wait that long, and have their turn where that takes longer.
With --dry-run nothing is locked or changed. Without owners also: removed mailboxes whose emptying was cut short, moves to
another partition that were, and names no mailbox can have. One line for each fault, as soon as it is found; with --json, at
the end,

    {"mailboxes": number, "faults": [{"owner", "kind", "path", "text", "repaired"}]}

Exit 0 when nothing is wrong any more, 65 when faults are left, 67 for an owner without a mailbox, 75 when a mailbox was locked
all the time.
"""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from typing import Any

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.store.creating import DryRun
from posthouse.cli.store.journal import settle_journal
from posthouse.cli.store.opening import DATA, PACE, TEMPORARY, Opened, opened, progress, say
from posthouse.cli.supervisor_call import ask_supervisor
from posthouse.config.instance import Instance
from posthouse.dispatcher import lock
from posthouse.store.administration.check import Check, Fault, Writers, entrance
from posthouse.store.administration.lock import hold
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.administration.partition_move import finish_moves
from posthouse.store.administration.removal import finish_removals
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxError, MailboxIOError, MailboxLocked, MailboxNonexistent
from posthouse.store.mailbox.faults import reason_of


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

    def tell(owner: str, fault: Fault) -> None:
        found.append({"owner": owner, **fault._asdict()})
        if not as_json:
            _print(owner, fault)

    asked = PACE.now()
    answer = ask_supervisor(here(instance), "status")  # while we are root: its socket may be root's
    with opened(here(instance)) as store:
        if not dry_run:
            settle_journal(store)
        chosen = store.chosen(owners)
        writers = _writers(store.instance, answer, asked)
        names = BaseNames(PACE.now, os.getpid(), secrets.randbits(32), store.conf.hostname or "store")
        for fault in () if owners else _around(store, names.unsized(), repair=not dry_run):
            tell("", fault)
        for mailbox in progress(chosen, len(chosen), "mailboxes"):
            try:
                for fault in _look(store, mailbox, writers, None if dry_run else names):
                    tell(mailbox.owner, fault)
            except (MailboxNonexistent, FileNotFoundError):  # removed meanwhile
                continue
            except (MailboxError, OSError) as error:
                if store.mailboxes.is_mark(mailbox.owner, store.mailboxes.descriptor(mailbox.partition)):  # moved meanwhile
                    continue
                locked |= isinstance(error, MailboxLocked)
                tell(mailbox.owner, _kept_out(mailbox.owner, error))
        if not dry_run:
            for partition in store.mailboxes.partitions:
                store.disk.syncfs(store.mailboxes.descriptor(partition))
    if as_json:
        print_json({"mailboxes": len(chosen), "faults": found})
    else:
        say(f"{len(chosen)} mailboxes, {len(found)} faults, {sum(not fault['repaired'] for fault in found)} left")
    if any(not fault["repaired"] for fault in found):
        raise SystemExit(TEMPORARY if locked else DATA)


def _look(store: Opened, mailbox: Mailbox, writers: Writers, names: BaseNames | None) -> Iterator[Fault]:
    disk, defaults, partition = store.disk, store.defaults, store.mailboxes.descriptor(mailbox.partition)
    yield from entrance(disk, partition, mailbox.owner, repair=names is not None)

    @contextlib.contextmanager
    def entered() -> Iterator[int]:
        if names is not None:
            with hold(disk, partition, mailbox.owner, PACE) as held:
                yield held.root
            return
        root = store.mailboxes.open_root(mailbox)
        try:
            yield root
        finally:
            disk.close(root)

    yield from Check(disk, entered, writers, defaults, PACE, names.unsized if names else None).faults()


def _kept_out(owner: str, error: MailboxError | OSError) -> Fault:
    """What kept us from looking at a mailbox, or from the rest of it."""
    if isinstance(error, OSError):
        path = str(error.filename or "")
        return Fault("access", "" if path == owner else path, reason_of(error))
    kind = "locked" if isinstance(error, MailboxLocked) else "access" if isinstance(error, MailboxIOError) else "kind"
    path, colon, text = str(error).partition(": ")
    return Fault(kind, path.removeprefix(owner).lstrip("/"), text) if colon else Fault(kind, "", path)


def _around(store: Opened, name: str, *, repair: bool) -> Iterator[Fault]:
    """What stands in the partitions and is no mailbox."""
    for path, reason in finish_moves(store.mailboxes, name, repair=repair):
        text = "left of a move to another partition that was cut short"
        yield Fault("moved", path, f"{text}: {reason}" if reason else text, repaired=repair and not reason)
    for path, reason in finish_removals(store.mailboxes, repair=repair):
        text = "a removed mailbox that was not emptied"
        yield Fault("removed", path, f"{text}: {reason}" if reason else text, repaired=repair and not reason)
    for path in store.mailboxes.foreign():
        yield Fault("name", path, "no mailbox: a link, a file or a strange name")


def _writers(instance: Instance, answer: dict[str, Any] | None, asked: float) -> Writers:
    """The store's processes, as its supervisor answered; nobody when the store does not run."""
    if answer is not None:
        live = (process for process in answer["processes"] if process["pid"] and process["state"] != "ended")
        return Writers(frozenset(int(process["pid"]) for process in live), asked)
    return Writers(None if lock.is_held(instance.data / "lock") else frozenset(), asked)


def _print(owner: str, fault: Fault) -> None:
    where = ": ".join(part for part in (owner, fault.path) if part)
    line = f"{where}: {fault.text}{' (repaired)' if fault.repaired else ''}"
    sys.stdout.write("".join(each if each.isprintable() else "?" for each in line) + "\n")
