"""`IMAGE=IMTA_BIN:tcp_lmtp_server`: a worker of the Dispatcher. Arguments and exit codes: `posthouse.dispatcher.worker`."""

import os

from posthouse.config.instance import Instance
from posthouse.dispatcher.family import leave
from posthouse.dispatcher.worker import run_worker
from posthouse.store.lmtp_server.program import LmtpProgram


def make(instance: Instance, service: str, channel: str) -> LmtpProgram:
    """The program of one service, in a process of its own: what it makes is for its user only."""
    os.umask(0o077)
    return LmtpProgram(instance, channel or service)


if __name__ == "__main__":
    leave(run_worker(make))
