"""`IMAGE=IMTA_BIN:tcp_lmtpn_server`: a worker of the Dispatcher. Arguments and exit codes: `posthouse.dispatcher.worker`."""

import os

from posthouse.config.instance import Instance
from posthouse.dispatcher.family import leave
from posthouse.dispatcher.worker import run_worker
from posthouse.store.native.program import NativeProgram


def make(instance: Instance, service: str, channel: str) -> NativeProgram:
    """The program of one service, in a process of its own: what it makes is for its user only."""
    os.umask(0o077)
    return NativeProgram(instance, channel or service)


if __name__ == "__main__":
    leave(run_worker(make))
