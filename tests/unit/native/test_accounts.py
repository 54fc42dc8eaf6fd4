"""The users of a passwd(5) file and of the system."""

import os
import pwd
from pathlib import Path

import pytest

from posthouse.store.mailbox.errors import MailboxIOError, MailboxNonexistent
from posthouse.store.native.accounts import Account, UnixAccounts


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    good = "jdoe:x:1001:100:John:/home/jdoe:/bin/sh\n\nMixed:x:1003:100:::\n"
    file.write_text(f"# people\n{good}bad line\nshort:x:1\nx:x:-1:1:::\n")
    accounts = UnixAccounts(file)
    assert accounts.find("jdoe") == Account("jdoe", 1001, 100)
    assert accounts.find("mixed") == Account("Mixed", 1003, 100)
    for name in ("short", "bad line", "x", "JDOE"):
        with pytest.raises(MailboxNonexistent):
            accounts.find(name)
    new = tmp_path / "new"
    new.write_text("anna:x:1002:100:::\n")
    new.rename(file)
    assert accounts.find("anna").uid == 1002
    with pytest.raises(MailboxNonexistent):
        accounts.find("jdoe")


def test_lines_no_system_would_take(tmp_path: Path) -> None:
    file = tmp_path / "passwd"
    numbers = ("4294967295", "99999999999", "9" * 5000)
    lines = [f"x{number}:x:{uid}:100:::" for number, uid in enumerate(numbers)]
    lines += [f"y{number}:x:1001:{gid}:::" for number, gid in enumerate(numbers)]
    lines += ["last:x:4294967294:100:a\u2028b\f::", "jdoe:x:1:100:::", "jdoe:x:2:100:::"]
    file.write_text("\n".join(lines), encoding="utf-8")
    accounts = UnixAccounts(file)
    for name in (line.partition(":")[0] for line in lines[:6]):
        with pytest.raises(MailboxNonexistent):
            accounts.find(name)
    assert accounts.find("last").uid == 4294967294
    assert accounts.find("jdoe").uid == 1, "the first, as with getpwnam"


def test_a_file_that_cannot_be_read_is_our_fault_not_theirs(tmp_path: Path) -> None:
    accounts = UnixAccounts(tmp_path / "missing")
    accounts.refresh()
    with pytest.raises(MailboxIOError):
        accounts.find("jdoe")
    (tmp_path / "missing").write_bytes(b"\xff\xfe")
    with pytest.raises(MailboxIOError):
        accounts.find("jdoe")


def test_the_system_s_users() -> None:
    accounts = UnixAccounts(None)
    mine = pwd.getpwuid(os.geteuid())
    assert accounts.find(mine.pw_name) == Account(mine.pw_name, mine.pw_uid, mine.pw_gid)
    with pytest.raises(MailboxNonexistent):
        accounts.find("nobody-of-this-name")
