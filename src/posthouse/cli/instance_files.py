"""An instance folder and the configuration files in it, made of the templates.

A folder that is not empty is refused (73) unless --force is given; then the configuration is written over and everything
below data/ is left as it is. What was made is durable in the end: a power failure leaves no empty files.
"""

import contextlib
import os
import pwd
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from posthouse.cli.init_arguments import CANNOT_CREATE, NO_USER, refuse
from posthouse.cli.instance_option import is_utf8

FILES = ("imta.cnf", "option.dat", "mappings", "dispatcher.cnf", "job_controller.cnf", "imta_tailor")
"""what every instance has"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written, once every argument was found good."""

    folder: Path
    words: dict[str, str]
    files: tuple[str, ...]
    """templates, each with its tier's folder"""
    hosts: str = ""
    general: str = ""
    user: str | None = None
    folders: tuple[tuple[Path, bool], ...] = ()
    """others to make, and whether many users' mailboxes are in it"""


def write_instance(plan: Plan, *, force: bool) -> None:
    """Make it.

    Raises:
        SystemExit: it cannot be made; what is wrong is on stderr.
    """
    folder = plan.folder
    for text in (str(folder.absolute()), *(line for value in plan.words.values() for line in value.splitlines())):
        if not is_utf8(text):
            raise refuse(f"{text!a}: paths and names must be UTF-8")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not force)):
        raise refuse(f"{folder}: not an empty folder; --force writes the configuration over", CANNOT_CREATE)
    if plan.user is not None:
        try:
            pwd.getpwnam(plan.user)
        except KeyError:
            raise refuse(f"--user {plan.user}: no such user", NO_USER) from None
    words = {**plan.words, "user": f"IMTA_USER={plan.user}" if plan.user else "! IMTA_USER=mailsrv"}
    templates = resources.files("posthouse.cli") / "templates"
    above = [path for path in folder.absolute().parents if not path.exists()]
    try:
        for name in ("config", "data/queue", "data/journal", "data/store", "data/counters", "log", "run"):
            (folder / name).mkdir(mode=0o755 if name == "config" else 0o700, parents=True, exist_ok=True)
        for name in plan.files:
            text = (templates / name).read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace("{{" + word + "}}", value)
            (folder / "config" / name.rpartition("/")[2]).write_text(text, encoding="utf-8")
        for path, shared in plan.folders:
            _make_mail_folder(path, shared=shared, user=plan.user)
        for name, text in (("hosts", plan.hosts), ("general.txt", plan.general)):
            if text:
                (folder / "config" / name).write_text(text, encoding="utf-8")
        if plan.user is not None and os.geteuid() == 0:
            for path in (folder / "data", folder / "log", folder / "run", *(folder / "data").iterdir()):
                shutil.chown(path, plan.user)
            (folder / "data").chmod(0o700)
            _let_in(folder, plan.user)
        _sync((*(folder / "config").iterdir(), *(folder / "data").iterdir(), *folder.iterdir(), folder, folder.absolute().parent))
        _sync(path.parent for path in above)
    except OSError as error:
        raise refuse(f"{error.filename}: {error.strerror}", CANNOT_CREATE) from None


def _let_in(folder: Path, user: str) -> None:
    """The user's group may read the configuration where root's umask let nobody but root."""
    for path in (folder, folder / "config", *(folder / "config").iterdir()):
        missing = 0o050 if path.is_dir() else 0o040
        mode = path.stat().st_mode & 0o7777
        if mode & (missing >> 3) != missing >> 3:
            os.chown(path, -1, pwd.getpwnam(user).pw_gid)
            path.chmod(mode | missing)


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        # what cannot be read is not of our making: a folder above, somebody's key beside the configuration
        if os.access(path, os.R_OK) and (path.is_file() or path.is_dir()):
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


def _make_mail_folder(path: Path, *, shared: bool, user: str | None) -> None:
    """A folder mail is appended in, as Debian has /var/mail; one that is there already is left as it is."""
    if path.is_dir():
        return
    path.mkdir(parents=True)
    if os.geteuid() != 0:
        return
    if shared:
        with contextlib.suppress(LookupError):
            shutil.chown(path, "root", "mail")
        path.chmod(0o2775)
    elif user is not None:
        shutil.chown(path, user)
