"""Asking the job controller of an instance, running or not.

When none runs, one is started for the time of an order (`--orders-only`): it has data/lock and jobs.lock, so that no other start
can come in between, reads journal and queue as every start does, carries the order out with the same code, and ends. Typed by
root, it runs as IMTA_USER or else as the owner of data/: the relay has to read what it writes.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec

from posthouse.cli.loading import load_or_exit
from posthouse.cli.queue_none import NO_QUEUE, has_no_queue
from posthouse.cli.waiting_note import told_when_slow
from posthouse.config.instance import Instance
from posthouse.dispatcher import lock
from posthouse.dispatcher.family import LOCK_VARIABLE, PARENT_VARIABLE
from posthouse.dispatcher.user import NoSuchUser, User, owner_of, wanted_user
from posthouse.relay.job_controller.client import ControllerDown, request
from posthouse.relay.job_controller.local_socket import NAME
from posthouse.relay.job_controller.selection import Selection

NO_INPUT, UNAVAILABLE, TEMPORARY, BAD_CONFIGURATION = 66, 69, 75, 78
LONG = 3600.0
"""seconds an order over a large queue may take"""
_SOON = 15.0
"""seconds a controller may take to say that it is there; one that hangs is not waited for"""
START_SECONDS = 300.0


def ask(place: Instance, op: str, selection: Selection, **arguments: Any) -> dict[str, Any]:
    """The running controller's answer.

    Raises:
        ControllerDown: none runs, or it does not answer.
        SystemExit: 75, it refuses.
    """
    with told_when_slow(f"posthouse queue {op}: the job controller does not answer, waiting for it ({_SOON:.0f} seconds)"):
        request(place.run / NAME, "status", _SOON)
    answer = request(place.run / NAME, op, LONG, filter=msgspec.to_builtins(selection), **arguments)
    if "error" in answer and "done" not in answer:
        sys.stderr.write(f"posthouse queue {op}: {answer['error']}\n")
        raise SystemExit(TEMPORARY)
    return answer


def order(place: Instance, op: str, selection: Selection, *, dry_run: bool) -> dict[str, Any]:
    """Have an order carried out, by a controller for the occasion when none runs.

    Raises:
        SystemExit: there is no queue, another start is under way, or the controller cannot start.
    """
    with contextlib.suppress(ControllerDown):
        return ask(place, op, selection, dry_run=dry_run)
    with _controller(place, op):
        try:
            return ask(place, op, selection, dry_run=dry_run)
        except ControllerDown as error:
            sys.stderr.write(f"posthouse queue {op}: {error}\n")
            raise SystemExit(UNAVAILABLE) from None


@contextlib.contextmanager
def _controller(place: Instance, op: str) -> Iterator[None]:
    """A job controller that only carries out orders."""
    configuration = load_or_exit(place)
    if not place.queue.is_dir():
        sys.stderr.write(f"posthouse queue {op}: {place.queue}: there is no queue\n")
        raise SystemExit(NO_INPUT)
    if has_no_queue(place):
        sys.stderr.write(f"posthouse queue {op}: {NO_QUEUE}\n")
        raise SystemExit(NO_INPUT)
    try:
        user = wanted_user(configuration.tailor.user) or owner_of(place.data)
        held = lock.take(place.data / "lock", 0.0)
    except NoSuchUser as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(BAD_CONFIGURATION) from None
    except lock.AlreadyRunning:
        sys.stderr.write(f"posthouse queue {op}: the job controller does not answer: it starts, stops or hangs; try again\n")
        raise SystemExit(TEMPORARY) from None
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as log, ours:
        process = _start(place, held, theirs, log.fileno(), user)
        theirs.close()
        os.close(held)  # the controller has it
        try:
            ours.settimeout(START_SECONDS)
            if not json.loads(ours.recv(4096) or b"{}").get("ready"):
                process.wait()
                log.seek(0)
                sys.stderr.write(log.read().decode("utf-8", "replace"))
                raise SystemExit(process.returncode or UNAVAILABLE)
            yield
        finally:
            process.terminate()
            process.wait()


def _start(place: Instance, held: int, theirs: socket.socket, log: int, user: User | None) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, LOCK_VARIABLE: str(held), PARENT_VARIABLE: str(theirs.fileno())}
    command = [sys.executable, "-m", "posthouse.relay.job_controller", "--instance", str(place.root), "--orders-only"]
    fds = (held, theirs.fileno())
    if user is None:
        return subprocess.Popen(command, pass_fds=fds, env=environment, stderr=log)
    return subprocess.Popen(
        command, pass_fds=fds, env=environment, stderr=log, user=user.uid, group=user.gid, extra_groups=list(user.groups)
    )
