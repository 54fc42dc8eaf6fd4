"""The text format of Prometheus, version 0.0.4: families of samples as lines. Pure.

# HELP queue_files Copies that wait.
# TYPE queue_files gauge
queue_files{channel="tcp_lmtpcs",state="held"} 2
"""

import re
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


_LABEL_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
OURS = frozenset({"address", "channel", "code", "port", "role", "service", "state", "what", "why"})
"""names of the labels our families have"""


class BadLabelError(ValueError):
    """It is no NAME=VALUE that every sample can have."""


def label_of(text: str) -> tuple[str, str]:
    """A label that somebody wants on every sample.

    Raises:
        BadLabelError: it is none, or its name is one of ours.
    """
    name, equals, value = text.partition("=")
    if not equals or not value or not _LABEL_NAME.fullmatch(name):
        raise BadLabelError("write NAME=VALUE, the name of letters, digits and `_`")
    if name in OURS:
        raise BadLabelError(f"samples have a label `{name}` already")
    return name, value


def render(families: Iterable[Family], common: Labels = ()) -> str:
    """The text, every sample with the common labels; families without a sample are left out."""
    return "".join(f"{line}\n" for family in families if family.samples for line in _lines(family, common))


def _lines(family: Family, common: Labels) -> Iterator[str]:
    yield f"# HELP {family.name} {family.purpose}"
    yield f"# TYPE {family.name} {family.kind}"
    for value, labels, suffix in family.samples:
        shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in (*common, *labels))
        yield f"{family.name}{suffix}{{{shown}}} {value}" if shown else f"{family.name}{suffix} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
