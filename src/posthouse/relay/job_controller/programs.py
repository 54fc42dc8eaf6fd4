"""Which program empties a channel in this version (job-controller-cnf 2).

The `lmtp` keyword decides first; then the last part of the channel's master_command; without one, its name. `reprocess`
serves the channels process, reprocess and hold. Every other program is not built: the copies wait, are filed and time out.
"""

from enum import Enum

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration

_SERVED = ("process", "reprocess", "hold")


class Program(Enum):
    """What empties a channel."""

    LMTP = "lmtp"
    PROCESS = "process"
    BITBUCKET = "bitbucket"
    NONE = "none"


def program_of(configuration: Configuration, channel: Channel) -> Program:
    """The channel's program."""
    if channel.is_lmtp:
        return Program.LMTP
    jobs = configuration.job_controller
    command = (jobs.for_channel(channel.name).program if jobs is not None else "") or channel.name
    if command in _SERVED and channel.name.startswith(_SERVED):
        return Program.PROCESS
    return Program.BITBUCKET if command == "bitbucket" else Program.NONE
