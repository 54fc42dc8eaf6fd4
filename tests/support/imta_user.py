"""For journeys as IMTA_USER: a Python that the user may run with our packages, this one or the system's of the same version."""

import subprocess
import sys
from pathlib import Path

import pytest
import uvloop

import posthouse

USER, GROUP = "nobody", "nogroup"


def packages() -> dict[str, str]:
    """The environment in which another Python finds what this one has."""
    folders = [Path(str(module.__file__)).parents[1] for module in (posthouse, uvloop)]
    return {"PYTHONPATH": ":".join(str(folder) for folder in folders), "PYTHONDONTWRITEBYTECODE": "1"}


def python_of_everybody() -> str:
    """Its path; the test is skipped where there is none."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = [python, "-c", "import posthouse.dispatcher.supervisor"]
        try:
            subprocess.run(command, user=USER, group=GROUP, check=True, env=packages(), cwd="/", capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"no Python that {USER} may run has our packages")


def use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `posthouse` this test starts runs with that Python."""
    monkeypatch.setattr(sys, "executable", python_of_everybody())
    for name, value in packages().items():
        monkeypatch.setenv(name, value)
