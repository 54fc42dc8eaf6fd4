"""`posthouse store delete OWNER...` and `rename OWNER NEW`.

Both wait until no delivery is under way in the mailbox and the journal needs it no more (a second or two on a busy store);
deliveries to it wait meanwhile or are deferred with Mailbox Locked. A mailbox vanishes or moves with one rename, so it is
whole under one name whatever happens; `store.administration.removal` says why nothing is lost. Of several to be removed, one that
cannot be is told of and the others are removed; one that is away and cannot be emptied (something in it is another user's)
is told of by `check` from then on. With --json a list of {"owner", "path", "messages"}; `messages` is null where something in the
mailbox cannot be looked into, which does not keep it.

Change the directory first: mail that comes for the old name later makes a new mailbox there. Exit 67 when there is no such
mailbox (then nothing is removed), 73 when the new owner has one, 74 when the disk failed or refused, 75 when the lock
was not had or the journal still needs the mailbox.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from typing import Any

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.store.creating import DryRun
from posthouse.cli.store.journal import settle_journal
from posthouse.cli.store.opening import CANNOT_CREATE, NO_USER, PACE, USAGE, Opened, code_of, end, opened, progress, reason, say
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.administration.removal import MailboxExistsError
from posthouse.store.administration.removal import remove as remove_mailbox
from posthouse.store.administration.removal import rename as rename_mailbox
from posthouse.store.administration.snapshot import UNREADABLE
from posthouse.store.administration.usage import usage_of
from posthouse.store.mailbox.errors import MailboxError, MailboxNonexistent


def delete(*owners: str, instance: InstanceOption = None, as_json: Json = False, dry_run: DryRun = False) -> None:
    """Remove mailboxes and all mail in them.

    Args:
        owners: uid or uid@domain; no patterns. Nothing is removed when one of them has no mailbox.
        instance: the store's folder.
        as_json: print a JSON list of what was removed.
        dry_run: only print what would be removed.
    """
    if not owners:
        raise end("delete: give the owners", USAGE)
    done: list[dict[str, Any]] = []
    code = 0
    with opened(here(instance)) as store:
        chosen = list(dict.fromkeys(store.mailbox(owner) for owner in owners))
        if not dry_run:
            settle_journal(store)
        for mailbox in chosen:
            try:
                total = _messages(store, mailbox)
                if not dry_run:
                    _remove(store, mailbox, total or 0)
            except (MailboxError, OSError) as error:
                say(reason(error, mailbox.owner))
                code = code or (NO_USER if isinstance(error, MailboxNonexistent) else code_of(error))
                continue
            done.append({"owner": mailbox.owner, "path": store.path(mailbox), "messages": total})
            if not as_json:
                number = "some" if total is None else total
                sys.stdout.write(f"{mailbox.owner}: {number} messages{' would be' if dry_run else ''} removed\n")
    if as_json:
        print_json(done)
    if code:
        raise SystemExit(code)


def _remove(store: Opened, mailbox: Mailbox, total: int) -> None:
    remove_mailbox(store.mailboxes, mailbox, PACE, _unique(), lambda names: _watch(names, total))


def _watch(names: Iterator[str], total: int) -> None:
    for _ in progress(names, total, "removing"):
        pass


def _messages(store: Opened, mailbox: Mailbox) -> int | None:
    """How many it holds; None: something in it cannot be looked into."""
    root = store.mailboxes.open_root(mailbox)
    try:
        return usage_of(store.disk, root, store.defaults).sizes.messages
    except OSError as error:
        if error.errno not in UNREADABLE:
            raise
        return None
    finally:
        store.disk.close(root)


def rename(owner: str, new: str, /, *, instance: InstanceOption = None, as_json: Json = False, dry_run: DryRun = False) -> None:
    """Give a mailbox to another owner.

    Args:
        owner: uid or uid@domain.
        new: the new owner, who must not have a mailbox.
        instance: the store's folder.
        as_json: print a JSON object.
        dry_run: only print what would be done.
    """
    with opened(here(instance)) as store:
        mailbox, target = store.mailbox(owner), store.owner(new)
        moved = Mailbox(mailbox.partition, target)
        if store.mailboxes.find(target) is not None:
            raise end(f"{target} has a mailbox already", CANNOT_CREATE)
        if not dry_run:
            settle_journal(store)
            try:
                moved = rename_mailbox(store.mailboxes, mailbox, target, PACE, _unique())
            except MailboxExistsError as error:
                raise end(str(error), CANNOT_CREATE) from None
        root = store.path(moved)
    facts = {"owner": moved.owner, "was": mailbox.owner, "path": root}
    print_json(facts) if as_json else sys.stdout.write(f"{root}\n")


def _unique() -> str:
    return f"{os.getpid()}-{secrets.token_hex(8)}"
