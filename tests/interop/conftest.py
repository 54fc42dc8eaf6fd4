"""One relay and two stores for all foreign clients; one relay in front of foreign stores."""

from collections.abc import Iterator

import pytest

from posthouse.testing.tiers import TwoTiers
from support.interop_foreign import ForeignStores, foreign_stores
from support.interop_tiers import two_tiers


@pytest.fixture(scope="session")
def tiers() -> Iterator[TwoTiers]:
    with two_tiers() as running:
        yield running


@pytest.fixture(scope="session")
def foreign() -> Iterator[ForeignStores]:
    with foreign_stores() as running:
        yield running
