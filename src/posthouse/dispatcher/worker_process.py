"""One worker process as the Dispatcher holds it: the process, its wire, its log file, its end.

The child inherits the wire's other end and the family's locks, nothing else; its input is empty. Its output goes to the
service's LOGFILE, opened for appending (`%s` = host name), else to the Dispatcher's own standard error.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from posthouse.dispatcher import handoff
from posthouse.dispatcher.family import PARENT_VARIABLE, inherited_locks
from posthouse.dispatcher.starting import start

_END_SECONDS = 10.0
"""how long a worker that closed its wire may take to end"""


def open_logfile(path: Path | None) -> int:
    """A descriptor for a child's output: the file, created if missing, or a copy of standard error."""
    if path is None:
        return os.dup(2)
    name = Path(str(path).replace("%s", socket.gethostname()))
    try:
        return os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        sys.stderr.write(f"{name}: {error.strerror}; its output comes here\n")
        return os.dup(2)


class WorkerProcess:
    """A running worker.

    Args:
        loop: the Dispatcher's.
        command: program and arguments; `--fd N` is added.
        logfile: where its output goes.
        received: gets each message.
        gone: called when nothing can be said to it any more, before `ended` or, if it hangs, long before.
        ended: called once with the exit code (negative: the signal), after the last message.

    Raises:
        OSError: it could not be started.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        command: Sequence[str],
        logfile: Path | None,
        received: Callable[[handoff.FromWorker], None],
        gone: Callable[[], None],
        ended: Callable[[int], None],
    ) -> None:
        self._loop = loop
        self._received = received
        self._lost = gone
        self._ended = ended
        ours, theirs = handoff.make_pair()
        output = open_logfile(logfile)
        environment = {name: value for name, value in os.environ.items() if name != PARENT_VARIABLE}
        try:
            self._process = start(
                [*command, "--fd", str(theirs.fileno())],
                pass_fds=(theirs.fileno(), *inherited_locks()),
                environment=environment,
                output=output,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(output)
        self.pid = self._process.pid
        self._wire = handoff.Wire(ours, loop, self._packet, self._gone)
        loop.add_reader(self._process.fileno(), self._exited)

    def send(self, message: handoff.ToWorker, passed: socket.socket | None = None) -> None:
        """Send a message, with a connection if given (it stays the caller's)."""
        self._wire.send(message, passed)

    def kill(self) -> None:
        """End it by force."""
        self._process.send_signal(signal.SIGKILL)

    def _packet(self, packet: bytes, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        try:
            message = handoff.decode_from_worker(packet)
        except handoff.PacketError:
            self.kill()
            return
        self._received(message)

    def _gone(self) -> None:
        self._loop.call_later(_END_SECONDS, self.kill)
        self._lost()

    def _exited(self) -> None:
        self._loop.remove_reader(self._process.fileno())
        code = self._process.wait()
        self._wire.drain()
        self._wire.close()
        self._ended(code)
