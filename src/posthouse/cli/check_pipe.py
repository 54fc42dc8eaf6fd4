"""What `posthouse check` finds of program delivery: users only root could become."""

import os
import pwd
from collections.abc import Iterator

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.fault import Fault, Severity
from posthouse.relay.job_controller.programs import Program, program_of


def pipe_channels(configuration: Configuration) -> list[Channel]:
    """The channels that run programs."""
    return [each for each in configuration.imta.channels.values() if program_of(configuration, each) is Program.PIPE]


def check_pipe(configuration: Configuration) -> list[Fault]:
    """Whom their programs would run as."""
    return [fault for channel in pipe_channels(configuration) for fault in _user(configuration, channel)]


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
