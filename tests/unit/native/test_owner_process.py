"""What an owner's process forks ends with it, even when the owner has stopped it: its note is carried out then."""

import contextlib
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from posthouse.dispatcher import descendants
from posthouse.journal.disk import LinuxDisk
from posthouse.store.native.accounts import UnixAccounts
from posthouse.store.native.entry import Quoting
from posthouse.store.native.notes import Notes
from posthouse.store.native.owner_process import Order, OwnerProcess
from posthouse.store.native.request import Request
from posthouse.store.native.settings import NativeSettings
from posthouse.store.quota.limits import Limits
from support.family_rig import wait_for
from support.native_store import passwd_file

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
ALICE = 61_001


class StoppingDisk(LinuxDisk):
    """Whoever has become the owner stops before its mailbox is durable."""

    def fsync(self, fd: "FileDescriptorLike") -> None:
        if os.geteuid() == ALICE:
            os.kill(os.getpid(), signal.SIGSTOP)
        super().fsync(fd)


def _serve(orders: socket.socket, disk: LinuxDisk, notes: Notes, root: Path, parent: int) -> None:
    settings = NativeSettings(root / "mail", root / "passwd", None, Quoting.MBOXRD, bounce=False, defaults=Limits(-1, -1))
    OwnerProcess(orders, disk, notes, UnixAccounts(settings.passwd), settings, parent).run()


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_stopped_one_in_a_spool_of_roots_ends_with_the_process_that_waits_for_it(tmp_path: Path) -> None:
    passwd_file(tmp_path / "passwd", {"alice": ALICE})
    for name in ("mail", "notes"):
        (tmp_path / name).mkdir(mode=0o755)
    disk = StoppingDisk()
    folders = [disk.open_dir(str(tmp_path / "notes"))]
    notes = Notes(disk, folders[0])
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        ours.close()
        _serve(theirs, disk, notes, tmp_path, parent)
    theirs.close()
    entry, (connection, answered) = os.memfd_create("entry"), socket.socketpair()
    os.write(entry, b"From a  b\n\n")
    order = Order(Request("alice", -1, 11, 0, b"From"), entry, connection)
    order.send(ours, notes.take())
    order.close()  # and so our end of it
    wait_for(lambda: any(_is_stopped(each) for each in descendants.children(pid)), 30)
    (stopped,) = descendants.children(pid)
    assert Path(f"/proc/{stopped}").stat().st_uid == ALICE
    pidfd = os.pidfd_open(stopped)
    try:
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        answered.settimeout(30)
        assert answered.recv(100) == b"", "nobody has its other end any more"
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for sock in (ours, answered):
            sock.close()
        for fd in (pidfd, *folders):
            os.close(fd)
