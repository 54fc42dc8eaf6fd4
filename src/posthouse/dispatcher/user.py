"""Becoming another user: bind as root, then give root up for good (IMTA_USER)."""

import ctypes
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36


class NoSuchUser(Exception):  # noqa: N818 - a fact, not a mistake
    """IMTA_USER names nobody on this host."""


@dataclass(frozen=True, slots=True)
class User:
    """Who the processes run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def named(cls, name: str) -> "User":
        """The user of this name; `NoSuchUser` when there is none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise NoSuchUser(f"IMTA_USER {name}: there is no such user") from None
        return cls(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))


def wanted_user(name: str | None) -> User | None:
    """The user to become: none when IMTA_USER is not set or this process is not root anyway."""
    if name is None or os.geteuid() != 0:
        return None
    user = User.named(name)
    return user if user.uid else None


def owner_of(folder: Path) -> User | None:
    """The user to become where IMTA_USER names none, this process is root, and the folder is somebody else's.

    Raises:
        NoSuchUser: it belongs to a number that has no name.
    """
    if os.geteuid() != 0 or not folder.is_dir() or not (uid := folder.stat().st_uid):
        return None
    try:
        return wanted_user(pwd.getpwuid(uid).pw_name)
    except KeyError:
        raise NoSuchUser(f"{folder} belongs to user {uid}, who has no name here") from None


def become(user: User) -> None:
    """Give up root: groups, group, user, in this order. Raises OSError when the kernel refuses; then nothing may go on.

    The kernel makes /proc/self unreadable to a process that changed its user; it is made readable again, because
    starting children and reaching long socket paths need it.
    """
    os.setgroups(list(user.groups))
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    if os.getresuid() != (user.uid,) * 3:
        raise PermissionError(f"still not {user.name}")
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def adopt_orphans() -> None:
    """Processes whose parent dies become children of this one, so that the whole family always descends from it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def may_run(user: User, command: Sequence[str]) -> bool:
    """Whether that user can start this program: it may be installed where only root can read."""
    try:
        done = subprocess.run(
            command, user=user.uid, group=user.gid, extra_groups=list(user.groups), stdin=subprocess.DEVNULL, check=False, cwd="/"
        )
    except OSError:
        return False
    return done.returncode == 0


def runs_as(pid: int, pidfd: int, user: User) -> bool:
    """Whether the process of this descriptor has that pid, lives, and is that user's with all its uids.

    Root sends signals by descriptors that a process of the user's has given it: they must not be other people's.
    """
    try:
        told = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii")
        uids = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").partition("\nUid:")[2].split()[:4]
    except OSError:
        return False
    return f"\nPid:\t{pid}\n" in told and uids == [str(user.uid)] * 4
