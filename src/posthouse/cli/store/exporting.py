"""`posthouse store export OWNER TARGET`: a copy of a mailbox outside the store.

    export jdoe jdoe.tar             a Maildir++ as tar (.tar.gz, .tar.xz too; `-` is stdout), with flags, dates, folders, limits
    export jdoe jdoe --format mbox   a new folder with one mbox file for each folder

Nothing is locked or changed; what is there the whole time is in it, wherever users move it meanwhile. The target has its
name only when it is whole and durable; what cannot be read (a link, a file of another user's) is told of and left out. To move a
user to another store: export and import once while mail still comes, change mailHost in the directory, export and import again,
which brings only what came meanwhile; then `delete` on the old store.

With --json {"owner", "messages", "bytes", "folders", "unread": [{"path", "text"}]}. Exit 65 when something could not be read, 67
when there is no such mailbox, 73 when the target is there or cannot be written, 74 when the disk failed or whoever reads stdout
went away, 75 when a stopped store's journal must be recovered first.
"""

import contextlib
import os
import shutil
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, Literal

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.store.creating import DryRun
from posthouse.cli.store.opening import (
    CANNOT_CREATE,
    DATA,
    IO_ERROR,
    PACE,
    TEMPORARY,
    USAGE,
    Opened,
    end,
    opened_to_read,
    progress,
    say,
)
from posthouse.dispatcher import lock
from posthouse.journal.adopt import segment_names
from posthouse.store.administration import mbox
from posthouse.store.administration.archive import EXTRAS, MANIFEST, TarWriter, manifest
from posthouse.store.administration.mailboxes import Mailbox
from posthouse.store.administration.snapshot import UNREADABLE, Found, Snapshot
from posthouse.store.administration.usage import usage_of
from posthouse.store.mailbox.folder import read_small
from posthouse.store.mailbox.marked import KEYWORDS, keyword_names


