"""`IMAGE=IMTA_BIN:tcp_lmtp_server`: a worker of the Dispatcher. Arguments and exit codes: `posthouse.dispatcher.worker`."""

import sys

from posthouse.config.instance import Instance
from posthouse.dispatcher.worker import run_worker
from posthouse.store.lmtp_server.program import LmtpProgram


def make(instance: Instance, service: str, channel: str) -> LmtpProgram:
    """The program of one service."""
    return LmtpProgram(instance, channel or service)


if __name__ == "__main__":
    sys.exit(run_worker(make))
