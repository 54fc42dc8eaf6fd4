"""`posthouse store import OWNER SOURCE`: what `export` wrote, or a foreign mbox file, into a mailbox.

    import jdoe jdoe.tar                    a Maildir++ as tar, compressed or not; `-` is stdin
    import jdoe jdoe                        a folder of mbox files, one for each folder
    import jdoe old.mbox --folder Archive   one mbox file

The mailbox is made when there is none. A message that is there already is not taken twice (`store.administration.intake`), so
the command may be stopped and run again. The mailbox's lock is held for a batch of messages at a time; quotas do not hold an
administrator up, what comes in is counted.

With --json {"owner", "imported", "present", "dropped_keywords", "refused"}. Exit 65 when the source is no archive or parts of it
were refused, 66 when it cannot be read, 75 when the mailbox was locked.
"""

import contextlib
import os
import secrets
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.store.creating import DryRun
from posthouse.cli.store.journal import settle_journal
from posthouse.cli.store.opening import DATA, NO_INPUT, PACE, USAGE, Opened, end, opened, progress, say
from posthouse.journal.barrier import Barriers
from posthouse.store.administration import mbox
from posthouse.store.administration.archive import Source, TarSource
from posthouse.store.administration.intake import Intake
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.errors import MailboxError
from posthouse.store.mailbox.folder_name import folder_directory
from posthouse.store.mailbox.maildir import open_maildir

_SHOWN_REFUSALS = 10


def import_(
    owner: str,
    source: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    instance: InstanceOption = None,
    folder: str = "",
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Copy an archive into a mailbox, which is made when there is none. What is there already is not taken twice.

    Args:
        owner: uid or uid@domain.
        source: a tar, a folder of mbox files, or one mbox file; `-` for a tar on stdin.
        instance: the store's folder.
        folder: where the messages of one mbox file go; by default the file's name says it, or the INBOX.
        as_json: print a JSON object.
        dry_run: only count.
    """
    place = here(instance)
    with contextlib.ExitStack() as files:
        try:
            given = _sources(source, folder, files)  # before root is given up
            with opened(place) as store:
                name = store.owner(owner)
                archive: Source = _archive(given, store.conf.hostname or "store")
                facts = _import(store, name, archive, dry_run=dry_run)
        except tarfile.TarError as error:
            raise end(f"{source}: no archive of a mailbox: {str(error).partition(chr(10))[0].rstrip(':')}", DATA) from None
    if as_json:
        print_json(facts)
    else:
        words = "would be imported" if dry_run else "imported"
        say(f"{name}: {facts['imported']} messages {words}, {facts['present']} were there")
    for refused in archive.refused[:_SHOWN_REFUSALS]:
        say(f"refused {refused!r}: not part of a mailbox")
    if archive.refused:
        raise SystemExit(DATA)


def _archive(given: IO[bytes] | list[tuple[str, IO[bytes]]], host: str) -> Source:
    return mbox.MboxSource(given, host) if isinstance(given, list) else TarSource(given)


def _import(store: Opened, owner: str, archive: Source, *, dry_run: bool) -> dict[str, Any]:
    mailbox = store.mailboxes.find(owner)
    if dry_run and mailbox is None:
        return _facts(owner, len(set(archive.places())), 0, 0, archive)
    if not dry_run:
        settle_journal(store)
    mailbox = mailbox or store.new_mailbox(owner)
    partition = store.mailboxes.descriptor(mailbox.partition)
    barriers = Barriers(store.disk)
    try:
        if not dry_run:
            open_maildir(store.disk, partition, owner, create=True).close()
        names = BaseNames(PACE.now, os.getpid(), secrets.randbits(32), store.conf.hostname or "store")
        intake = Intake(store.disk, partition, owner, barriers.of(partition), store.defaults, names, PACE)
        lacking = intake.missing(archive)
        if dry_run:
            return _facts(owner, len(lacking), intake.tally.present, 0, archive)
        before = len(lacking)
        try:
            for _ in progress(_singly(intake.take(archive, lacking)), before, "importing"):
                pass
        except (MailboxError, OSError, KeyboardInterrupt):
            say(f"{owner}: stopped behind {intake.tally.imported} of {before} messages; the same command again brings the others")
            raise
    finally:
        barriers.close()
    return _facts(owner, *intake.tally, archive)


def _singly(batches: Iterator[int]) -> Iterator[int]:
    """One step for each message of a batch, for the bar."""
    done = 0
    for count in batches:
        yield from range(done, count)
        done = count


def _facts(owner: str, imported: int, present: int, dropped: int, archive: Source) -> dict[str, Any]:
    return {
        "owner": owner, "imported": imported, "present": present, "dropped_keywords": dropped, "refused": len(archive.refused),
    }  # fmt: skip


def _sources(source: Path, folder: str, files: contextlib.ExitStack) -> IO[bytes] | list[tuple[str, IO[bytes]]]:
    """The open tar, or the open mbox files with the directories of their folders."""
    try:
        if str(source) == "-":
            spool = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the others
            while piece := sys.stdin.buffer.read(1 << 20):
                spool.write(piece)
            spool.seek(0)
            return spool
        if source.is_dir():
            paths = sorted(path for path in source.iterdir() if path.suffix == mbox.SUFFIX)
            if not paths:
                raise end(f"{source}: no {mbox.SUFFIX} files in this folder", DATA)
            return [(_directory(path.name), files.enter_context(path.open("rb"))) for path in paths]
        file = files.enter_context(source.open("rb"))
        begins_as_mbox = file.read(5) == b"From "
        file.seek(0)
    except OSError as error:
        raise end(f"{error.filename or source}: {error.strerror}", NO_INPUT) from None
    if not begins_as_mbox:
        return file
    directory = folder_directory(folder) if folder else mbox.directory_of(source.name) if source.suffix == mbox.SUFFIX else ""
    if directory is None:
        raise end(f"{folder or source.name}: no folder can have this name: give --folder", USAGE)
    return [(directory, file)]


def _directory(name: str) -> str:
    directory = mbox.directory_of(name)
    if directory is None:
        raise end(f"{name}: no folder can have this name", DATA)
    return directory
