"""Moments given to commands."""

import pytest

from posthouse.cli.moment import moment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1783684800", 1783684800.0),
        ("1783684800.5", 1783684800.5),
        ("2026-07-10T12:00Z", 1783684800.0),
        ("2026-07-10T14:00:00+02:00", 1783684800.0),
        ("2026-07-10T12:00", 1783684800.0),
        ("2026-07-10", 1783641600.0),
        ("20260710120000Z", 1783684800.0),
    ],
)
def test_forms(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize("text", ["", "nan", "inf", "tomorrow", "2026-13-01", "20261310120000Z", "9" * 400])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        moment(text)
