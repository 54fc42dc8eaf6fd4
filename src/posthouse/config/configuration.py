"""The whole configuration of an instance, read at once.

`load` reads every file and finds every fault before it refuses. What an instance needs is imta.cnf and dispatcher.cnf; every
other file may be missing. The value never changes: a reload makes a new one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

from posthouse.config.aliases import Alias, read_aliases
from posthouse.config.channel_filters import ChannelFilter, read_channel_filters
from posthouse.config.checks import check_channels, check_demands, check_services, check_unread_files, check_ways_out
from posthouse.config.dispatcher_cnf import DispatcherCnf, read_dispatcher_cnf
from posthouse.config.fault import ConfigurationError, Fault, Faults
from posthouse.config.general import read_general
from posthouse.config.hosts import read_hosts
from posthouse.config.imta_cnf import ImtaCnf, read_imta_cnf
from posthouse.config.instance import Instance
from posthouse.config.job_controller_cnf import JobControllerCnf, read_job_controller_cnf
from posthouse.config.mappings import MappingTable, read_mappings
from posthouse.config.option_file import OptionFile, read_channel_option, read_option_dat
from posthouse.config.pipe_programs import FILE as PIPE_PROGRAMS
from posthouse.config.pipe_programs import PipeProgram, read_pipe_programs
from posthouse.config.return_texts import OUR_TEXTS, ReturnTexts, read_return_texts
from posthouse.config.source import Source
from posthouse.config.srs import SrsOptions, read_srs
from posthouse.config.store_conf import StoreConf, read_store_conf
from posthouse.config.tailor import Tailor, default_tailor, read_tailor
from posthouse.config.value import BadValueError


@dataclass(frozen=True, slots=True)
class Configuration:
    """Every file of the instance."""

    instance: Instance
    imta: ImtaCnf
    options: OptionFile
    mappings: tuple[MappingTable, ...]
    dispatcher: DispatcherCnf
    job_controller: JobControllerCnf | None
    """None when there is no job_controller.cnf"""
    tailor: Tailor
    general: Mapping[str, str]
    """lower-case key to value; empty unless USE_TEXT_DATABASES has bit 0"""
    aliases: Mapping[str, Alias]
    """by lower-case name"""
    store: StoreConf
    hosts: Mapping[str, tuple[str, ...]]
    """lower-case name to addresses"""
    channel_options: Mapping[str, OptionFile] = field(repr=False)
    ldif_file: Path | None
    """LDAP_LDIF_FILE, relative to the config folder; None when not set"""
    warnings: tuple[Fault, ...]
    srs: SrsOptions | None = None
    """None: senders of forwarded mail are not rewritten"""
    returns: ReturnTexts = OUR_TEXTS
    """the site's own words for notices"""
    pipe_programs: Mapping[str, PipeProgram] = field(default_factory=lambda: MappingProxyType({}))
    """by lower-case name"""
    channel_filters: tuple[ChannelFilter, ...] = ()
    """Sieve scripts of channels"""
    files: Mapping[Path, str] = field(default_factory=lambda: MappingProxyType({}), repr=False, compare=False)
    """digests of all that were read, by path; empty for one that was not there"""

    def channel_option(self, channel: str) -> OptionFile:
        """`<channel>_option`, empty when there is no such file."""
        return self.channel_options.get(channel.lower(), _NO_OPTIONS)

    @property
    def notice_unit(self) -> float:
        """RETURN_UNITS: seconds in one unit of `notices`; an unknown number counts as days."""
        return _NOTICE_UNITS.get(self.options.integer("RETURN_UNITS", 0), 86400.0)


_NO_OPTIONS = OptionFile()
_NOTICE_UNITS = {0: 86400.0, 1: 3600.0, 3: 1.0}


Check: TypeAlias = Callable[[Configuration], Iterable[Fault]]
"""a check of a higher layer; it is given the configuration even when that has faults"""


def load(instance: Instance, *checks: Check) -> Configuration:
    """Reads the instance's files.

    Args:
        instance: the folder.
        checks: more checks (mappings, rewrite templates), so that their faults are reported together with ours.

    Raises:
        ConfigurationError: with every fault of every file.
    """
    faults = Faults()
    first = Source(instance, faults, default_tailor(instance).path)
    tailor = read_tailor(instance, first)
    source = Source(instance, faults, tailor.path)
    configuration = _read(instance, tailor, source)
    for further in checks:
        for fault in further(configuration):
            faults.add(fault)
    if faults.has_errors:
        raise ConfigurationError(faults.all)
    return replace(configuration, warnings=faults.warnings, files=MappingProxyType({**first.read, **source.read}))


def _read(instance: Instance, tailor: Tailor, source: Source) -> Configuration:
    faults = source.faults
    for needed in (tailor.imta_cnf, tailor.dispatcher_cnf):
        if not needed.exists():
            faults.error(instance.name_of(needed), 0, "does not exist")
    imta = read_imta_cnf(tailor.imta_cnf, source)
    name = instance.name_of(tailor.imta_cnf)
    if not imta.channels and not faults.about(name):
        faults.error(name, 0, "no channel block; a blank line must stand before the first one")
    options = read_option_dat(tailor.option_dat, source)
    mappings = read_mappings(tailor.mappings, source)
    dispatcher = read_dispatcher_cnf(tailor.dispatcher_cnf, source, tailor)
    source.note(tailor.job_controller_cnf)
    has_jobs = tailor.job_controller_cnf.exists()
    jobs = read_job_controller_cnf(tailor.job_controller_cnf, source) if has_jobs else None
    check_channels(imta, jobs, faults)
    check_services(dispatcher, imta, mappings, faults)
    per_channel = {name: read_channel_option(tailor.table / f"{name}_option", source) for name in imta.channels}
    check_ways_out(imta, per_channel, tailor, faults)
    check_unread_files(tailor.table, imta, instance.name_of, faults)
    check_demands(dispatcher, imta, per_channel, faults)
    return Configuration(
        instance=instance,
        imta=imta,
        options=options,
        mappings=mappings,
        dispatcher=dispatcher,
        job_controller=jobs,
        tailor=tailor,
        general=read_general(tailor.table / "general.txt", source) if _text_general(options) else MappingProxyType({}),
        aliases=read_aliases(tailor.aliases, source),
        store=read_store_conf(tailor.table / "store.conf", source),
        hosts=read_hosts(_named(options, "HOSTS_FILE", tailor, faults) or tailor.table / "hosts", source),
        channel_options=MappingProxyType({name: option for name, option in per_channel.items() if option.values}),
        ldif_file=_named(options, "LDAP_LDIF_FILE", tailor, faults),
        warnings=(),
        returns=read_return_texts(tailor.table, source),
        srs=read_srs(options, _named(options, "SRS_SECRET_FILE", tailor, faults), source),
        pipe_programs=read_pipe_programs(tailor.table / PIPE_PROGRAMS, source),
        channel_filters=read_channel_filters(imta, tailor, source),
    )


def _text_general(options: OptionFile) -> bool:
    try:
        return bool(options.integer("USE_TEXT_DATABASES") & 1)
    except BadValueError:  # already reported when option.dat was read
        return False


def _named(options: OptionFile, name: str, tailor: Tailor, faults: Faults) -> Path | None:
    """The file an option names, relative to the config folder; a missing one is a fault."""
    value = options.get(name)
    if not value or not value.text:
        return None
    path = tailor.path(value.text, tailor.table)
    if not path.is_file():
        faults.error(value.file, value.line, f"{name}: {value.text} does not exist")
        return None
    return path
