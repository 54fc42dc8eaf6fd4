"""One directory's data behind each of its implementations, for what all of them promise."""

from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.layout import read_layout
from posthouse.relay.directory.ldap_directory import LdapDirectory
from posthouse.relay.directory.ldap_options import read_ldap_options
from posthouse.relay.directory.ldif_directory import LdifDirectory
from posthouse.testing.directory import MemoryDirectory, options

Opened: TypeAlias = AsyncIterator[Directory]


class Way(StrEnum):
    MEMORY = "memory"
    LDIF = "ldif"
    LDAP = "ldap"


def make(way: Way, text: str, server: str, folder: Path, **more: str) -> Directory:
    """The entries of `text`; `server` is the URL of a slapd that has them, too."""
    given = options(LDAP_HOST=server, LDAP_USER_ROOT="o=usergroup", **more)
    layout = read_layout(given)
    if way is Way.MEMORY:
        return MemoryDirectory(text, layout)
    if way is Way.LDIF:
        path = folder / "people.ldif"
        path.write_text(text)
        return LdifDirectory(layout, path)
    return LdapDirectory(layout, read_ldap_options(given, Path))
