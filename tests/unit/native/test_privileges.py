"""Root is given up whole; which group is taken depends on the spool."""

import os
import stat
from pathlib import Path

import pytest

from posthouse.store.native.accounts import Account
from posthouse.store.native.privileges import Rights, drop_to, rights_for

ALICE = Account("alice", 61_001, 61_011)


def spool(mode: int, uid: int = 0, gid: int = 8) -> os.stat_result:
    return os.stat_result((stat.S_IFDIR | mode, 1, 1, 2, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("found", "rights"),
    [
        (spool(0o2775), Rights(61_001, 8, root_locks=False)),
        (spool(0o1777), Rights(61_001, 61_011, root_locks=False)),
        (spool(0o755), Rights(61_001, 61_011, root_locks=True)),
        (spool(0o700, uid=61_001), Rights(61_001, 61_011, root_locks=False)),
    ],
)
def test_which_rights(found: os.stat_result, rights: Rights) -> None:
    assert rights_for(ALICE, found) == rights


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give root up")
def test_nothing_of_root_is_left(tmp_path: Path) -> None:
    out = os.open(tmp_path / "status", os.O_WRONLY | os.O_CREAT, 0o600)
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgroups([0, 8, 12])
            drop_to(Rights(61_001, 8, root_locks=False))
            for become in (os.setuid, os.setgid, os.seteuid, os.setegid):
                try:
                    become(0)
                except PermissionError:
                    continue
                os._exit(2)
            if os.access(secret, os.R_OK, effective_ids=True):
                os._exit(3)
            os.write(out, Path("/proc/self/status").read_bytes())
            code = 0
        finally:
            os._exit(code)
    os.close(out)
    assert os.waitpid(pid, 0)[1] == 0
    lines = dict(line.split(":\t", 1) for line in (tmp_path / "status").read_text().splitlines() if ":\t" in line)
    assert lines["Uid"].split() == ["61001"] * 4
    assert lines["Gid"].split() == ["8"] * 4
    assert lines["Groups"].split() == []
    assert int(lines["CapEff"], 16) == int(lines["CapPrm"], 16) == 0
