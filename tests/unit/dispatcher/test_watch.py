"""Children that live and no longer answer: killed after so many questions, and only they."""

import asyncio
import logging
import os
import resource
import signal
import sys
from pathlib import Path

from posthouse.dispatcher import control
from posthouse.dispatcher.child import Child
from posthouse.dispatcher.watch import QUESTIONS, Watch, answers

PERIOD = 0.4
_CHILD = """
import contextlib, sys
sys.path[:0] = {path!r}
from pathlib import Path
from posthouse.dispatcher import control
from posthouse.dispatcher.family import Parent
sock = control.bind_unix(Path(sys.argv[1]))
sock.setblocking(True)
Parent.from_environment().announce(ready=True)
while True:
    asked, _ = sock.accept()
    with contextlib.suppress(OSError), asked:
        asked.recv(4096)
        asked.sendall(b'{{"well": true}}\\n')
"""


def _child(run: Path, role: str, name: str, log: logging.Logger) -> Child:
    command = [sys.executable, "-c", _CHILD.format(path=sys.path), str(run / name)]
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT)
    return Child(role, command, lock, None, lambda: None, log)


async def _until_ready(child: Child) -> None:
    async with asyncio.timeout(20):
        while not child.is_ready:
            await asyncio.sleep(0.01)


def test_who_leaves_all_questions_unanswered_is_killed_and_the_other_is_not(tmp_path: Path) -> None:
    log = logging.getLogger("watch")

    async def watched() -> None:
        children = {
            "dispatcher": _child(tmp_path, "dispatcher", control.DISPATCHER, log),
            "job_controller": _child(tmp_path, "job_controller", control.JOB_CONTROLLER, log),
        }
        loop = asyncio.get_running_loop()
        for child in children.values():
            child.start(loop)
            await _until_ready(child)
        watch = loop.create_task(Watch(children, tmp_path, log, PERIOD).run())
        began = loop.time()
        children["job_controller"].signal(signal.SIGSTOP)
        async with asyncio.timeout(20):
            while children["job_controller"].is_alive:
                await asyncio.sleep(0.01)
        assert loop.time() - began >= QUESTIONS * PERIOD  # not by the first
        assert children["job_controller"].exit_code == -signal.SIGKILL
        await asyncio.sleep(2 * QUESTIONS * PERIOD)
        assert children["dispatcher"].is_alive
        watch.cancel()
        children["dispatcher"].signal(signal.SIGKILL)
        async with asyncio.timeout(20):
            while children["dispatcher"].is_alive:
                await asyncio.sleep(0.01)

    asyncio.run(watched())


def test_one_that_answers_again_in_time_lives(tmp_path: Path) -> None:
    log = logging.getLogger("watch")

    async def watched() -> None:
        child = _child(tmp_path, "dispatcher", control.DISPATCHER, log)
        loop = asyncio.get_running_loop()
        child.start(loop)
        await _until_ready(child)
        watch = loop.create_task(Watch({"dispatcher": child}, tmp_path, log, 0.5).run())
        for _ in range(2):
            child.signal(signal.SIGSTOP)
            await asyncio.sleep(1.2)  # two questions at most
            child.signal(signal.SIGCONT)
            await asyncio.sleep(2.0)  # one of them is answered, on a busy machine too
        assert child.is_alive
        watch.cancel()
        child.signal(signal.SIGKILL)
        async with asyncio.timeout(20):
            while child.is_alive:
                await asyncio.sleep(0.01)

    asyncio.run(watched())


def test_who_cannot_be_asked_is_not_silent(tmp_path: Path) -> None:
    async def asked() -> bool:
        return await answers(tmp_path, "job_controller", 1.0)

    with asyncio.Runner() as runner:
        assert not runner.run(asked())  # nobody listens
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # none can be opened any more
        try:
            cannot_ask = runner.run(asked())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert cannot_ask
