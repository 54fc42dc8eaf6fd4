"""The text format of Prometheus, version 0.0.4: families of samples as lines. Pure.

# HELP queue_files Copies that wait.
# TYPE queue_files gauge
queue_files{channel="tcp_lmtpcs",state="held"} 2
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One number."""

    value: float
    labels: Labels = ()
    suffix: str = ""
    """of a summary: `_sum` or `_count`"""


class Family(NamedTuple):
    """All samples of one name."""

    name: str
    kind: str
    """counter, gauge or summary"""
    purpose: str
    samples: tuple[Sample, ...]


def render(families: Iterable[Family]) -> str:
    """The text; families without a sample are left out."""
    return "".join(f"{line}\n" for family in families if family.samples for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.purpose}"
    yield f"# TYPE {family.name} {family.kind}"
    for value, labels, suffix in family.samples:
        shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
        yield f"{family.name}{suffix}{{{shown}}} {value}" if shown else f"{family.name}{suffix} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
