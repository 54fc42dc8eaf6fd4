"""Quota notices: mail of the store itself into an owner's INBOX, past the quota and not counted in it (message-store 4).

At most one in an interval, neither lost nor doubled by a crash. Under the owner's lock, in this order:

    1  `notice begun` in the owner's saved quota, synced
    2  the file in `tmp/`, synced; renamed into `new/`; the folders synced
    3  `noticed`, and `notice begun` taken back

Whoever finds `notice begun` under the lock knows that nobody is at work on it: that process died, or failed. A notice in any
folder, by its name not older, means that step 2 was done; otherwise it is begun anew. Whatever fails here delays nobody's mail:
the owner's notices rest for `PAUSE` seconds. Steps 1 and 2 run in a thread; the lock is held meanwhile, deliveries of this
process go on. At most `MOST` are under way, so that the locks are not held long: further owners are told with their next message.
"""

import logging
import math
from typing import TYPE_CHECKING

from posthouse.journal.disk import Disk
from posthouse.store.delivery.account import Account
from posthouse.store.delivery.accounts import Accounts
from posthouse.store.delivery.placement import remove, write_tmp
from posthouse.store.mailbox.base_name import BaseNames
from posthouse.store.mailbox.recount import has_notice
from posthouse.store.quota.decision import Usage
from posthouse.store.quota.limits import Limits
from posthouse.store.quota.notification import Notification

if TYPE_CHECKING:
    from posthouse.store.delivery.admission import Surroundings

PAUSE = 60.0
MOST = 32
_log = logging.getLogger("posthouse.store")


class QuotaNotices:
    """Sends the notices of one process."""

    def __init__(self, disk: Disk, accounts: Accounts, names: BaseNames, around: "Surroundings") -> None:
        self._disk = disk
        self._accounts = accounts
        self._names = names
        self._around = around
        self._under_way = 0

    def look(self, account: Account, notification: Notification, defaults: Limits) -> None:
        """Send a notice if one is due. The caller holds the account's lock and has settled an addressee."""
        saved, now = account.saved, self._around.now()
        if now < account.notices_rest:
            return
        if not saved.notice_begun and notification.rests(saved.noticed, now):
            return
        limits = saved.limits.resolved(defaults)
        usage = Usage(*account.usage)
        try:
            if saved.notice_begun and has_notice(self._disk, account.maildir.root, saved.notice_begun):
                account.save(saved._replace(noticed=saved.notice_begun, notice_begun=0.0))
            elif self._under_way < MOST and notification.passed(usage, limits):
                self._begin(account, notification.compose(account.maildir.owner, usage, limits, now), float(int(now)))
        except Exception as error:  # the caller is about to answer for a message: nothing here may keep it from that
            self._failed(account, error, now)

    def _begin(self, account: Account, stored: bytes, begun: float) -> None:
        account.save(account.saved._replace(notice_begun=begun))
        name = self._names.notice(len(stored), len(stored) + stored.count(b"\n"))
        account.notices_rest = math.inf
        self._under_way += 1
        account.hold()
        self._around.in_thread(lambda: self._place(account, name, stored), lambda result: self._placed(account, begun, result))

    def _place(self, account: Account, name: str, stored: bytes) -> None:
        """Steps 1 and 2."""
        disk, maildir = self._disk, account.maildir
        account.sync_saved()
        disk.fsync_dir(maildir.root)
        disk.fsync_dir(maildir.partition)
        file = write_tmp(disk, name, maildir.tmp, stored)
        try:
            disk.fsync(file)
            disk.rename(name, name, maildir.tmp, maildir.new)
        except OSError:
            remove(disk, name, maildir.tmp)
            raise
        finally:
            disk.close(file)
        disk.fsync_dir(maildir.new)

    def _placed(self, account: Account, begun: float, result: object) -> None:
        """Step 3, in the loop again."""
        account.notices_rest = 0.0
        self._under_way -= 1
        now = self._around.now()
        try:
            if isinstance(result, Exception):
                self._failed(account, result, now)
            else:
                account.save(account.saved._replace(noticed=begun, notice_begun=0.0))
                _log.info("quota notice to %s", account.maildir.owner)
        except OSError as error:
            self._failed(account, error, now)
        finally:
            account.leave()
            self._accounts.left(account)

    def _failed(self, account: Account, error: Exception, now: float) -> None:
        account.notices_rest = now + PAUSE
        _log.warning("quota notice to %s: %s", account.maildir.owner, error)
