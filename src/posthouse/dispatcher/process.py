"""The Dispatcher process: binds, becomes IMTA_USER, starts workers, listens, answers on run/dispatcher.sock, drains.

    python -m posthouse.dispatcher --instance DIR

Order of the start: every port is bound, then root is given up, then the workers of MIN_PROCS are started, and when all of
them serve the ports are opened and the parent hears `{"ready": true}`. A port that cannot be had, a worker whose
configuration is bad or faults in the files end the start, each fault on stderr. SIGTERM drains for at most 30 s; SIGHUP and
`reload` read the mappings again and pass the word to the workers, a bad file keeps the old ones. The parent gone: the end
at once; the workers finish by themselves.

Exit codes: 0 drained, 64 usage, 69 a port cannot be had, 70 a worker cannot start, 78 bad configuration.
"""

import asyncio
import itertools
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import uvloop

from posthouse.config.configuration import Configuration, load
from posthouse.config.dispatcher_cnf import Service
from posthouse.config.fault import ConfigurationError
from posthouse.config.value import integer
from posthouse.dispatcher import control
from posthouse.dispatcher.access import Access
from posthouse.dispatcher.debug import Bit, DebugLog
from posthouse.dispatcher.family import (
    DRAIN_SECONDS,
    EX_CONFIG,
    EX_UNAVAILABLE,
    Parent,
    ignore_interrupt,
)
from posthouse.dispatcher.farewell import Farewells
from posthouse.dispatcher.listener import ListenError
from posthouse.dispatcher.process_log import open_process_log
from posthouse.dispatcher.programs import IMAGES, Images, check_services, instance_of, show_faults
from posthouse.dispatcher.service import Family, ServiceAtWork, listeners_of
from posthouse.dispatcher.trouble import gathered
from posthouse.dispatcher.user import NoSuchUser, become, wanted_user

_STOP_SECONDS = 5.0
"""for a worker's last sync, after its sessions were cut off"""


