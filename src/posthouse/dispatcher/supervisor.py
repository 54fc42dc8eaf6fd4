"""The supervisor of an instance: takes the lock, starts the Dispatcher and the job controller, keeps them alive, ends them.

    python -m posthouse.dispatcher.supervisor --instance DIR        (what `posthouse start` becomes)

Promise: standard output carries exactly one line, `ready`, when every listener accepts. `run/posthouse.pid` holds this
process's pid; every process of the instance descends from it, also those whose parent died. A dead Dispatcher or job
controller is started again with growing pauses, one that no longer answers is killed (`watch`); one that ends by itself
before the first `ready` ends the start with its own exit code. SIGTERM, SIGINT and `stop` drain: the Dispatcher first (no new
connections, sessions end), then the job controller; what does not end is killed. SIGHUP and `reload` check the files and pass
the word on; a fault keeps the old configuration everywhere, and so does a Dispatcher that does not answer. A SIGHUP that comes
before `ready` is obeyed then. The job controller runs when there is a job_controller.cnf and a
channel that queues (any but the LMTP servers' `tcp_lmtps*`). Started by root with a native service, root's writer process runs
beside them and stays root.

Exit codes: 0 stopped, 64 usage, 69 a port cannot be had, 73 a folder cannot be made, 75 running already (the pids are
named), 77 root without IMTA_USER where the data is another user's, 78 bad configuration (each fault on stderr).
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError, Severity
from posthouse.dispatcher import control, descendants, sd_notify, template
from posthouse.dispatcher.before_start import NotStarted, raise_file_limit, take_the_lock, what_runs
from posthouse.dispatcher.child import Child
from posthouse.dispatcher.children import DISPATCHER, JOB_CONTROLLER, commands_of
from posthouse.dispatcher.family import DRAIN_SECONDS, EX_SOFTWARE, leave
from posthouse.dispatcher.process_log import open_process_log
from posthouse.dispatcher.programs import IMAGES, PYTHON_MODULE, Images, instance_of, modules_of
from posthouse.dispatcher.run_folder import RunFolder
from posthouse.dispatcher.trouble import Trouble
from posthouse.dispatcher.user import User, adopt_orphans
from posthouse.dispatcher.watch import Watch, answers

KILL_SECONDS = 10.0
"""how much longer than its drain a child may take before it is killed"""
_FAMILY_SECONDS = 6.0
_ANSWER_SECONDS = 5.0


def main(
    argv: Sequence[str] | None = None,
    *,
    dispatcher: Sequence[str] = DISPATCHER,
    job_controller: Sequence[str] = JOB_CONTROLLER,
    images: Images = IMAGES,
) -> int:
    """Run an instance until it is stopped; returns the exit code."""
    instance = instance_of(sys.argv[1:] if argv is None else argv, "posthouse start")
    log = open_process_log("supervisor")
    early: list[int] = []
    signal.signal(signal.SIGHUP, lambda number, _: early.append(number))
    try:
        configuration, user = what_runs(instance, images, log)
        held = take_the_lock(instance, user)
    except NotStarted as fact:
        sys.stderr.write(f"{fact}\n")
        return fact.code
    adopt_orphans()
    raise_file_limit(log)
    (instance.run / control.NATIVE_WRITER).unlink(missing_ok=True)
    commands = commands_of(configuration, user, dispatcher, job_controller)
    made = None
    if "job_controller" in commands and tuple(dispatcher[:2]) == PYTHON_MODULE:  # a store has too few processes to gain
        modules = modules_of(configuration, (dispatcher, job_controller), images)
        made = template.make(modules, user, held, str(instance.root), log)
    supervisor = Supervisor(configuration, log, user, made, early)
    for role, (command, child_user) in commands.items():
        full = [*command, "--instance", str(instance.root)]
        source = made if role in {"dispatcher", "job_controller"} else None
        supervisor.children[role] = Child(role, full, held, child_user, supervisor.changed, log, source)
    with asyncio.Runner() as runner:
        return runner.run(supervisor.run())


class Supervisor:
    """The children of an instance and what is asked about them."""

    def __init__(
        self, configuration: Configuration, log: logging.Logger, user: User | None = None, forks: template.Template | None = None,
        early: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.children: dict[str, Child] = {}
        self._instance = configuration.instance
        self._read = configuration.files
        self._unread: list[Trouble] = []
        """what was changed and takes a restart"""
        self._log = log
        self._run = RunFolder(self._instance.run, user, self._answer, log)
        self._forks = forks
        self._early = early
        self._reload_waits = False
        """asked for before `ready`"""
        self._state = "starting"
        self._since = time.time()
        self._stopping = False
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Something happened that the main course should look at."""
        self._changed.set()

    async def run(self) -> int:
        """Start the children, keep them alive until told to stop, end them; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._hup)
        self._reload_waits = bool(self._early)
        await self._run.open()
        code: int | None = EX_SOFTWARE
        try:
            for child in self.children.values():
                child.start_again(loop)
            code = await self._until_ready(loop)
            if code is None:
                code = 0
                self._announce()
                if self._reload_waits:
                    self._hup()
                watch = loop.create_task(Watch(self.children, self._instance.run, self._log).run())
                await self._keep(loop)
                watch.cancel()
        finally:
            self._state = "stopping"
            sd_notify.notify("STOPPING=1")
            await self._end()
            self._run.remove()
        return code

    async def _until_ready(self, loop: asyncio.AbstractEventLoop) -> int | None:
        while not self._stopping:
            for child in self.children.values():
                if child.is_alive:
                    continue
                if child.exit_code is not None and child.exit_code > 0:
                    return child.exit_code
                child.start_again(loop)
            if all(child.is_ready for child in self.children.values()):
                return None
            await self._wait(0.5)
        return 0

    def _announce(self) -> None:
        self._state = "running"
        with contextlib.suppress(OSError):
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        sd_notify.notify("READY=1", f"STATUS=serving {self._instance.root}")

    async def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        alive = {child.pid: child for child in self.children.values()}
        while not self._stopping:
            for pid, child in list(alive.items()):
                if child.pid != pid or not child.is_alive:
                    self._log.error("%s %s ended with %s: it is started again", child.role, pid, _how(child.exit_code))
                    del alive[pid]
            self._reap_adopted()
            await self._run.mend()
            sd_notify.alive()
            for child in self.children.values():
                child.start_again(loop)
                if child.is_alive:
                    alive[child.pid] = child
            await self._wait(1.0)

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()

    def _reap_adopted(self) -> None:
        """Collect the dead whose parent died before them."""
        ours = {child.pid for child in self.children.values() if child.is_alive}
        for pid in descendants.children(os.getpid()):
            if pid not in ours:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    # the end

    def _stop(self) -> None:
        self._stopping = True
        self._changed.set()

    async def _end(self) -> None:
        for child in self.children.values():  # the Dispatcher first: nothing new comes in while the others finish
            child.signal(signal.SIGTERM)
            if not await self._ended(child.is_dead, DRAIN_SECONDS + KILL_SECONDS):
                self._log.error("%s %s does not end: killed", child.role, child.pid)
                child.signal(signal.SIGKILL)
                await self._ended(child.is_dead, KILL_SECONDS)
        if self._forks is not None:
            self._forks.close()
        if not await self._ended(self._is_alone, _FAMILY_SECONDS):
            for left in descendants.below(os.getpid()):
                self._log.error("process %s does not end: killed", left.pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(left.pid, signal.SIGKILL)
            await self._ended(self._is_alone, _FAMILY_SECONDS)

    def _is_alone(self) -> bool:
        self._reap_adopted()
        return not descendants.below(os.getpid())

    async def _ended(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                return False
            await self._wait(0.1)
        return True

    # reload, status, files

    def _hup(self) -> None:
        self._changed.set()
        if self._state == "starting":
            self._reload_waits = True
            return
        task = asyncio.get_running_loop().create_task(self._reload())
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[control.Answer]) -> None:
        answer = task.result()
        for fault in (*answer["faults"], *((answer["again"],) if "again" in answer else ())):
            self._log.error("reload refused, the old configuration goes on: %s", fault)

    async def _reload(self) -> control.Answer:
        """Check the files, then tell everybody: `faults`, none when all is well, and `again` when nobody could be told."""
        try:
            configuration = load(self._instance)
        except ConfigurationError as error:
            return {"ok": False, "faults": [str(fault) for fault in error.faults if fault.severity is Severity.ERROR]}
        if self._state != "running":
            return {"ok": False, "faults": [], "again": f"the instance is {self._state}"}
        sd_notify.notify(*sd_notify.reloading())
        told = await self._ask_dispatcher({"op": "reload"})
        if told.get("ok"):
            self._read = configuration.files
            self._unread = [Trouble("configuration", time.time(), note) for note in told.get("notes", ())]
            for role in self.children.keys() & {"job_controller", "native_writer"}:
                self.children[role].signal_when_ready(signal.SIGHUP)
        sd_notify.notify("READY=1")
        if "ok" not in told:
            return {"ok": False, "faults": [], "again": told.get("error", "the dispatcher does not answer")}
        return {"ok": told["ok"], "faults": told["faults"], "notes": told.get("notes", [])}

    async def _ask_dispatcher(self, request: control.Answer) -> control.Answer:
        try:
            return await control.ask_async(self._instance.run / control.DISPATCHER, request)
        except (control.NotRunning, OSError):
            return {}

    async def _answer(self, request: control.Answer) -> control.Answer:
        match request.get("op"):
            case "status":
                return await self._status()
            case "reload":
                return await self._reload()
            case "stop":
                self._stop()
                return {"ok": True, "pid": os.getpid()}
            case other:
                return {"error": f"unknown request {other!r}"}

    async def _status(self) -> control.Answer:
        told, controls = await asyncio.gather(self._told_by_dispatcher(), self._controller_answers())
        heard = {"dispatcher": bool(told), "job_controller": controls}
        silent = {role for role, child in self.children.items() if child.is_ready and not heard.get(role, True)}
        well = bool(told.get("ready")) and not silent and all(c.is_ready for c in self.children.values())
        ready = self._state == "running" and well
        rows = [_row(os.getpid(), "supervisor", "", self._state, self._since)]
        for child in self.children.values():
            state = "ready" if child.is_ready else "starting" if child.is_alive else "dead"
            state = "silent" if child.role in silent else state
            rows.append(_row(child.pid if child.is_alive else 0, child.role, "", state, child.since))
        rows += told.get("processes", [])
        known = {row["pid"] for row in rows}
        for seen in descendants.below(os.getpid()):
            if seen.pid not in known:
                rows.append(_seen(seen))
        for row in rows:
            row["since"] = _iso(row["since"])
        return {
            "ready": ready,
            "state": self._state,
            "instance": str(self._instance.root),
            "processes": rows,
            "listeners": told.get("listeners", []),
            "services": told.get("services", {}),
            "troubles": [*told.get("troubles", []), *map(msgspec.structs.asdict, self._unread)],
            "files": {str(path): digest for path, digest in self._read.items()},
        }

    async def _told_by_dispatcher(self) -> control.Answer:
        return await self._ask_dispatcher({"op": "status"}) if self.children["dispatcher"].is_alive else {}

    async def _controller_answers(self) -> bool:
        child = self.children.get("job_controller")
        return child is None or not child.is_ready or await answers(self._instance.run, child.role, _ANSWER_SECONDS)


def _row(pid: int, role: str, service: str, state: str, since: float) -> dict[str, Any]:
    return {"pid": pid, "role": role, "service": service, "state": state, "active": None, "served": None, "since": since}


def _seen(process: descendants.Descendant) -> dict[str, Any]:
    """A process nobody reported: the template, a channel worker, or a worker whose Dispatcher died and that finishes."""
    if template.MODULE in process.arguments:
        return _row(process.pid, "template", "", "ready", process.since)
    if "posthouse.store.native.writer" in process.arguments:  # it forks a child for each mailbox
        return _row(process.pid, "native_writer", "", "ready", process.since)
    if {"posthouse.relay.channels", "posthouse.ims_ms"}.intersection(process.arguments):
        return _row(process.pid, "channel", process.option("--pool"), "ready", process.since)
    role = "lmtp" if "lmtp" in " ".join(process.arguments) else "smtp"
    return _row(process.pid, role, process.option("--service"), "orphan", process.since)


def _how(code: int | None) -> str:
    if code is None:
        return "nothing"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _iso(since: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))


if __name__ == "__main__":
    leave(main())
