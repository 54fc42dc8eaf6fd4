"""`status` says that the program on disk is newer than what runs."""

import os
import time
from pathlib import Path
from typing import Any

from posthouse.cli.installed import changed_since


def rows(ago: float) -> list[dict[str, Any]]:
    began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - ago))
    return [{"role": "dispatcher", "since": "2020-01-01T00:00:00Z"}, {"role": "supervisor", "since": began}]


def test_files_put_in_place_after_the_start_are_told_whatever_their_date(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    module = tmp_path / "inner" / "module.py"
    module.touch()
    os.utime(module, (1, 1))  # as a Debian package puts it there
    assert changed_since(rows(60), tmp_path) == module.stat().st_ctime
    assert changed_since(rows(-60), tmp_path) is None
    assert changed_since([], tmp_path) is None


def test_links_that_lead_nowhere_and_a_package_without_files_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / ".#module.py").symlink_to("user@host.4711")  # what Emacs keeps beside a file that is being edited
    assert changed_since(rows(60), tmp_path) is None
