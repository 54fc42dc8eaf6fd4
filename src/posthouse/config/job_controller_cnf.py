"""job_controller.cnf: pools, channel programs, periodic jobs (job-controller-cnf 2).

A POOL or CHANNEL option before the first section is the default of that option everywhere. For a channel the section of its
exact name counts, else the longest pattern that matches; `*` matches any rest.
"""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from posthouse.config.sections import Section, Values, read_sections
from posthouse.config.source import Source
from posthouse.config.value import names

_GLOBAL = names("TCP_PORT INTERFACE_ADDRESS SECRET DEBUG MAX_MESSAGES SYNCH_TIME")
_POOL = frozenset({"JOB_LIMIT"})
_CHANNEL = names("MASTER_COMMAND SLAVE_COMMAND MAX_LIFE_AGE MAX_LIFE_CONNS")
_PERIODIC = names("COMMAND TIME")
_IGNORED = names(
    "ANON_HOST USE_NSLOG REBUILD_PARALLEL_CHANNEL FAST_JOB STRESS_BLACKOUT STRESS_FACTOR STRESS_JOBS STRESS_TIME UNSTRESS_JOBS"
)
_SECTIONS = {"POOL": _POOL, "CHANNEL": _CHANNEL, "PERIODIC_JOB": _PERIODIC}
_TIME = re.compile(r"(?:(\d{1,2}):(\d{2}))?/(\d{1,3}):(\d{2})")
PERIODIC_PROGRAMS = ("return_job", "synch")


def program_name(command: str) -> str:
    """The program a command means: the last part of its first word, lower case."""
    first, *_ = command.split(maxsplit=1) or [""]
    return first.replace(":", "/").replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")


@dataclass(frozen=True, slots=True)
class Pool:
    """At most this many jobs at once."""

    name: str
    job_limit: int


@dataclass(frozen=True, slots=True)
class ChannelSection:
    """What runs for channels of a name or pattern."""

    pattern: str
    master_command: str
    """as written, empty when none"""
    max_life_age: int
    """seconds"""
    max_life_conns: int
    file: str
    line: int

    @property
    def program(self) -> str:
        """Last part of the master command, lower case: `tcp_smtp_client`, `reprocess`, ..."""
        return program_name(self.master_command)


@dataclass(frozen=True, slots=True)
class Times:
    """`HH:MM/hh:mm`: first at this second of the day (None: one period after the start), then every so many seconds."""

    first: int | None
    every: int


@dataclass(frozen=True, slots=True)
class PeriodicJob:
    """One housekeeping job."""

    name: str
    command: str
    times: Times


DEFAULT_TIMES = Times(None, 4 * 3600)


@dataclass(frozen=True, slots=True)
class JobControllerCnf:
    """The file's content."""

    pools: Mapping[str, Pool]
    """by upper-case name, in file order; never empty"""
    sections: tuple[ChannelSection, ...]
    periodic_jobs: tuple[PeriodicJob, ...]
    default_section: ChannelSection
    """for a channel no section matches"""
    max_messages: int
    synch_time: Times

    @property
    def first_pool(self) -> Pool:
        """Where jobs of channels without `pool` run."""
        return next(iter(self.pools.values()))

    def pool(self, name: str | None) -> Pool | None:
        """The pool of that name, any case; None as a name means the first one."""
        return self.first_pool if name is None else self.pools.get(name.upper())

    def for_channel(self, name: str) -> ChannelSection:
        """What runs for the channel."""
        exact = next((section for section in self.sections if section.pattern == name.lower()), None)
        if exact:
            return exact
        fits = [section for section in self.sections if _fits(section.pattern, name.lower())]
        return max(fits, key=lambda section: len(section.pattern), default=self.default_section)


def _fits(pattern: str, name: str) -> bool:
    return "*" in pattern and fnmatch.fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))


def read_job_controller_cnf(path: Path, source: Source) -> JobControllerCnf:
    """The whole file; faults go to the source."""
    everywhere, sections = read_sections(path, source, tuple(_SECTIONS))
    _check_names(everywhere, _GLOBAL | _POOL | _CHANNEL, source)
    for section in sections:
        _check_names(section, _SECTIONS[section.kind], source)
    values = Values((everywhere,), source)
    pools = {
        section.name.upper(): Pool(section.name, Values((section, everywhere), source).integer("JOB_LIMIT", 10, 1))
        for section in sections
        if section.kind == "POOL"
    }
    return JobControllerCnf(
        pools=MappingProxyType(pools or {"DEFAULT": Pool("DEFAULT", values.integer("JOB_LIMIT", 10, 1))}),
        sections=tuple(_channel(section, everywhere, source) for section in sections if section.kind == "CHANNEL"),
        periodic_jobs=tuple(_periodic(section, source) for section in sections if section.kind == "PERIODIC_JOB"),
        default_section=_channel(everywhere, everywhere, source),
        max_messages=values.integer("MAX_MESSAGES", 100_000, 10),
        synch_time=_times(values, "SYNCH_TIME", source),
    )


def _check_names(section: Section, known: frozenset[str], source: Source) -> None:
    for option in section.options:
        if option.name in _IGNORED or option.name.startswith("STRESS"):
            source.faults.warn(option.file, option.line, f"option {option.name} is not supported and does nothing")
        elif option.name not in known:
            source.faults.warn(option.file, option.line, f"unknown option {option.name}")


def _channel(section: Section, everywhere: Section, source: Source) -> ChannelSection:
    values = Values((section, everywhere), source)
    return ChannelSection(
        pattern=section.name.lower() or "*",
        master_command=values.text("MASTER_COMMAND"),
        max_life_age=values.integer("MAX_LIFE_AGE", 14400, 1),
        max_life_conns=values.integer("MAX_LIFE_CONNS", 300, 1),
        file=section.file,
        line=section.line,
    )


def _periodic(section: Section, source: Source) -> PeriodicJob:
    values = Values((section,), source)
    command = values.option("COMMAND")
    if command is None or not command.text:
        source.faults.error(section.file, section.line, f"periodic job {section.name} has no COMMAND")
    elif program_name(command.text) not in PERIODIC_PROGRAMS:
        reason = f"periodic job {section.name}: {command.text[:60]} is not run, only {' and '.join(PERIODIC_PROGRAMS)} are"
        source.faults.warn(command.file, command.line, reason)
    return PeriodicJob(section.name, values.text("COMMAND"), _times(values, "TIME", source))


def _times(values: Values, name: str, source: Source) -> Times:
    option = values.option(name)
    if not option:
        return DEFAULT_TIMES
    match = _TIME.fullmatch(option.text)
    every = (int(match[3]) * 60 + int(match[4])) * 60 if match else 0
    first = (int(match[1]) * 60 + int(match[2])) * 60 if match and match[1] else None
    if not every or (first is not None and first >= 86400):
        source.faults.error(option.file, option.line, f"{name}: {option.text[:40]!r} is not HH:MM/hh:mm or /hh:mm")
        return DEFAULT_TIMES
    return Times(first, every)
