"""`posthouse store create|path OWNER`: mailboxes of a store.

The owner is `uid` in the default domain and `uid@domain` elsewhere; `uid@<default domain>` is `uid`. Exit 0, 67 when there is no
such mailbox, 65 when the owner's name cannot be one, 64 on wrong usage.
"""

import json
import os
import sys
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.loading import load_or_exit
from posthouse.config.instance import Instance
from posthouse.dispatcher.user import NoSuchUser, become, wanted_user
from posthouse.journal.adopt import open_folder
from posthouse.journal.disk import LinuxDisk
from posthouse.store.mailbox.errors import MailboxError, MailboxNonexistent
from posthouse.store.mailbox.maildir import open_maildir
from posthouse.store.mailbox.owner import parse_target

app = App(name="store", help="Mailboxes of a store.")
PARTITION = "primary"
USAGE, DATA, NO_USER, CANNOT_CREATE = 64, 65, 67, 73


@app.command
def create(
    owner: str, /, *, instance: InstanceOption = None, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """Make a mailbox; one that is there already stays as it is.

    Args:
        owner: uid or uid@domain.
        instance: the store's folder.
        as_json: print a JSON object.
    """
    _show(here(instance), owner, create=True, as_json=as_json)


@app.command
def path(
    owner: str, /, *, instance: InstanceOption = None, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False
) -> None:
    """Print the Maildir++ root of a mailbox.

    Args:
        owner: uid or uid@domain.
        instance: the store's folder.
        as_json: print a JSON object.
    """
    _show(here(instance), owner, create=False, as_json=as_json)


def _show(instance: Instance, name: str, *, create: bool, as_json: bool) -> None:
    configuration = load_or_exit(instance)
    if not any(service.image == "tcp_lmtp_server" for service in configuration.dispatcher.services):
        raise _end(f"{instance.root}: no LMTP service in dispatcher.cnf, so this is no store", USAGE)
    try:
        user = wanted_user(configuration.tailor.user)
    except NoSuchUser as error:
        raise _end(str(error), NO_USER) from None
    if user is not None:  # what is made must belong to the store
        become(user)
    os.umask(0o077)
    disk = LinuxDisk()
    try:
        target = parse_target(name.encode(), configuration.store.defaultdomain.lower())
    except MailboxNonexistent as error:
        raise _end(f"{name}: {error}", DATA) from None
    if target.folder:
        raise _end(f"{name}: give the owner without a folder", DATA)
    try:
        data = disk.open_dir(str(instance.data))
        partition = open_folder(disk, PARTITION, open_folder(disk, "store", data))
        open_maildir(disk, partition, target.owner, create=create).close()
        if create:
            disk.syncfs(partition)
    except MailboxNonexistent:
        raise _end(f"{target.owner}: no such mailbox", NO_USER) from None
    except (MailboxError, OSError) as error:
        raise _end(f"{target.owner}: {error}", CANNOT_CREATE) from None
    root = str(instance.store / PARTITION / target.owner)
    sys.stdout.write(json.dumps({"owner": target.owner, "path": root}) + "\n" if as_json else root + "\n")


def _end(text: str, code: int) -> SystemExit:
    sys.stderr.write(f"posthouse store: {text}\n")
    return SystemExit(code)
