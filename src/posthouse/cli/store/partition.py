"""`posthouse store move OWNER... --partition NAME`: mailboxes go to another partition (`store.administration.partition_move`).

Messages, flags, keywords, UIDs, folders, subscriptions, ACLs and limits go along, copied while mail is delivered and read. What
has changed meanwhile is copied with the mailbox closed: deliveries wait or are deferred with Mailbox Locked, IMAP sessions get
errors. It is closed only in a moment when no session has it open; if there is none for a minute nothing is moved (75). Where it
stood a file stays, so that no session finds an empty one there. SIGTERM and SIGHUP end the command as ^C does: all is put back.

Of several mailboxes, one that cannot be moved is told of and the others are moved; one that is there already is left. With --json
a list of {"owner", "partition", "was", "path", "messages"}. Exit 65 when something in a mailbox cannot be carried, 67 when an
owner has no mailbox (then nothing is moved), 73 when there is no such partition or the owner has a mailbox there too, 74 when the
disk failed or is full, 75 when the lock was not had or another program has the mailbox open: nothing has changed then.
"""

import contextlib
import os
import resource
import secrets
import signal
import sys
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.store.creating import DryRun
from posthouse.cli.store.journal import settle_journal
from posthouse.cli.store.opening import (
    CANNOT_CREATE,
    DATA,
    NO_USER,
    PACE,
    TEMPORARY,
    USAGE,
    Opened,
    code_of,
    end,
    opened,
    progress,
    reason,
    say,
)
from posthouse.journal.barrier import Barriers
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.administration.mirror import Unmovable
from posthouse.store.administration.partition_move import SESSIONS_WAIT, Way, settle
from posthouse.store.administration.partition_move import move as move_mailbox
from posthouse.store.administration.removal import MailboxExistsError
from posthouse.store.administration.usage import usage_of
from posthouse.store.mailbox.errors import MailboxError, MailboxNonexistent


def move(
    *owners: str, partition: Annotated[str, Parameter(name="--partition")], instance: InstanceOption = None,
    as_json: Json = False, dry_run: DryRun = False,
) -> None:  # fmt: skip
    """Move mailboxes to another partition.

    Args:
        owners: uid or uid@domain; no patterns. Nothing is moved when one of them has no mailbox.
        partition: where to: a folder below data/store.
        instance: the store's folder.
        as_json: print a JSON list of what was moved.
        dry_run: only print what would be moved.
    """
    if not owners:
        raise end("move: give the owners", USAGE)
    _prepare()
    done: list[dict[str, Any]] = []
    code = 0
    with opened(here(instance)) as store:
        if partition not in store.mailboxes.partitions:
            raise end(f"no partition {partition} in {store.instance.store}", CANNOT_CREATE)
        if not dry_run:
            settle_journal(store)
        chosen = list(dict.fromkeys(_mailbox(store, owner, repair=not dry_run) for owner in owners))
        barriers = Barriers(store.disk)
        for mailbox in chosen:
            moved = Mailbox(partition, mailbox.owner)
            try:
                total = _messages(store, mailbox)
                if not dry_run and mailbox.partition != partition:
                    _move(store, mailbox, partition, barriers, total)
                    total = _messages(store, moved)
            except (MailboxError, MailboxExistsError, OSError) as error:
                say(str(error) if isinstance(error, MailboxExistsError) else reason(error, mailbox.owner))
                code = code or _code_of(error)
                continue
            done.append({**moved._asdict(), "was": mailbox.partition, "path": store.path(moved), "messages": total})
            if not as_json:
                _print(mailbox, partition, total, dry_run=dry_run)
        barriers.close()
    if as_json:
        print_json(done)
    if code:
        raise SystemExit(code)


def _prepare() -> None:
    """For leases on many files, and an end in order."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)  # somebody opens what we have a lease on: he waits for a moment
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(TEMPORARY))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _mailbox(store: Opened, name: str, *, repair: bool) -> Mailbox:
    owner = store.owner(name)
    for path in settle(store.mailboxes, owner, _unique(), repair=repair):
        say(f"{path}: a move that was cut short{' is put right' if repair else ''}")
    return store.mailbox(owner)


def _move(store: Opened, mailbox: Mailbox, partition: str, barriers: Barriers, total: int) -> None:
    mailboxes = store.mailboxes
    source, target = mailboxes.descriptor(mailbox.partition), mailboxes.descriptor(partition)

    def watch(names: Iterator[str]) -> None:
        for _ in progress(names, total, mailbox.owner):
            pass

    def waiting(name: str) -> None:
        say(
            f"{mailbox.owner}: another program has {name} open; waiting {SESSIONS_WAIT:g} s for IMAP sessions to end "
            f"(doveadm kick {mailbox.owner})"
        )

    way = Way(mailboxes, mailbox.owner, source, target, _unique(), barriers.of(target), PACE)
    move_mailbox(way, watch, waiting)


def _messages(store: Opened, mailbox: Mailbox) -> int:
    root = store.mailboxes.open_root(mailbox)
    try:
        return usage_of(store.disk, root, store.defaults).sizes.messages
    finally:
        store.disk.close(root)


def _code_of(error: Exception) -> int:
    if isinstance(error, MailboxExistsError):
        return CANNOT_CREATE
    if isinstance(error, Unmovable):
        return DATA
    return NO_USER if isinstance(error, MailboxNonexistent) else code_of(error)  # type: ignore[arg-type]


def _print(mailbox: Mailbox, partition: str, total: int, *, dry_run: bool) -> None:
    if mailbox.partition == partition:
        text = f"is in {partition} already"
    else:
        text = f"{total} messages{' would be' if dry_run else ''} moved from {mailbox.partition} to {partition}"
    sys.stdout.write(f"{mailbox.owner}: {text}\n")


def _unique() -> str:
    return f"{os.getpid()}-{secrets.token_hex(8)}"
