"""The SMTP worker's process: reads the configuration, opens directory and journal, serves sessions, drains.

Start order: configuration, directory, journal; only then connections come. Stop order: sessions have ended, the journal
makes durable and answers what waits, the announcer hangs up so that the job controller looks for itself.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.instance import Instance
from posthouse.config.option_file import OptionFile
from posthouse.dialogue.policy import Policy, smtp_policy
from posthouse.dispatcher.worker import Connection, WorkerContext
from posthouse.journal.adopt import BODY, open_folder
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.mail.message_id import MessageIds
from posthouse.relay.directory.open import open_directory
from posthouse.relay.job_controller.client import Announcer
from posthouse.relay.job_controller.local_socket import NAME
from posthouse.relay.names.servers import servers_of
from posthouse.relay.queue.enqueue import Enqueuer
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.scripts import channel_scripts
from posthouse.relay.smtp_server.limits import Limits
from posthouse.relay.smtp_server.relay import Relay
from posthouse.relay.smtp_server.sender_domain import SenderDomains
from posthouse.relay.smtp_server.session import SmtpSession
from posthouse.relay.smtp_server.source import SourceChannel
from posthouse.relay.smtp_server.troubles import Troubles
from posthouse.trace.counters import Counters
from posthouse.trace.options import LogOptions
from posthouse.trace.writer import TransactionLog

if TYPE_CHECKING:
    import ssl

_MAIL_PARAMS = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"})
_RCPT_PARAMS = frozenset({"NOTIFY", "ORCPT"})
_SPILL = 256 * 1024 - 4096
"""a body of this size and the Received field still fit into one record"""

_TICK = 1.0


class SmtpProgram:
    """The program of `tcp_smtp_server`.

    Args:
        instance: the relay.
        service: name of the service section.
        channel: the service's channel; without one, tcp_local.
        disk: where mail is written; tests pass one that fails.
    """

    def __init__(self, instance: Instance, service: str, channel: str, disk: Disk | None = None) -> None:
        self._instance = instance
        self._service = service
        self._channel = (channel or "tcp_local").lower()
        self._disk = disk or cast("Disk", LinuxDisk())
        self._relay: Relay | None = None
        self._certificate: Callable[[], ssl.SSLContext | None] = lambda: None
        self._announcer: Announcer | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._fds: list[int] = []

    async def start(self, worker: WorkerContext) -> None:
        """Make ready.

        Raises:
            ConfigurationError: with every fault.
        """
        configuration = load(self._instance, routing_rules.check, channel_scripts.check)
        self._certificate = worker.tls
        rules = _compile(configuration)
        directory = open_directory(configuration)
        await directory.start()
        disk = self._disk
        journal = disk.open_dir(str(self._instance.journal))
        body = open_folder(disk, BODY, journal)
        self._fds = [journal, body]
        self._announcer = Announcer(self._instance.run / NAME)
        enqueuer = Enqueuer(disk, journal, "smtp", call_soon=worker.loop.call_soon_threadsafe, announce=self._synced)
        enqueuer.start()
        limits = self._limits(configuration)
        host = self._host(rules)
        self._relay = Relay(
            loop=worker.loop,
            process_log=worker.log,
            host=host,
            queue_folder=str(self._instance.queue),
            rules=rules,
            limits=limits,
            sources=self._sources(configuration, host),
            directory=directory,
            log=_transaction_log(configuration, worker.loop),
            ids=MessageIds(time.time, secrets.randbits),
            disk=disk,
            body_folder=body,
            enqueuer=enqueuer,
            tls=worker.tls,
            switches=self._switches(configuration),
            troubles=Troubles(worker.tell),
        )
        self._tick()

    def session(self, connection: Connection, closed: Callable[[], None]) -> SmtpSession:
        """A new connection's protocol object."""
        return SmtpSession(self.relay, connection, self._channel, closed)

    @property
    def relay(self) -> Relay:
        """What the sessions share; only after `start`."""
        assert self._relay is not None
        return self._relay

    async def stop(self) -> None:
        """All sessions have ended."""
        relay = self._relay
        if relay is None:
            return
        if self._ticking is not None:
            self._ticking.cancel()
        relay.submit_waiting()
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
        relay = self.relay
        configuration = load(self._instance, routing_rules.check, channel_scripts.check)
        rules, limits = _compile(configuration), self._limits(configuration)
        host = self._host(rules)
        sources = self._sources(configuration, host)
        directory = open_directory(configuration)
        await directory.start()
        relay.flush()
        old_directory, old_log = relay.directory, relay.log
        relay.rules, relay.limits, relay.sources, relay.host, relay.directory = rules, limits, sources, host, directory
        relay.switches = self._switches(configuration)
        relay.log = _transaction_log(configuration, relay.loop)
        old_log.close()
        try:
            await old_directory.close()
        except Exception:
            relay.report("the old directory did not close")

    def _synced(self, segment: str, offset: int) -> None:
        """A batch is durable and answered: tell the job controller; what waited for memory has room now."""
        assert self._announcer is not None
        self._announcer.synced(segment, offset)
        self.relay.room_again()

    def _host(self, rules: routing_rules.Rules) -> str:
        return rules.local_host or self._instance.root.name

    def _limits(self, configuration: Configuration) -> Limits:
        channel = configuration.imta.channels.get(self._channel)
        if channel is None:
            raise ConfigurationError([_no_channel(configuration, self._service, self._channel)])
        return Limits.read(configuration.channel_option(self._channel), configuration.options, channel)

    def _switches(self, configuration: Configuration) -> bool:
        return configuration.imta.channels[self._channel].has("switchchannel")

    def _sources(self, configuration: Configuration, host: str) -> dict[str, SourceChannel]:
        """Every channel that mail may be accounted to: of all of them the service's option file counts (job-controller-cnf 7)."""
        options, sources = configuration.channel_option(self._channel), {}
        certificate, in_clear = self._certificate() is not None, options.integer("AUTH_IN_CLEAR", 0) != 0
        for name, channel in configuration.imta.channels.items():
            if channel.is_smtp or name == self._channel:
                limits = Limits.read(options, configuration.options, channel)
                policy = self._policy(options, host, limits)
                domains = _sender_domains(configuration, channel, options)
                sources[name] = SourceChannel.read(
                    channel, policy, limits, certificate=certificate, in_clear=in_clear, domains=domains
                )
        return sources

    def _policy(self, options: OptionFile, host: str, limits: Limits) -> Policy:
        size = f"SIZE {limits.message_size}"
        extensions = ("PIPELINING", "8BITMIME", "SMTPUTF8", size, "CHUNKING", "DSN", "ENHANCEDSTATUSCODES")
        policy = smtp_policy(options.text("BANNER_HOST", host), extensions)
        return replace(
            policy, greeting=f"{policy.greeting} {options.text('BANNER_ADDITION')}".rstrip(), max_size=limits.message_size,
            spill=_SPILL, known_mail_params=_MAIL_PARAMS, known_rcpt_params=_RCPT_PARAMS,
            max_recipients=max(1000, limits.recipients + 1),
        )  # fmt: skip

    def _tick(self) -> None:
        self._ticking = self.relay.loop.call_later(_TICK, self._tick)
        self.relay.tick()


