"""What `posthouse check` finds of program delivery: users only root could become, programs users name and nobody registered."""

import os
import pwd
from collections.abc import Iterable, Iterator

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.fault import Fault, Severity
from posthouse.relay.directory.ldif import LdifError, read_ldif
from posthouse.relay.job_controller.programs import Program, program_of


def check_pipe(configuration: Configuration) -> list[Fault]:
    """Channels that run programs, and entries of an LDIF directory that name programs."""
    channels = [each for each in configuration.imta.channels.values() if program_of(configuration, each) is Program.PIPE]
    faults = [fault for channel in channels for fault in _user(configuration, channel)]
    return [*faults, *_unregistered(configuration)] if channels else faults


def _user(configuration: Configuration, channel: Channel) -> Iterator[Fault]:
    """Whom programs run as: the channel's user, else ours; root never."""
    name, ours = channel.value("user") or "", configuration.tailor.user
    if name == "root":
        yield Fault(channel.file, channel.line, f"channel {channel.name}: programs are never run as root")
    elif name:
        try:
            pwd.getpwnam(name)
        except KeyError:
            yield Fault(channel.file, channel.line, f"channel {channel.name}: user {name}: there is no such user")
            return
        if ours is not None and ours != name:
            reason = f"channel {channel.name}: user {name}: this relay runs as {ours} (IMTA_USER) and cannot become another"
            yield Fault(channel.file, channel.line, reason)
    elif ours is None and os.geteuid() == 0 and configuration.pipe_programs:
        reason = f"channel {channel.name}: programs are never run as root, so none will be: set IMTA_USER, or `user` here"
        yield Fault(channel.file, channel.line, reason, Severity.WARNING)


def _unregistered(configuration: Configuration) -> Iterable[Fault]:
    path = configuration.ldif_file
    if path is None or not path.is_file():
        return ()
    name = (configuration.options.text("LDAP_PROGRAM_INFO") or "mailProgramDeliveryInfo").lower()
    try:
        entries = read_ldif(path.read_bytes())
    except (LdifError, OSError):
        return ()  # its faults are told by the directory itself
    known = configuration.pipe_programs
    missing = [
        (entry.dn, value)
        for entry in entries.values()
        for value in entry.attributes.get(name, ())
        if value.lower() not in known
    ]
    if not missing:
        return ()
    dn, value = missing[0]
    reason = f"{len(missing)} values of {name} name no registered program: their mail waits (first: {dn}, {value[:64]!r})"
    return (Fault(configuration.instance.name_of(path), 0, reason, Severity.WARNING),)
