"""Which processes an instance has below its supervisor, and as whom they run.

The job controller runs when there is a job_controller.cnf and a channel that queues (any but the LMTP servers' `tcp_lmtps*`);
root's writer runs beside the others when root has started a native service.
"""

import os
import sys
from collections.abc import Sequence

from posthouse.config.configuration import Configuration
from posthouse.dispatcher.user import User

_NO_QUEUE = "tcp_lmtps"
DISPATCHER = (sys.executable, "-m", "posthouse.dispatcher")
JOB_CONTROLLER = (sys.executable, "-m", "posthouse.relay.job_controller")
NATIVE_WRITER = (sys.executable, "-m", "posthouse.store.native.writer")
_NATIVE_IMAGE = "tcp_lmtpn_server"


def queues(configuration: Configuration) -> bool:
    """Whether the instance needs a job controller."""
    return configuration.job_controller is not None and any(
        not name.startswith(_NO_QUEUE) for name in configuration.imta.channels
    )


def writes_as_others(configuration: Configuration) -> bool:
    """Whether root is needed to write mailboxes of UNIX users: a native service, started by root."""
    services = configuration.dispatcher.services
    return os.geteuid() == 0 and any(service.enabled and service.image == _NATIVE_IMAGE for service in services)


def commands_of(
    configuration: Configuration, user: User | None, dispatcher: Sequence[str], job_controller: Sequence[str]
) -> dict[str, tuple[Sequence[str], User | None]]:
    """The children by role: what is run, and as whom instead of us."""
    commands: dict[str, tuple[Sequence[str], User | None]] = {"dispatcher": (dispatcher, None)}
    if queues(configuration):
        commands["job_controller"] = (job_controller, user)
    if writes_as_others(configuration):
        commands["native_writer"] = (NATIVE_WRITER, None)
    return commands
