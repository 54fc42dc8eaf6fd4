"""Becoming a mailbox's owner, for good and with nothing left of root.

Which group is needed to make files and lock files in the spool is read from the spool itself: everybody may write there, or it
is the owner's: his own group. Its group may write there (`root:mail 2775`, as Debian has it): that group and no other. Nobody
but root may: then lock file and a new mailbox are root's work, and only the appending is done as the owner.
"""

import os
import stat
from dataclasses import dataclass

from posthouse.store.native.accounts import Account


@dataclass(frozen=True, slots=True)
class Rights:
    """What an append is done with.

    Args:
        uid, gid: of the process that appends.
        root_locks: lock file and new mailboxes are made by root.
    """

    uid: int
    gid: int
    root_locks: bool


def rights_for(account: Account, spool: os.stat_result) -> Rights:
    """The rights to deliver to this user in this folder."""
    if spool.st_mode & stat.S_IWOTH or spool.st_uid == account.uid:
        return Rights(account.uid, account.gid, root_locks=False)
    if spool.st_mode & stat.S_IWGRP:
        return Rights(account.uid, spool.st_gid, root_locks=False)
    return Rights(account.uid, account.gid, root_locks=True)


def drop_to(rights: Rights) -> None:
    """Give root up: groups, group, user, in this order, and see that it is gone.

    The process stays unreadable to others of the owner (it holds root's descriptors): the kernel makes it so.

    Raises:
        OSError: the kernel refuses, or root could be had again; nothing may go on.
    """
    os.setgroups([])
    os.setresgid(rights.gid, rights.gid, rights.gid)
    os.setresuid(rights.uid, rights.uid, rights.uid)
    if os.getresuid() != (rights.uid,) * 3 or os.getresgid() != (rights.gid,) * 3 or os.getgroups():
        raise PermissionError(f"still not uid {rights.uid}")
    if rights.uid:
        try:
            os.setuid(0)
        except PermissionError:
            return
        raise PermissionError("root could be had again")
