"""`posthouse store quota [OWNER...]`: what the product's `imquotacheck` reports, and setting limits by hand.

    posthouse store quota                           every mailbox, the fullest first
    posthouse store quota --over 90 '*@example.org' those that are 90 percent full or more
    posthouse store quota jdoe --set 50M,5000       limits as in XQUOTA: octets[K|M|G],messages; -1 unlimited, -2 the default

A limit set here takes effect with the next delivery and is what IMAP's GETQUOTA shows; the next message a relay takes
replaces it by its XQUOTA, so on a site with a directory set mailQuota and mailMsgQuota there. With --json a list of

    {"owner", "bytes", "messages", "limits": {"bytes", "messages"}, "saved": {"bytes", "messages"}, "percent", "over_since"}

`limits` is what counts (-1 unlimited), `saved` what was sent (-2 the store's default), `percent` the fuller of both (null
without limits), `over_since` Unix time or null. Exit 67 for an owner without a mailbox; one that cannot be read or set is told
of, the others are done, and the exit code is 74, or 75 when deliveries or an administrator keep it locked.
"""

import math
import os
import secrets
from typing import Annotated, Any

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.rows import show
from posthouse.cli.store.creating import DryRun
from posthouse.cli.store.opening import PACE, USAGE, Opened, code_of, end, opened, progress, reason, say
from posthouse.store.administration.lock import hold
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.administration.usage import Usage, set_limits, usage_of
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxError, MailboxNonexistent
from posthouse.store.mailbox.maildirsize import SizeFile
from posthouse.store.quota.limits import GivenLimits, parse_limits

_LATE = 64
"""replaced quota files that are looked at once more together"""


def quota(
    *owners: str,
    instance: InstanceOption = None,
    limits: Annotated[str | None, Parameter(name="--set", allow_leading_hyphen=True)] = None,
    over: float | None = None,
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Show quotas; with --set change them.

    Args:
        owners: uid, uid@domain, or patterns; all without any, but not for --set.
        instance: the store's folder.
        limits: new limits, octets[K|M|G],messages; an empty half stays as it is.
        over: only those that are this full or fuller, in percent.
        as_json: print a JSON list.
        dry_run: with --set, only print what the limits would be.
    """
    given = None
    if over is not None and math.isnan(over):
        raise end("--over: that is no number", USAGE)
    if limits is not None:
        try:
            given = parse_limits(limits)
        except ValueError as error:
            raise end(str(error), USAGE) from None
        if not owners or given == GivenLimits(None, None):
            raise end("quota --set needs limits and owners; '*' means everybody", USAGE)
    with opened(here(instance)) as store:
        chosen = store.chosen(owners)
        code = 0
        if given is not None and not dry_run:
            chosen, code = _set(store, chosen, given)
        found, unread = _usages(store, chosen, given if dry_run else None)
        code = code or unread
    found = [one for one in found if over is None or (one[1].percent or 0) >= over]
    found.sort(key=lambda one: (-(one[1].percent if one[1].percent is not None else -1), one[0]))
    if as_json:
        print_json([_facts(*one) for one in found])
    else:
        show(("diskquota", "bytes", "%", "msgquota", "messages", "over since", "owner"), [_row(*one) for one in found])
    if code:
        raise SystemExit(code)


def _usages(store: Opened, chosen: list[Mailbox], given: GivenLimits | None) -> tuple[list[tuple[str, Usage]], int]:
    """What each owner uses, of these limits where they are given, and the exit code of the first that cannot be read."""
    found, code = [], 0
    for mailbox in progress(chosen, len(chosen), "mailboxes"):
        try:
            usage = _usage(store, mailbox)
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError as error:
            say(reason(error, mailbox.owner))
            code = code or code_of(error)
            continue
        if given is not None:
            saved = usage.saved._replace(limits=given.over(usage.saved.limits))
            usage = Usage(usage.sizes, saved, saved.limits.resolved(store.defaults))
        found.append((mailbox.owner, usage))
    return found, code


def _usage(store: Opened, mailbox: Mailbox) -> Usage:
    root = store.mailboxes.open_root(mailbox)
    try:
        return usage_of(store.disk, root, store.defaults)
    finally:
        store.disk.close(root)


def _set(store: Opened, chosen: list[Mailbox], given: GivenLimits) -> tuple[list[Mailbox], int]:
    """Set them: the mailboxes where it was done, and the exit code of the first where it could not be."""
    names = BaseNames(PACE.now, os.getpid(), secrets.randbits(32), store.conf.hostname or "store")
    replaced: list[SizeFile] = []
    done: list[Mailbox] = []
    code = 0
    for mailbox in progress(chosen, len(chosen), "limits"):
        try:
            with hold(store.disk, store.mailboxes.descriptor(mailbox.partition), mailbox.owner, PACE) as held:
                sizes = set_limits(held, given, store.defaults, names.unsized, PACE.now())
        except MailboxNonexistent:  # removed meanwhile
            continue
        except (MailboxError, OSError) as error:
            say(reason(error, mailbox.owner))
            code = code or code_of(error)
            continue
        done.append(mailbox)
        if sizes is not None:
            replaced.append(sizes)
        if len(replaced) >= _LATE:
            _take_late_lines(replaced)
    _take_late_lines(replaced)
    for partition in {mailbox.partition for mailbox in chosen}:
        store.disk.syncfs(store.mailboxes.descriptor(partition))
    return done, code


def _take_late_lines(replaced: list[SizeFile]) -> None:
    """Lines an IMAP server has meanwhile appended to the files that were replaced are not lost."""
    for sizes in replaced:
        sizes.load(PACE.now())
        sizes.close()
    replaced.clear()


def _facts(owner: str, usage: Usage) -> dict[str, Any]:
    percent = usage.percent
    return {
        "owner": owner,
        **usage.sizes._asdict(),
        "limits": {name: max(value, -1) for name, value in usage.limits._asdict().items()},
        "saved": usage.saved.limits._asdict(),
        "percent": None if percent is None else round(percent, 1),
        "over_since": usage.saved.over_since,
    }


def _row(owner: str, usage: Usage) -> tuple[str, ...]:
    percent, since = usage.percent, usage.saved.over_since
    octets, messages = ("-" if limit < 0 else str(limit) for limit in usage.limits)
    return (
        octets, str(usage.sizes.bytes), "-" if percent is None else f"{percent:.0f}", messages, str(usage.sizes.messages),
        "" if since is None else _time(since), owner,
    )  # fmt: skip


def _time(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
