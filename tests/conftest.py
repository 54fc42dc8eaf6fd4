"""A test that failed once and passed when run again is shown with its first failure: chance is seen and not hidden.

`make test` gives each test one second run (docs/decisions/0142): a fault of the product fails both. An example of a property may
take its time: a busy machine is no fault.

Temporary folders stand on a disk: where `/tmp` is in memory, as Debian 13 has it, in `/var/tmp`. In memory no barrier is trusted,
and a store that syncs each message by itself never comes into most of the states a crash is tested in.
"""

import os
import tempfile

import pytest
from hypothesis import HealthCheck, settings

from posthouse.journal.barrier import TRUSTED
from posthouse.journal.disk import LinuxDisk

settings.register_profile("posthouse", settings.default, deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("posthouse")


def _is_on_a_disk(folder: str) -> bool:
    disk = LinuxDisk()
    opened = disk.open_dir(folder)
    try:
        return disk.fstype(opened) in TRUSTED
    finally:
        disk.close(opened)


if not _is_on_a_disk(tempfile.gettempdir()) and _is_on_a_disk("/var/tmp"):
    os.environ["TMPDIR"] = tempfile.tempdir = "/var/tmp"


def pytest_report_header() -> str | None:
    """Tell when there is no such folder."""
    folder = tempfile.gettempdir()
    return None if _is_on_a_disk(folder) else f"{folder} is not on ext4, xfs or btrfs: some tests will fail; set TMPDIR"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print why each test that was run twice failed the first time."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first run of {report.nodeid}", sep="_")
        terminalreporter.write_line(report.longreprtext)
