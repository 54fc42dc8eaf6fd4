from pathlib import Path

import pytest

from support.people import EXAMPLE, Attributes, MemoryDirectory
from support.relay_files import relay_rules
from support.routing_relay import MakeRelay, Relay


@pytest.fixture
def make_relay(tmp_path: Path) -> MakeRelay:
    """make_relay(entries, rules=..., options=..., ...): a relay with these files."""

    def make(entries: dict[str, Attributes] | None = None, **files: str) -> Relay:
        return Relay(relay_rules(tmp_path, **files), MemoryDirectory(entries or EXAMPLE))

    return make


@pytest.fixture
def relay(make_relay: MakeRelay) -> Relay:
    """The relay of the chapter."""
    return make_relay()