def _compile(configuration: Configuration) -> routing_rules.Rules:
    return routing_rules.compile(configuration, chance=random.random, clock=time.monotonic)


def _sender_domains(configuration: Configuration, channel: Channel, options: OptionFile) -> SenderDomains | None:
    if not channel.has("mailfromdnsverify"):
        return None
    from posthouse.relay.names.dns_names import DnsNames  # a relay that asks nobody does not need the memory

    names = DnsNames(servers_of(configuration, channel, options))
    return SenderDomains(names, configuration.hosts.keys(), configuration.options.text("ERROR_TEXT_MAILFROMDNSVERIFY"))


def _transaction_log(configuration: Configuration, loop: asyncio.AbstractEventLoop) -> TransactionLog:
    channels = [name for name, channel in configuration.imta.channels.items() if channel.logging]
    instance, options = configuration.instance, LogOptions.from_options(configuration.options.integer)
    return TransactionLog(instance.log, options, channels, Counters(instance.counters, loop.call_later))


def _no_channel(configuration: Configuration, service: str, channel: str) -> Fault:
    for found in configuration.dispatcher.services:
        if found.name == service:
            return Fault(found.file, found.line, f"service {service}: imta.cnf has no channel {channel}")
    return Fault("dispatcher.cnf", 0, f"service {service}: imta.cnf has no channel {channel}")
