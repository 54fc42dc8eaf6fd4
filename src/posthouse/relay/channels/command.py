"""The command line of a channel worker: `--instance DIR --pool NAME --link FD`, given by the job controller, never by hand."""

import argparse
import asyncio
import os
import socket
import sys
from pathlib import Path

from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.dispatcher.family import EX_CONFIG, EX_UNAVAILABLE, ignore_interrupt
from posthouse.dispatcher.process_log import open_process_log
from posthouse.relay.channels.local_program import Opener
from posthouse.relay.channels.program import run


def main(program: str, open_local: Opener = None) -> int:
    """Run one worker; its exit code.

    Args:
        program: its name in usage texts.
        open_local: opens the store of this machine, for a pool with a channel that delivers into it.
    """
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--instance", required=True, type=Path)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--link", required=True, type=int)
    options = parser.parse_args()
    import uvloop

    log = open_process_log("channel")
    ignore_interrupt()
    os.set_inheritable(options.link, False)
    link = socket.socket(fileno=options.link)
    link.setblocking(False)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(Instance(options.instance), options.pool, link, open_local))
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400 - the reason is the text
        return EX_UNAVAILABLE
    return 0