def export(
    owner: str,
    target: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    instance: InstanceOption = None,
    form: Annotated[Literal["maildir", "mbox"], Parameter(name="--format")] = "maildir",
    as_json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Copy a mailbox out of the store.

    Args:
        owner: uid or uid@domain.
        target: a new tar file, `-` for stdout; with --format mbox a new folder.
        instance: the store's folder.
        form: maildir or mbox.
        as_json: print a JSON object.
        dry_run: only count.
    """
    if str(target) == "-" and (as_json or form == "mbox"):
        raise end("export: stdout takes a tar and nothing else", USAGE)
    with opened_to_read(here(instance)) as store:
        mailbox = store.mailbox(owner)
        if not lock.is_held(store.instance.data / "lock") and segment_names(store.disk, store.mailboxes.journal):
            raise end("the store was not stopped cleanly: run `posthouse store recover` first", TEMPORARY)
        root = store.mailboxes.open_root(mailbox)
        try:
            snapshot = Snapshot(store.disk, root)
            found = progress(snapshot.messages(), snapshot.count, "exporting")
            count, folders = _Count(), len(snapshot.folders)
            if dry_run:
                for _ in count(found):
                    pass
            elif form == "mbox":
                _write_mboxes(store, root, target, snapshot.folders, count(found))
            else:
                _write_tar(store, mailbox, root, target, snapshot, count(found))
        finally:
            store.disk.close(root)
        facts = {
            "owner": mailbox.owner, "messages": count.messages, "bytes": count.octets, "folders": folders,
            "unread": [{"path": path, "text": text} for path, text in snapshot.unread.items()],
        }  # fmt: skip
    if as_json:
        print_json(facts)
    else:
        say(f"{mailbox.owner}: {count.messages} messages, {count.octets} octets{' would be' if dry_run else ''} exported")
    _end_for(mailbox, snapshot.unread)


def _end_for(mailbox: Mailbox, unread: Mapping[str, str]) -> None:
    """Say what could not be read; the command ends with 65 then."""
    for path, text in unread.items():
        say(f"{mailbox.owner}/{path}: {text}: not exported")
    if unread:
        raise SystemExit(DATA)


class _Count:
    """Counts what passes."""

    def __init__(self) -> None:
        self.messages = self.octets = 0

    def __call__(self, found: Iterable[Found]) -> Iterator[Found]:
        for each in found:
            self.messages += 1
            self.octets += len(each.octets)
            yield each


def _write_tar(store: Opened, mailbox: Mailbox, root: int, target: Path, snapshot: Snapshot, found: Iterator[Found]) -> None:
    kind = {".gz": "gz", ".tgz": "gz", ".xz": "xz", ".bz2": "bz2"}.get(target.suffix, "")
    with _new_file(target) as file, tarfile.open(fileobj=file, mode=f"w|{kind}") as tar:  # type: ignore[call-overload]
        writer, disk = TarWriter(tar, PACE.now()), store.disk
        limits = usage_of(disk, root, store.defaults).saved.limits
        writer.file(MANIFEST, manifest(mailbox.owner, limits))
        subscriptions = read_small(disk, "subscriptions", root)
        if subscriptions:
            writer.file("subscriptions", subscriptions)
        for directory in snapshot.folders:
            writer.folder(directory)
            for name, octets in _extras(store, root, directory):
                writer.file(f"{directory}/{name}".lstrip("/"), octets)
        for each in found:
            writer.message(each)


def _extras(store: Opened, root: int, directory: str) -> Iterator[tuple[str, bytes]]:
    disk = store.disk
    try:
        folder = disk.open_dir(directory, root) if directory else root
    except FileNotFoundError:  # removed meanwhile
        return
    except OSError as error:
        if error.errno not in UNREADABLE:  # those are told of as unread
            raise
        return
    try:
        for name in EXTRAS:
            found = disk.stat(name, folder)
            if found is not None and found.is_file:
                yield name, read_small(disk, name, folder)
    finally:
        if folder != root:
            disk.close(folder)


@contextlib.contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """A file that has its name only when it is whole."""
    if str(target) == "-":
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise end("stdout was closed before the tar was whole", IO_ERROR) from None
        return
    with _partly(target) as partly, partly.open("xb") as file:
        yield file
        _sync(file)


@contextlib.contextmanager
def _partly(target: Path) -> Iterator[Path]:
    """Another name beside the target, which gets its own, durably, when the block is done."""
    partly = target.parent / f".{target.name}.tmp-{os.getpid()}"
    try:
        if target.exists() or target.is_symlink():
            raise end(f"{target} is there already", CANNOT_CREATE)
        yield partly
        partly.rename(target)
        _sync_folder(target.absolute().parent)
    except OSError as error:
        name = target if error.filename in {None, str(partly)} else error.filename
        raise end(f"{name}: {error.strerror}", CANNOT_CREATE) from None
    finally:
        if partly.is_dir():
            shutil.rmtree(partly, ignore_errors=True)
        else:
            partly.unlink(missing_ok=True)


def _write_mboxes(store: Opened, root: int, target: Path, folders: list[str], found: Iterator[Found]) -> None:
    with _partly(target) as partly:
        partly.mkdir(0o700)
        for directory in folders:
            with (partly / mbox.file_name(directory)).open("xb") as file:
                _sync(file)
        _fill_mboxes(store, root, partly, found)
        _sync_folder(partly)


def _fill_mboxes(store: Opened, root: int, folder: Path, found: Iterator[Found]) -> None:
    directory, names, file = None, dict[str, str](), None
    try:
        for each in found:
            if each.entry.directory != directory or file is None:
                directory = each.entry.directory
                names = keyword_names(dict(_extras(store, root, directory)).get(KEYWORDS, b""))
                if file is not None:
                    _sync(file)
                    file.close()
                file = (folder / mbox.file_name(directory)).open("ab")
            file.write(mbox.encode(each, names))
        if file is not None:
            _sync(file)
    finally:
        if file is not None:
            file.close()


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