def main(argv: Sequence[str] | None = None, images: Images = IMAGES) -> int:
    """Run a Dispatcher until it is drained; returns the exit code."""
    instance = instance_of(sys.argv[1:] if argv is None else argv, "posthouse.dispatcher")
    ignore_interrupt()
    log = open_process_log("dispatcher")
    parent = Parent.from_environment()
    try:
        configuration = load(instance)
        check_services(configuration, images)
        access = Access(configuration, log)
        user = wanted_user(configuration.tailor.user)
    except ConfigurationError as error:
        show_faults(error)
        return EX_CONFIG
    except NoSuchUser as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    try:
        bound = [(service, listeners_of(service)) for service in configuration.dispatcher.services if service.enabled]
    except ListenError as error:
        sys.stderr.write(f"{error}\n")
        return EX_UNAVAILABLE
    socket_path = instance.run / control.DISPATCHER
    sock = control.bind_unix(socket_path)
    if user is not None:
        os.chown(socket_path, user.uid, user.gid, follow_symlinks=False)
        become(user)
        log.info("runs as %s", user.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        family = Family(loop, log, access, Farewells(loop), itertools.count(1))
        services = []
        for service, listeners in bound:
            services.append(ServiceAtWork(service, listeners, _command(images, configuration, service), family))
        return runner.run(Dispatcher(configuration, services, family, parent).run(control.ControlServer, sock))


def _command(images: Images, configuration: Configuration, service: Service) -> list[str]:
    root = str(configuration.instance.root)
    command = [*images[service.image], "--instance", root, "--service", service.name, "--channel", service.channel]
    command += ["--stacksize", str(service.stacksize), "--debug", str(service.debug)]
    if service.tls is not None:
        tls = service.tls
        for option, path in (("certificate", tls.certificate), ("key", tls.key), ("authorities", tls.authorities)):
            command += [f"--tls-{option}", str(path)] if path is not None else []
        command += ["--tls-require-client", "1"] if tls.require_client else []
    return command


class Dispatcher:
    """All services of an instance."""

    def __init__(self, configuration: Configuration, services: list[ServiceAtWork], family: Family, parent: Parent) -> None:
        self._configuration = configuration
        self._services = services
        self._family = family
        self._loop = family.loop
        self._log = family.log
        self._parent = parent
        options = configuration.dispatcher.options
        self._debug = DebugLog(_debug_mask(options), family.log)
        self._changed = asyncio.Event()
        self._stopping = False
        self._listening = False
        family.changed = self._changed.set

    async def run(self, serve: type[control.ControlServer], sock: Any) -> int:
        """Start, serve until told to end, drain; returns the exit code."""
        for number, callback in ((signal.SIGTERM, self._stop), (signal.SIGHUP, self._hup)):
            self._loop.add_signal_handler(number, callback)
        self._parent.watch(self._loop, self._orphaned)
        server = serve(sock, self._answer)
        await server.start()
        for service in self._services:
            service.begin()
        code = await self._until_ready()
        if code is not None:
            return await self._end(code)
        self._open()
        while not self._stopping:
            await self._wait(1.0)
            for service in self._services:
                service.tick()
        server.close()
        return await self._end(0)

    async def _until_ready(self) -> int | None:
        while not self._stopping:
            failures = [service.failure for service in self._services if service.failure is not None]
            if failures:
                reasons = dict.fromkeys(reason for _, reasons in failures for reason in reasons)
                sys.stderr.write("".join(f"{reason}\n" for reason in reasons))
                return max(code for code, _ in failures)
            if all(service.pool.has_started for service in self._services):
                return None
            for service in self._services:
                service.tick()
            await self._wait(1.0)
        return 0

    def _open(self) -> None:
        for service in self._services:
            service.open()
            for listener in service.listeners:
                where = listener.address or "all addresses"
                self._log.info("%s listens on %s, port %s", service.service.name, where, listener.port)
        self._listening = True
        self._parent.announce(ready=True, listeners=self._listeners())

    async def _end(self, code: int) -> int:
        self._log.info("drains")
        for service in self._services:
            service.drain()
        deadline = self._loop.time() + DRAIN_SECONDS + _STOP_SECONDS
        while not all(service.is_gone for service in self._services):
            if self._loop.time() > deadline:
                self._log.warning("workers are still busy: cut off")
                for service in self._services:
                    service.kill()
                deadline += 5
            await self._wait(0.5)
        self._family.farewells.close()
        return code

    async def _wait(self, seconds: float) -> None:
        timer = self._loop.call_later(seconds, self._changed.set)
        await self._changed.wait()
        timer.cancel()
        self._changed.clear()

    def _stop(self) -> None:
        self._stopping = True
        self._changed.set()

    def _orphaned(self) -> None:
        self._log.warning("the supervisor is gone: ending")
        logging.shutdown()
        os._exit(0)  # the workers see end-of-file now, not after a drain of ours, and so end in time themselves

    # reload and status

    def _hup(self) -> None:
        faults, notes = self._reload()
        for fault in faults:
            self._log.error("reload refused, the old configuration goes on: %s", fault)
        for note in notes:
            self._log.warning("%s", note)

    def _reload(self) -> tuple[list[str], list[str]]:
        """Why nothing is taken, and what is not taken before a restart."""
        try:
            configuration = load(self._configuration.instance)
            self._family.access.replace(configuration)
        except ConfigurationError as error:
            return [str(fault) for fault in error.faults], []
        self._debug.say(Bit.CONFIG, "mappings read again")
        for service in self._services:
            service.reload()
        return [], unread(self._configuration, configuration)

    def _listeners(self) -> list[dict[str, Any]]:
        return [
            {"service": service.service.name, "address": listener.address or "*", "port": listener.port, "tls": listener.tls}
            for service in self._services
            for listener in service.listeners
        ]

    async def _answer(self, request: control.Answer) -> control.Answer:
        match request.get("op"):
            case "status":
                ready = self._listening and not self._stopping and all(service.pool.is_ready for service in self._services)
                return {
                    "ready": ready,
                    "pid": os.getpid(),
                    "processes": [process for service in self._services for process in service.processes()],
                    "listeners": self._listeners(),
                    "services": {service.service.name: service.statistics() for service in self._services},
                    "troubles": gathered(trouble for service in self._services for trouble in service.troubles()),
                }
            case "reload":
                faults, notes = self._reload()
                return {"ok": not faults, "faults": faults, "notes": notes}
            case other:
                return {"error": f"unknown request {other!r}"}


def unread(before: Configuration, now: Configuration) -> list[str]:
    """What has changed and takes a restart: services, places, user."""
    old, new = ({each.name: replace(each, file="", line=0) for each in one.dispatcher.services} for one in (before, now))
    changed = [f"dispatcher.cnf: service {name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    changed += ["dispatcher.cnf: service DISPATCHER"] if before.dispatcher.options != now.dispatcher.options else []
    changed += ["imta_tailor"] if before.tailor != now.tailor else []
    return [f"{what} was changed: that takes a restart" for what in changed]


def _debug_mask(options: Mapping[str, str]) -> int:
    try:
        return integer(options.get("DEBUG", "0"))
    except ValueError:
        return 0
