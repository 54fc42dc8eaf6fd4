"""Which program empties a channel in this version (job-controller-cnf 2).

The `lmtp` keyword decides first; then the last part of the channel's master_command; without one, its name. `tcp_smtp_client`
serves channels with the keyword `smtp` that are not `slave`, also those without a master_command. `reprocess` serves the
channels process, reprocess and hold, `pipe_master` channels that run programs. `ims_ms`, which the
product calls `ims_master`, serves ims-ms, the store of this machine: it stands above both tiers, so a pool with such a channel
has a worker of its own kind (`worker_module`). Every other program is not built: the copies wait, are filed and time out.
"""

from collections.abc import Iterable
from enum import Enum

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.config.fault import Fault, Severity

_SERVED = ("process", "reprocess", "hold")
_STORE = ("ims_ms", "ims_master", "ims-ms")
CHANNELS = "posthouse.relay.channels"
IMS_MS = "posthouse.ims_ms"


class Program(Enum):
    """What empties a channel."""

    LMTP = "lmtp"
    SMTP = "smtp"
    PROCESS = "process"
    BITBUCKET = "bitbucket"
    PIPE = "pipe"
    DEFRAGMENT = "defragment"
    STORE = "ims_ms"
    NONE = "none"

    @property
    def is_here(self) -> bool:
        """Whether the work is done in the worker, with no host to reach."""
        return self in {Program.PROCESS, Program.BITBUCKET, Program.PIPE, Program.DEFRAGMENT}


def program_of(configuration: Configuration, channel: Channel) -> Program:
    """The channel's program."""
    if channel.is_lmtp:
        return Program.LMTP
    jobs = configuration.job_controller
    command = (jobs.for_channel(channel.name).program if jobs is not None else "") or channel.name
    if channel.is_smtp and not channel.has("slave") and command in {"tcp_smtp_client", channel.name}:
        return Program.SMTP
    if command in _STORE:
        return Program.STORE
    if command in _SERVED and channel.name.startswith(_SERVED):
        return Program.PROCESS
    if command == "pipe_master" or (command == channel.name and command.startswith("pipe")):
        return Program.PIPE
    if command == "defragment":
        return Program.DEFRAGMENT
    return Program.BITBUCKET if command == "bitbucket" else Program.NONE


def check(configuration: Configuration) -> list[Fault]:
    """A warning for each channel of a relay whose mail nobody fetches; nothing is ever queued for `l`."""
    channels = (each for each in configuration.imta.channels.values() if each.name != "l" and not each.has("slave"))
    return [
        Fault(each.file, each.line, f"channel {each.name}: {_missing(configuration, each)}, so its mail waits", Severity.WARNING)
        for each in channels
        if program_of(configuration, each) is Program.NONE
    ]


def _missing(configuration: Configuration, channel: Channel) -> str:
    jobs = configuration.job_controller
    command = (jobs.for_channel(channel.name).program if jobs is not None else "") or channel.name
    return "it has neither smtp nor lmtp" if command == "tcp_smtp_client" else f"program {command} is not built"


def worker_module(programs: Iterable[Program]) -> str:
    """What a pool's worker is started as, for the programs of its channels: the store is opened only where it is needed."""
    return IMS_MS if Program.STORE in programs else CHANNELS
