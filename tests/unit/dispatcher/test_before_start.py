"""What is looked at before a start: what `check` would warn of is in the log, line by line."""

import logging
import os
from pathlib import Path

import pytest

from posthouse.dispatcher.before_start import what_runs
from posthouse.dispatcher.programs import IMAGES
from support.store_files import store_instance


def test_warnings_of_the_files_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    instance = store_instance(tmp_path, "store.nosuchsetting = 1")
    what_runs(instance, IMAGES, logging.getLogger("tester"))
    lines = [record.getMessage() for record in caplog.records]
    assert any("store.conf:2" in line and "store.nosuchsetting" in line for line in lines), lines
    assert any("started as root" in line for line in lines) == (os.geteuid() == 0)
