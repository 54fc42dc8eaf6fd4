"""The tailor file: where everything else is (dispatcher-cnf 7). `imta_tailor`, else `imta.tailor`; neither is needed.

    OPTION=value        `!` comments, blank lines; folders end with `/`
    <msg.RootPath>      at the start of a value: the instance's folder

`NAME:rest` in any path value is the value of NAME followed directly by rest; one level only. Relative values are below the
instance's folder. Unknown names are warned about. A file or the folder of files that is named and is not there is a fault: such
lines come from the machine the files were brought from, and without them the files of `config/` are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from posthouse.config.instance import Instance
from posthouse.config.source import Line, Source
from posthouse.config.value import names

NAMES = ("imta_tailor", "imta.tailor")
_ROOT_MARK = "<msg.rootpath>"
DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "IMTA_ROOT": "./",
        "IMTA_TABLE": "config/",
        "IMTA_CONFIG_FILE": "config/imta.cnf",
        "IMTA_ALIAS_FILE": "config/aliases",
        "IMTA_MAPPING_FILE": "config/mappings",
        "IMTA_OPTION_FILE": "config/option.dat",
        "IMTA_DISPATCHER_CONFIG": "config/dispatcher.cnf",
        "IMTA_JBC_CONFIG_FILE": "config/job_controller.cnf",
        "IMTA_EXE": "lib/",
        "IMTA_BIN": "lib/",
        "IMTA_LIB": "lib/",
        "IMTA_LOG": "log/",
        "IMTA_QUEUE": "data/queue/",
        "IMTA_SCRATCH": "data/tmp/",
        "IMTA_LANG": "locale/en/LC_MESSAGES/",
    }
)
_FOLDERS = frozenset(name for name, value in DEFAULTS.items() if value.endswith("/"))
_READ = names(
    """
    IMTA_TABLE IMTA_CONFIG_FILE IMTA_ALIAS_FILE IMTA_MAPPING_FILE IMTA_OPTION_FILE IMTA_DISPATCHER_CONFIG IMTA_JBC_CONFIG_FILE
    """
)
"""what must be there when it is named"""
_UNUSED = names(
    """
    IMTA_ALIAS_DATABASE IMTA_CONVERSION_FILE IMTA_JBC_SERVICE IMTA_CONFIG_DATA IMTA_CHARSET_DATA
    IMTA_CHARSET_OPTION_FILE IMTA_COM IMTA_GENERAL_DATABASE IMTA_FORWARD_DATABASE IMTA_REVERSE_DATABASE
    IMTA_DOMAIN_DATABASE IMTA_RETURN_PERIOD IMTA_RETURN_SPLIT_PERIOD IMTA_VERSION_LIMIT IMTA_VERSION_LIMIT_PERIOD
    IMTA_SSR_DATABASE IMTA_SYSTEM_FILTER_FILE IMTA_NAME_CONTENT_FILE IMTA_HELP IMTA_USER_PROFILE_DATABASE
    IMTA_WORLD_GROUP IMTA_DNSRULES IMTA_LIBUTIL IMTA_USER IMTA_USER_USERNAME IMTA_SYNCH_CACHE_PERIOD IMTA_DBTMP
    """
)


@dataclass(frozen=True, slots=True)
class Tailor:
    """The tailor file's values, defaults filled in."""

    root: Path
    values: Mapping[str, str]
    """upper-case name to value, the root mark already replaced"""

    def path(self, value: str, folder: Path | None = None) -> Path:
        """Where a path value points.

        Args:
            value: `NAME:rest`, absolute, or relative.
            folder: what a plain relative value is relative to; the instance's folder when not given.
        """
        name, colon, rest = value.partition(":")
        if colon and name.upper() in self.values:
            return self.root / (self.values[name.upper()] + rest)
        return (folder or self.root) / value

    @property
    def user(self) -> str | None:
        """IMTA_USER (or IMTA_USER_USERNAME): the user every process that reads the network runs as, if set."""
        return self.values.get("IMTA_USER") or self.values.get("IMTA_USER_USERNAME") or None

    @property
    def table(self) -> Path:
        """IMTA_TABLE: the folder of the configuration files."""
        return self.path("IMTA_TABLE:")

    @property
    def imta_cnf(self) -> Path:
        """IMTA_CONFIG_FILE."""
        return self.path("IMTA_CONFIG_FILE:")

    @property
    def option_dat(self) -> Path:
        """IMTA_OPTION_FILE."""
        return self.path("IMTA_OPTION_FILE:")

    @property
    def mappings(self) -> Path:
        """IMTA_MAPPING_FILE."""
        return self.path("IMTA_MAPPING_FILE:")

    @property
    def aliases(self) -> Path:
        """IMTA_ALIAS_FILE."""
        return self.path("IMTA_ALIAS_FILE:")

    @property
    def dispatcher_cnf(self) -> Path:
        """IMTA_DISPATCHER_CONFIG."""
        return self.path("IMTA_DISPATCHER_CONFIG:")

    @property
    def job_controller_cnf(self) -> Path:
        """IMTA_JBC_CONFIG_FILE."""
        return self.path("IMTA_JBC_CONFIG_FILE:")

    @property
    def log(self) -> Path:
        """IMTA_LOG."""
        return self.path("IMTA_LOG:")


def default_tailor(instance: Instance) -> Tailor:
    """What holds when there is no tailor file."""
    return Tailor(instance.root, DEFAULTS)


def read_tailor(instance: Instance, source: Source) -> Tailor:
    """The instance's tailor file; faults go to the source."""
    path = next((found for name in NAMES if (found := instance.config / name).exists()), None)
    for name in NAMES:
        source.note(instance.config / name)
    values = dict(DEFAULTS)
    named: dict[str, Line] = {}
    for line in source.lines(path, includes=False) if path else ():
        text = line.text.strip()
        if not text or text.startswith("!"):
            continue
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.upper()
        if not equals or not name:
            source.faults.error(line.file, line.line, f"{text!r} is not option=value")
            continue
        if name not in DEFAULTS and name not in _UNUSED:
            source.faults.warn(line.file, line.line, f"unknown option {name}")
        if name in _FOLDERS and not value.endswith("/"):
            source.faults.error(line.file, line.line, f"{name} is a folder and must end with /")
            value += "/"
        if value.lower().startswith(_ROOT_MARK):
            value = value[len(_ROOT_MARK) :].lstrip("/")
        if name == "IMTA_QUEUE" and instance.root / value != instance.queue:
            reason = f"IMTA_QUEUE does not move the queue: it is {instance.name_of(instance.queue)}/"
            source.faults.warn(line.file, line.line, reason)
        values[name] = value
        named[name] = line
    tailor = Tailor(instance.root, MappingProxyType(values))
    for name in sorted(named.keys() & _READ):
        if not tailor.path(f"{name}:").exists():
            reason = f"{name}: {values[name]} does not exist; leave the line out for {DEFAULTS[name]}"
            source.faults.error(named[name].file, named[name].line, reason)
    return tailor
