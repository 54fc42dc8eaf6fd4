"""Sieve scripts of channels: which file is read, and what is refused before mail comes."""

from pathlib import Path

import pytest

from posthouse.config.channel_filters import Side
from posthouse.config.fault import ConfigurationError, Severity
from posthouse.relay.scripts.channel_scripts import check
from support.relay_files import CHANNELS, relay_configuration


def channels(keywords: str) -> str:
    return CHANNELS.replace("tcp_local smtp", f"tcp_local {keywords} smtp")


@pytest.mark.parametrize(
    "url", ["file:in.sieve", "in.sieve", "FILE:in.sieve", "file://{folder}/config/in.sieve", "{folder}/config/in.sieve"]
)
def test_the_file_a_url_names(tmp_path: Path, url: str) -> None:
    text = channels(f"sourcefilter {url.format(folder=tmp_path)}")
    (found,) = relay_configuration(tmp_path, channels=text, more={"in.sieve": "discard;"}).channel_filters
    assert (found.channel, found.side, found.script) == ("tcp_local", Side.SOURCE, "discard;")


@pytest.mark.parametrize("keyword", ["destinationfilter", "channelfilter"])
def test_both_names_of_the_other_side(tmp_path: Path, keyword: str) -> None:
    text = channels(f"sourcefilter a {keyword} b")
    found = relay_configuration(tmp_path, channels=text, more={"a": "keep;", "b": "stop;"}).channel_filters
    assert [(each.side, each.script) for each in found] == [(Side.SOURCE, "keep;"), (Side.DESTINATION, "stop;")]


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ("sourcefilter missing.sieve", "No such file"),
        ("sourcefilter ssrd:$A", "only files are read"),
        ("sourcefilter http://x/y", "only files are read"),
    ],
)
def test_what_is_refused(tmp_path: Path, keywords: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        relay_configuration(tmp_path, channels=channels(keywords), more={"a": "keep;"})
    (fault,) = refused.value.faults
    assert reason in fault.reason
    assert (fault.file, fault.line > 0) == ("config/imta.cnf", True)


def test_the_last_one_of_the_same_side_counts(tmp_path: Path) -> None:
    text = channels("destinationfilter missing channelfilter a")
    (found,) = relay_configuration(tmp_path, channels=text, more={"a": "keep;"}).channel_filters
    assert found.script == "keep;"


def test_nofilter_puts_it_out(tmp_path: Path) -> None:
    assert relay_configuration(tmp_path, channels=channels("sourcefilter missing nosourcefilter")).channel_filters == ()


def test_scripts_are_compiled_by_check(tmp_path: Path) -> None:
    more = {"a": 'require "vacation";\nvacation "away";', "b": "kep;\nkeep;"}
    first, second = check(relay_configuration(tmp_path, channels=channels("sourcefilter a destinationfilter b"), more=more))
    assert (first.severity, second.severity) == (Severity.WARNING, Severity.ERROR)
    assert "vacation does nothing" in first.reason
    assert "destinationfilter b: line 1: unknown command 'kep'" in second.reason
