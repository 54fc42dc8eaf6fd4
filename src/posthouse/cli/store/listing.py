"""`posthouse store list [OWNER...]`: who has a mailbox here, with folders, messages and octets.

Owners may be patterns (`*@example.org`); none means all. Messages and octets are those of `maildirsize`, the file quota and
IMAP use; `--folders` counts each folder's messages instead. With --json a list of

    {"owner", "partition", "path", "folders", "messages", "bytes"[, "each": [{"folder", "messages", "new", "bytes"}]]}

Nothing is locked or changed. Exit 67 for an owner without a mailbox, 74 when one could not be read: the others are shown.
"""

from typing import Annotated, Any

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.rows import show
from posthouse.cli.store.opening import Opened, code_of, opened, progress, reason, say
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.administration.usage import folder_contents, folder_names, folder_text, usage_of


def list_(
    *owners: str,
    instance: InstanceOption = None,
    folders: Annotated[bool, Parameter(name="--folders", negative=())] = False,
    as_json: Json = False,
) -> None:
    """Show mailboxes.

    Args:
        owners: uid, uid@domain, or patterns; all without any.
        instance: the store's folder.
        folders: show each folder.
        as_json: print a JSON list.
    """
    code = 0
    with opened(here(instance)) as store:
        chosen = store.chosen(owners)
        found = []
        for mailbox in progress(chosen, len(chosen), "mailboxes"):
            try:
                found.append(_facts(store, mailbox, folders=folders))
            except FileNotFoundError:  # removed meanwhile
                continue
            except OSError as error:
                say(reason(error, mailbox.owner))
                code = code_of(error)
    if as_json:
        print_json(found)
    elif folders:
        rows = [
            (facts["owner"], each["folder"], str(each["messages"]), str(each["new"]), str(each["bytes"]))
            for facts in found
            for each in facts["each"]
        ]
        show(("owner", "folder", "messages", "new", "bytes"), rows)
    else:
        show(
            ("owner", "folders", "messages", "bytes", "partition"),
            [tuple(str(facts[name]) for name in ("owner", "folders", "messages", "bytes", "partition")) for facts in found],
        )
    if code:
        raise SystemExit(code)


def _facts(store: Opened, mailbox: Mailbox, *, folders: bool) -> dict[str, Any]:
    disk = store.disk
    root = store.mailboxes.open_root(mailbox)
    try:
        names = folder_names(disk, root)
        facts: dict[str, Any] = {
            "owner": mailbox.owner, "partition": mailbox.partition, "path": store.path(mailbox), "folders": len(names),
        }  # fmt: skip
        if not folders:
            sizes = usage_of(disk, root, store.defaults).sizes
            return {**facts, "messages": sizes.messages, "bytes": sizes.bytes}
        each = []
        for name in names:
            new, cur = folder_contents(disk, root, name)
            each.append({
                "folder": folder_text(name), "messages": new.messages + cur.messages, "new": new.messages,
                "bytes": new.bytes + cur.bytes,
            })  # fmt: skip
    finally:
        disk.close(root)
    return {**facts, "messages": sum(one["messages"] for one in each), "bytes": sum(one["bytes"] for one in each), "each": each}
