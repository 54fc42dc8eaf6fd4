"""A process with a template, for tests: `python template_driver.py WHAT` and room behind it; tells what it saw as JSON.

    forked, program    how a process finds itself that was started the one way or the other
    killed             what becomes of processes whose template is killed
    hanging            how often somebody waits for a template that is stopped
    signals            a process that is told to end at once
    closed             the template's end with its owner's
"""

import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from posthouse.dispatcher import starting, template
from posthouse.dispatcher.command_line import ROOM, without_room
from posthouse.dispatcher.starting import TEMPLATE_VARIABLE, Forked, Process, start

SHOWN = (sys.executable, "-m", "support.template_child")


def make() -> template.Template:
    """A template of the modules its processes need."""
    made = template.make(("json", "support.template_child"), None, 2, "/nowhere", logging.getLogger())
    assert made is not None
    return made


def begin(line: socket.socket | None, *words: str, output: int | None = None) -> tuple[Process, socket.socket]:
    """Start the child; the socket it tells on."""
    ours, theirs = socket.socketpair()
    command = (*SHOWN, str(theirs.fileno()), *words)
    environment = {**os.environ, "SHADE": "green", TEMPLATE_VARIABLE: "77"}
    process = start(command, pass_fds=(theirs.fileno(),), environment=environment, output=output, line=line)
    theirs.close()
    return process, ours


def heard(sock: socket.socket) -> Any:
    """One line of the child's, as JSON."""
    with sock.makefile("rb") as lines:
        return json.loads(lines.readline())


def itself(*, forked: bool) -> dict[str, Any]:
    """What the child says of itself, and its end."""
    made = make() if forked else None
    reader, writer = os.pipe()
    os.environ["SHADE"] = "red"
    process, sock = begin(made.line if made else None, "x y", "", "end", output=writer)
    os.close(writer)
    said = heard(sock)
    assert isinstance(process, Forked) == forked
    assert said.pop("pid") == process.pid
    shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")
    sock.send(b"go\n")
    code = process.wait()
    with os.fdopen(reader) as output:
        told = output.read()
    assert process.poll() == code
    process.send_signal(signal.SIGKILL)
    number = str(said.pop("number"))
    return {**said, "shown": ["N" if word == number else word for word in shown], "code": code, "output": told}


def killed() -> dict[str, Any]:
    """The template is killed while a process of it lives."""
    made = make()
    process, sock = begin(made.line, "live")
    heard(sock)
    os.kill(made.pid, signal.SIGKILL)
    os.waitpid(made.pid, 0)
    alive = process.poll() is None
    sock.send(b"go\n")
    code = process.wait()
    later, other = begin(made.line, "live")
    heard(other)
    other.send(b"go\n")
    return {"alive": alive, "code": code, "later": isinstance(later, Forked), "later_code": later.wait()}


def hanging() -> dict[str, Any]:
    """The template is stopped: one waits for it, the next does not, and what it was asked for does not begin later."""
    made = make()
    os.kill(made.pid, signal.SIGSTOP)
    starting.PATIENCE_SECONDS = 0.2
    first, sock = begin(made.line, "live")
    starting.PATIENCE_SECONDS = 3600.0
    second, other = begin(made.line, "live")
    os.kill(made.pid, signal.SIGCONT)
    told = [heard(each)["pid"] for each in (sock, other)] == [first.pid, second.pid]
    for each in (sock, other):
        each.send(b"go\n")
    codes = [first.wait(), second.wait()]
    alone = sock.recv(1) == b""  # nobody else has its other end
    made.close()
    code = os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1])
    forked = isinstance(first, Forked) or isinstance(second, Forked)
    return {"forked": forked, "told": told, "codes": codes, "alone": alone, "template": code}


def signals() -> dict[str, Any]:
    """SIGTERM at once, fifty times: none is lost between the fork and the program."""
    made = make()
    codes = set()
    for _ in range(50):
        process, _sock = begin(made.line, "deaf")
        process.send_signal(signal.SIGTERM)
        codes.add(process.wait())
    return {"codes": sorted(codes), "ignored": _survives(made.pid)}


def _survives(pid: int) -> bool:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    return os.waitpid(pid, os.WNOHANG) == (0, 0)


def closed() -> dict[str, Any]:
    """The owner lets go: the template ends, its process goes on."""
    made = make()
    process, sock = begin(made.line, "live")
    heard(sock)
    made.close()
    template_code = os.waitstatus_to_exitcode(os.waitpid(made.pid, 0)[1])
    alive = process.poll() is None
    sock.send(b"go\n")
    process.wait()
    return {"template": template_code, "alive": alive}


if __name__ == "__main__":
    what = without_room(sys.argv)[-1]
    if len(sys.argv) < ROOM:  # as `posthouse start` does
        os.execv(sys.executable, [sys.executable, *sys.argv, *[""] * ROOM])
    time.tzset()
    answers = {"killed": killed, "hanging": hanging, "signals": signals, "closed": closed}
    print(json.dumps(answers[what]() if what in answers else itself(forked=what == "forked")))
