"""What all `posthouse store` commands begin with: the configuration, the store's user, the folders, the owners meant.

Started by root the command becomes IMTA_USER first, or whoever owns `data/store` (a service may run as its user without
IMTA_USER): what it makes must belong to the store.
"""

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar, cast

from posthouse.cli.loading import load_or_exit
from posthouse.config.configuration import Configuration
from posthouse.config.instance import Instance
from posthouse.config.store_conf import StoreConf
from posthouse.dispatcher.user import NoSuchUser, become, owner_of, wanted_user
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.relay.job_controller.programs import Program, program_of
from posthouse.store.administration.lock import Pace
from posthouse.store.administration.mailboxes import Mailbox, Mailboxes
from posthouse.store.mailbox.errors import MailboxError, MailboxLocked, MailboxNonexistent
from posthouse.store.mailbox.faults import reason_of
from posthouse.store.mailbox.owner import parse_target
from posthouse.store.quota.limits import Limits

USAGE, DATA, NO_INPUT, NO_USER, CANNOT_CREATE, IO_ERROR, TEMPORARY = 64, 65, 66, 67, 73, 74, 75
PACE = Pace(time.time, time.sleep)
_LATE = ("_strptime", "base64", "bz2", "ctypes", "datetime", "encodings.utf_16_be", "gzip", "lzma", "pwd")
_WILD = frozenset("*?[")
_MANY = 20
T = TypeVar("T")


class Opened(NamedTuple):
    """A store a command works on."""

    instance: Instance
    conf: StoreConf
    mailboxes: Mailboxes

    @property
    def disk(self) -> Disk:
        """The disk."""
        return self.mailboxes.disk

    @property
    def defaults(self) -> Limits:
        """The store's default limits."""
        return Limits(self.conf.defaultmailboxquota, self.conf.defaultmessagequota)

    def path(self, mailbox: Mailbox) -> str:
        """The mailbox's Maildir++ root."""
        return str(self.instance.store / mailbox.path)

    def owner(self, name: str) -> str:
        """The owner a name on the command line means; ends with 65 when no mailbox can have it."""
        try:
            target = parse_target(name.encode("utf-8", "surrogateescape"), self.conf.defaultdomain)
        except MailboxNonexistent as error:
            raise end(f"{name}: {error}", DATA) from None
        if target.folder:
            raise end(f"{name}: give the owner without a folder", DATA)
        return target.owner

    def mailbox(self, name: str) -> Mailbox:
        """The mailbox of a name on the command line; ends with 67 when there is none."""
        owner = self.owner(name)
        found = self.mailboxes.find(owner)
        if found is None:
            raise end(f"{owner}: no mailbox", NO_USER)
        return found

    def new_mailbox(self, owner: str) -> Mailbox:
        """Where a mailbox is made; ends with 73 when that partition has no folder."""
        partition = self.conf.partitionof.get(owner, self.conf.defaultpartition)
        if partition not in self.mailboxes.partitions:
            raise end(f"{owner}: no partition {partition}", CANNOT_CREATE)
        return Mailbox(partition, owner)

    def chosen(self, names: Sequence[str]) -> list[Mailbox]:
        """The mailboxes of names and patterns with `*`, `?`, `[`; all without any."""
        if not names:
            return list(self.mailboxes.all())
        wild = [name.lower() for name in names if _WILD & set(name)]
        plain = [self.mailbox(name) for name in names if not _WILD & set(name)]
        found = self.mailboxes.matching(wild, self.conf.defaultdomain.lower()) if wild else ()
        return list(dict.fromkeys([*plain, *found]))


def opened(instance: Instance) -> contextlib.AbstractContextManager[Opened]:
    """The store of an instance, to work on as its owner."""
    configuration = _configuration(instance)
    try:
        user = wanted_user(configuration.tailor.user) or owner_of(instance.store)
    except NoSuchUser as error:
        raise end(str(error), NO_USER) from None
    if user is not None:
        _import_late_modules()
        become(user)
    return _open(instance, configuration)


def opened_to_read(instance: Instance) -> contextlib.AbstractContextManager[Opened]:
    """The store of an instance as whoever we are, who may write elsewhere: nothing is changed in it."""
    return _open(instance, _configuration(instance))


def _configuration(instance: Instance) -> Configuration:
    configuration = load_or_exit(instance)
    served = any(service.image == "tcp_lmtp_server" for service in configuration.dispatcher.services)
    if not served and not any(program_of(configuration, each) is Program.STORE for each in configuration.imta.channels.values()):
        raise end(f"{instance.root}: no LMTP service in dispatcher.cnf and no channel ims-ms, so this is no store", USAGE)
    return configuration


@contextlib.contextmanager
def _open(instance: Instance, configuration: Configuration) -> Iterator[Opened]:
    """Faults of mailboxes and of the disk in the block end the command with their exit code."""
    before = os.umask(0o077)
    try:
        mailboxes = Mailboxes(cast("Disk", LinuxDisk()), str(instance.data))
    except OSError as error:
        os.umask(before)
        raise end(f"{error.filename or instance.data}: {error.strerror}", CANNOT_CREATE) from None
    try:
        yield Opened(instance, configuration.store, mailboxes)
    except BrokenPipeError:  # whoever reads our lines has enough
        raise
    except (MailboxError, OSError) as error:
        raise failed(error) from None
    finally:
        mailboxes.close()
        os.umask(before)


def _import_late_modules() -> None:
    """What is imported only when it is needed: the store's user may not be able to read this Python."""
    for name in _LATE:
        importlib.import_module(name)
    if sys.stderr.isatty():
        importlib.import_module("rich.progress")


def failed(error: MailboxError | OSError) -> SystemExit:
    """The end of a command that met this."""
    return end(reason(error), NO_USER if isinstance(error, MailboxNonexistent) else code_of(error))


def reason(error: MailboxError | OSError, owner: str = "") -> str:
    """The error in words: whose mailbox, which name, what is wrong."""
    if isinstance(error, MailboxError):
        return str(error)
    path = "/".join(dict.fromkeys(part for part in (owner, str(error.filename or "")) if part))
    return f"{path}: {reason_of(error)}" if path else reason_of(error)


def code_of(error: MailboxError | OSError) -> int:
    """The exit code for a mailbox that is there and cannot be worked on."""
    return TEMPORARY if isinstance(error, MailboxLocked) else IO_ERROR


def end(text: str, code: int) -> SystemExit:
    """The end of a command, its reason on stderr."""
    say(text)
    return SystemExit(code)


def say(text: str) -> None:
    """One line on stderr; what is no character for people shows as `?`."""
    text = "".join(each if each.isprintable() else "?" for each in text)
    sys.stderr.write(f"posthouse store: {text}\n")


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    """The items; long work shows how far it is, when somebody looks."""
    if total < _MANY or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    bars = Progress(console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty())
    with bars:  # stdout is what was asked for, and stays apart
        yield from bars.track(items, total, description=what)
