"""The SMTP worker's process: reads the configuration, opens directory and journal, serves sessions, drains.

Start order: configuration, directory, journal; only then connections come. Stop order: sessions have ended, the journal
makes durable and answers what waits, the announcer hangs up so that the job controller looks for itself.
"""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import replace

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.dialogue.policy import Policy, smtp_policy
from posthouse.dispatcher.worker import Connection, WorkerContext
from posthouse.journal.adopt import BODY, open_folder
from posthouse.journal.disk import LinuxDisk
from posthouse.mail.message_id import MessageIds
from posthouse.relay.directory.open import open_directory
from posthouse.relay.job_controller.client import Announcer
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.smtp_server.limits import Limits
from posthouse.relay.smtp_server.relay import Relay
from posthouse.relay.smtp_server.session import SmtpSession
from posthouse.trace.options import LogOptions
from posthouse.trace.writer import TransactionLog

_MAIL_PARAMS = frozenset({"SIZE", "BODY", "SMTPUTF8"})
_SPILL = 256 * 1024 - 4096
"""a body of this size and the Received field still fit into one record"""


class SmtpProgram:
    """The program of `tcp_smtp_server`.

    Args:
        instance: the relay.
        service: name of the service section.
        channel: the service's channel; without one, tcp_local.
    """

    def __init__(self, instance: Instance, service: str, channel: str) -> None:
        self._instance = instance
        self._service = service
        self._channel = (channel or "tcp_local").lower()
        self._relay: Relay | None = None
        self._announcer: Announcer | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._fds: list[int] = []

    async def start(self, worker: WorkerContext) -> None:
        """Make ready.

        Raises:
            ConfigurationError: with every fault.
        """
        configuration = load(self._instance, routing_rules.check)
        rules = _compile(configuration)
        directory = open_directory(configuration)
        await directory.start()
        disk = LinuxDisk()
        journal = disk.open_dir(str(self._instance.journal))
        body = open_folder(disk, BODY, journal)
        self._fds = [journal, body]
        self._announcer = Announcer(self._instance.run / "job_controller.sock")
        enqueuer = Enqueuer(disk, journal, "smtp", call_soon=worker.loop.call_soon_threadsafe, announce=self._announcer.synced)
        enqueuer.start()
        limits = self._limits(configuration)
        host = rules.local_host or self._instance.root.name
        self._relay = Relay(
            loop=worker.loop,
            process_log=worker.log,
            host=host,
            queue_folder=str(self._instance.queue),
            rules=rules,
            limits=limits,
            policy=_policy(host, limits),
            directory=directory,
            log=_transaction_log(configuration),
            ids=MessageIds(time.time, secrets.randbits),
            disk=disk,
            body_folder=body,
            enqueuer=enqueuer,
        )
        self._tick()

    def session(self, connection: Connection, closed: Callable[[], None]) -> SmtpSession:
        """A new connection's protocol object."""
        assert self._relay is not None
        return SmtpSession(self._relay, connection, self._channel, closed)

    async def stop(self) -> None:
        """All sessions have ended."""
        relay = self._relay
        if relay is None:
            return
        if self._ticking is not None:
            self._ticking.cancel()
        await relay.loop.run_in_executor(None, relay.enqueuer.stop)
        await asyncio.sleep(0)  # the completions of the last batch run first
        relay.flush()
        if self._announcer is not None:
            self._announcer.close()
        await relay.directory.close()
        relay.log.close()
        for fd in self._fds:
            relay.disk.close(fd)

    async def reload(self) -> None:
        """Read the configuration again; what is in a transaction goes on with what it began with.

        Raises:
            ConfigurationError: it is bad; the old one stays.
        """
        relay = self._relay
        assert relay is not None
        configuration = load(self._instance, routing_rules.check)
        rules = _compile(configuration)
        directory = open_directory(configuration)
        await directory.start()
        old = relay.directory
        relay.rules, relay.directory = rules, directory
        relay.limits = self._limits(configuration)
        relay.policy = _policy(relay.host, relay.limits)
        log, relay.log = relay.log, _transaction_log(configuration)
        log.close()
        with contextlib.suppress(Exception):
            await old.close()

    def _limits(self, configuration: Configuration) -> Limits:
        channel = configuration.imta.channels.get(self._channel)
        if channel is None:
            raise ConfigurationError([_no_channel(configuration, self._service, self._channel)])
        return Limits.read(configuration.channel_option(self._channel), configuration.options, channel)

    def _tick(self) -> None:
        assert self._relay is not None
        self._relay.tick()
        self._ticking = self._relay.loop.call_later(1, self._tick)


def _compile(configuration: Configuration) -> routing_rules.Rules:
    return routing_rules.compile(configuration, chance=random.random, clock=time.time)


def _transaction_log(configuration: Configuration) -> TransactionLog:
    channels = [name for name, channel in configuration.imta.channels.items() if channel.logging]
    return TransactionLog(configuration.instance.log, LogOptions.from_options(configuration.options.integer), channels)


def _policy(host: str, limits: Limits) -> Policy:
    extensions = ("PIPELINING", "8BITMIME", "SMTPUTF8", f"SIZE {limits.message_size}", "CHUNKING", "ENHANCEDSTATUSCODES")
    return replace(
        smtp_policy(host, extensions), max_size=limits.message_size, spill=_SPILL, known_mail_params=_MAIL_PARAMS,
        known_rcpt_params=frozenset(), max_recipients=max(1000, limits.recipients + 1),
    )  # fmt: skip


def _no_channel(configuration: Configuration, service: str, channel: str) -> Fault:
    for found in configuration.dispatcher.services:
        if found.name == service:
            return Fault(found.file, found.line, f"service {service}: imta.cnf has no channel {channel}")
    return Fault("dispatcher.cnf", 0, f"service {service}: imta.cnf has no channel {channel}")
