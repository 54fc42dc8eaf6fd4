"""The template: a forked process is what a program would be, and whatever becomes of the template nobody is left alone."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from posthouse.dispatcher.command_line import without_room
from posthouse.dispatcher.descendants import below
from posthouse.dispatcher.programs import instance_of
from posthouse.dispatcher.starting import start
from posthouse.dispatcher.template import MAX_PACKET, NUMBER
from posthouse.dispatcher.user import User, runs_as

TESTS = Path(__file__).parents[2]
DRIVER = TESTS / "support" / "template_driver.py"


def drive(what: str) -> Any:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, str(DRIVER), what], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_forked_process_finds_itself_as_a_program_does() -> None:
    forked, program = drive("forked"), drive("program")
    assert forked == program
    assert forked["code"] == 7
    assert sorted(forked["output"].splitlines()) == ["and told", "said"]
    assert forked["shown"][1:] == ["-m", "support.template_child", "N", "x y", "", "end"]
    assert forked["shade"] == "green"
    assert forked["template"] is None
    assert forked["name"] == "__main__"
    assert forked["has_number"]
    assert int(forked["ignored"], 16) & 0x1001000 == 0x1001000  # SIGPIPE and SIGXFSZ, as Python has them


def test_a_killed_template_leaves_its_processes_and_the_next_is_a_program() -> None:
    assert drive("killed") == {"alive": True, "code": -9, "later": False, "later_code": 7}


def test_a_template_that_hangs_is_waited_for_once() -> None:
    assert drive("hanging") == {"forked": False, "told": True, "codes": [7, 7], "alone": True, "template": 0}


def test_roots_signals_go_to_the_users_processes_only() -> None:
    me = User("me", os.getuid(), os.getgid(), ())
    pidfd = os.pidfd_open(os.getpid())
    stranger = subprocess.Popen(["true"], stdin=subprocess.DEVNULL)
    other = os.pidfd_open(stranger.pid)
    try:
        assert runs_as(os.getpid(), pidfd, me)
        assert not runs_as(os.getpid(), pidfd, User("you", os.getuid() + 1, os.getgid(), ()))
        assert not runs_as(os.getpid(), other, me)
        stranger.wait()
        assert not runs_as(stranger.pid, other, me)
    finally:
        os.close(pidfd)
        os.close(other)


def test_a_template_that_names_somebody_elses_process_is_not_believed() -> None:
    line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    you = User("you", os.getuid() + 1, os.getgid(), ())

    def lie() -> None:
        _, fds, _, _ = socket.recv_fds(theirs, MAX_PACKET, 8)
        with socket.socket(fileno=fds[0]) as report:
            pidfd = os.pidfd_open(os.getpid())
            socket.send_fds(report, [NUMBER.pack(os.getpid())], [pidfd])
            os.close(pidfd)

    thread = threading.Thread(target=lie)
    thread.start()
    environment = {"PATH": os.environ["PATH"]}
    with line, theirs, contextlib.suppress(PermissionError):  # as that user nothing can be started, where we are not root
        process = start((sys.executable, "-m", "json.tool"), pass_fds=(), environment=environment, user=you, line=line)
        assert process.pid != os.getpid()
        process.wait()
    thread.join(20)
    assert not thread.is_alive()


def test_no_signal_is_lost_at_the_beginning_and_the_template_hears_none() -> None:
    assert drive("signals") == {"codes": [-15], "ignored": True}


def test_the_template_ends_when_its_owner_lets_go() -> None:
    assert drive("closed") == {"template": 0, "alive": True}


def test_room_is_no_argument() -> None:
    assert without_room(["--instance", "x", "", ""]) == ["--instance", "x"]
    assert without_room(["", ""]) == []
    assert instance_of(["--instance", "/x", "", ""], "p").root == Path("/x")
    program = "print(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", program, "a", "", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it is the program by now
        seen = next(each for each in below(os.getpid()) if each.pid == process.pid)
        assert seen.arguments[-1] == "a"
    finally:
        process.communicate(b"\n")
