"""What must hold before an instance is started: good files, a user who may, folders, the lock, room for open files."""

import logging
import os
import resource
import sys

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.dispatcher import control, lock
from posthouse.dispatcher.family import EX_CONFIG, EX_TEMPFAIL
from posthouse.dispatcher.programs import Images, check_services
from posthouse.dispatcher.run_folder import make_folder
from posthouse.dispatcher.user import NoSuchUser, User, may_run, owner_of, wanted_user

EX_CANTCREAT, EX_NOPERM = 73, 77
_OPEN_FILES, _FEW_FILES = 65536, 1024


class NotStarted(Exception):  # noqa: N818 - a fact, not a mistake
    """The instance is not to be started.

    Args:
        code: the exit code.
        reason: lines that say why.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def what_runs(instance: Instance, images: Images, log: logging.Logger) -> tuple[Configuration, User | None]:
    """The configuration, and the user to run as; None: as we are.

    Raises:
        NotStarted: the files are wrong, or the user cannot be had.
    """
    try:
        configuration = load(instance)
        check_services(configuration, images)
        user = wanted_user(configuration.tailor.user)
        owner = owner_of(instance.data) if user is None else None
    except ConfigurationError as error:
        raise NotStarted(EX_CONFIG, "\n".join(map(str, error.faults))) from None
    except NoSuchUser as error:
        raise NotStarted(EX_CONFIG, str(error)) from None
    if owner is not None:  # its processes could not read what root's leave there
        text = f"{instance.data} belongs to {owner.name}: start it as that user, or name it as IMTA_USER"
        raise NotStarted(EX_NOPERM, text)
    if user is not None and not may_run(user, (sys.executable, "-c", "import posthouse")):
        text = f"IMTA_USER {user.name} may not run {sys.executable}: install Posthouse where that user can read it"
        raise NotStarted(EX_CONFIG, text)
    for fault in configuration.warnings:
        log.warning("%s", fault)
    if os.geteuid() == 0 and user is None:
        log.warning("started as root without IMTA_USER: every process runs as root")
    return configuration, user


def take_the_lock(instance: Instance, user: User | None) -> int:
    """The descriptor of the family's lock; folders that are missing are made, for the user.

    Raises:
        NotStarted: it runs already, or a folder cannot be made.
    """
    try:
        _make_folders(instance, user)
        return lock.take(instance.data / "lock", hopeless=lambda: _is_served(instance))
    except lock.AlreadyRunning as error:
        raise NotStarted(EX_TEMPFAIL, str(error)) from None
    except OSError as error:
        raise NotStarted(EX_CANTCREAT, f"{error.filename}: {error.strerror}") from None


def _make_folders(instance: Instance, user: User | None) -> None:
    data = (instance.data, instance.journal, instance.queue, instance.store, instance.counters)
    for folder in (*data, instance.log, instance.run):
        make_folder(folder, user)


def _is_served(instance: Instance) -> bool:
    """Whether a supervisor answers that it means to go on: waiting for the lock is in vain."""
    try:
        return control.ask(instance.run / control.SUPERVISOR, {"op": "status"}, 2.0).get("state") != "stopping"
    except (control.NotRunning, OSError):
        return False


def raise_file_limit(log: logging.Logger) -> None:
    """As many open files as the host allows, up to 65536: connections and mailboxes need them; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if hard != resource.RLIM_INFINITY and hard < _FEW_FILES:
        log.warning("only %d files may be open, %d are needed at least (ulimit -n, LimitNOFILE)", hard, _FEW_FILES)
