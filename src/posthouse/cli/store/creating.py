"""`posthouse store create|path OWNER`: make a mailbox, print where one is.

`create` prints the Maildir++ root as `path` does; a mailbox that is there already stays as it is. Made means durable.
Exit 67 when `path` finds none, 65 when the owner's name cannot be one, 73 when it cannot be made.
"""

import sys
from typing import Annotated

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.store.opening import CANNOT_CREATE, Opened, end, opened
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.maildir import open_maildir

DryRun = Annotated[bool, Parameter(name="--dry-run", negative=())]


def create(owner: str, /, *, instance: InstanceOption = None, as_json: Json = False, dry_run: DryRun = False) -> None:
    """Make a mailbox; one that is there already stays as it is.

    Args:
        owner: uid or uid@domain.
        instance: the store's folder.
        as_json: print a JSON object.
        dry_run: only print where it would be.
    """
    with opened(here(instance)) as store:
        name = store.owner(owner)
        mailbox = store.mailboxes.find(name) or store.new_mailbox(name)
        partition = store.mailboxes.descriptor(mailbox.partition)
        if not dry_run:
            try:
                open_maildir(store.disk, partition, name, create=True).close()
                store.disk.syncfs(partition)
            except (MailboxError, OSError) as error:
                raise end(f"{name}: {error}", CANNOT_CREATE) from None
        _show(store, mailbox, as_json=as_json)


def path(owner: str, /, *, instance: InstanceOption = None, as_json: Json = False) -> None:
    """Print the Maildir++ root of a mailbox.

    Args:
        owner: uid or uid@domain.
        instance: the store's folder.
        as_json: print a JSON object.
    """
    with opened(here(instance)) as store:
        _show(store, store.mailbox(owner), as_json=as_json)


def _show(store: Opened, mailbox: Mailbox, *, as_json: bool) -> None:
    root = store.path(mailbox)
    facts = {"owner": mailbox.owner, "partition": mailbox.partition, "path": root}
    print_json(facts) if as_json else sys.stdout.write(f"{root}\n")
