"""A test that failed once and passed when run again is shown with its first failure: chance is seen and not hidden.

`make test` gives each test one second run (docs/decisions/0142): a fault of the product fails both. An example of a property may
take its time: a busy machine is no fault.
"""

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("posthouse", settings.default, deadline=None, suppress_health_check=(HealthCheck.too_slow,))
settings.load_profile("posthouse")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print why each test that was run twice failed the first time."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first run of {report.nodeid}", sep="_")
        terminalreporter.write_line(report.longreprtext)
