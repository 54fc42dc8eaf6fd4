"""Whose the lock file is: commands that work as the store's user must be able to ask for it."""

import os
from pathlib import Path

from posthouse.dispatcher import lock

NOBODY = 65534


def given_away(folder: Path) -> Path:
    """The folder belongs to somebody else, where this process can make it so."""
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    return folder / "lock"


def test_the_lock_belongs_to_whom_the_folder_belongs_to(tmp_path: Path) -> None:
    path = given_away(tmp_path)
    os.close(lock.take(path, 0.0))
    assert path.stat().st_uid == tmp_path.stat().st_uid


def test_a_file_with_a_second_name_is_not_given_away(tmp_path: Path) -> None:
    (tmp_path / "precious").touch(0o600)
    path = given_away(tmp_path)
    os.link(tmp_path / "precious", path)
    os.close(lock.take(path, 0.0))
    assert path.stat().st_uid == os.geteuid()
