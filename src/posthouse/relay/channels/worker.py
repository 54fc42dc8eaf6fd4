"""The channel worker: one process for each pool, all its jobs in one event loop.

Leases come from the controller in frames over a socketpair and are all answered by results; nothing else decides what is
tried. On `Drain` (or SIGTERM) it hands back what it has not begun and ends when the rest is done, after 30 s at the latest; when
the controller is gone it finishes what is under way, marks, and has ended 5 s later (DURABILITY 3). It keeps jobs.lock open,
which it inherited: a new controller waits until the last worker is gone.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from posthouse.config.certificate_dates import told
from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError
from posthouse.dispatcher.trouble import Since, Trouble, Wrong
from posthouse.mail.message_id import MessageIds
from posthouse.relay.channels.age_notice import return_copy, warn
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.autoreply import AutoReply
from posthouse.relay.channels.bitbucket import swallow
from posthouse.relay.channels.defragment import Defragment
from posthouse.relay.channels.lmtp_client import LmtpChannels
from posthouse.relay.channels.local_program import LocalProgram
from posthouse.relay.channels.mover import Mover
from posthouse.relay.channels.operator import Renamer, drop, return_to_sender
from posthouse.relay.channels.pipe import Pipe
from posthouse.relay.channels.process import Process
from posthouse.relay.channels.reachable import Reachable
from posthouse.relay.channels.rerouter import Rerouter
from posthouse.relay.channels.settings import read_all
from posthouse.relay.channels.smtp_client import SmtpChannels
from posthouse.relay.channels.unreadable import open_leased
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.directory.open import open_directory
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import NO_PROGRAM
from posthouse.relay.job_controller.programs import Program
from posthouse.relay.job_controller.protocol import Drain, Grant, Job, Lease, Reload, Result, Troubled
from posthouse.relay.notices.notifier import Wording
from posthouse.relay.routing import rules as routing_rules

DRAIN_SECONDS = 30.0
_ASKING = (Program.PROCESS, Program.BITBUCKET)
"""programs that need the directory"""
ORPHAN_SECONDS = 3.5
CUT_SECONDS = 0.5


@dataclass(slots=True)
class ChannelWorker:
    """One worker under way."""

    shop: Workshop
    pool: str
    lmtp: LmtpChannels = field(init=False)
    smtp: SmtpChannels = field(init=False)
    mover: Mover = field(init=False)
    renamer: Renamer = field(init=False)
    autoreply: AutoReply = field(init=False)
    pipe: Pipe = field(init=False)
    defragment: Defragment = field(init=False)
    reachable: Reachable = field(init=False)
    rerouter: Rerouter = field(init=False)
    process: Process | None = None
    local: LocalProgram | None = None
    """where the pool has a channel to the store of this machine"""
    ids: MessageIds = field(init=False)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _draining: bool = False
    _reloading: asyncio.Task[None] | None = None
    _under_way: int = 0
    _since: Since = field(init=False)
    _troubles: tuple[Trouble, ...] = ()

    def __post_init__(self) -> None:
        self.ids = MessageIds(time.time, secrets.randbits)
        self.lmtp = LmtpChannels(self.shop, self._session_limit, self._maybe_end)
        self.smtp = SmtpChannels(self.shop, self._session_limit, self._maybe_end)
        self.mover = Mover(self.shop)
        self.renamer = Renamer(self.shop)
        self.autoreply = AutoReply(self.shop, self.ids)
        self.pipe = Pipe(self.shop)
        self.defragment = Defragment(self.shop, self.ids)
        self.reachable = Reachable(self.shop)
        self.rerouter = Rerouter(self.shop, self.ids, self.one_less)
        self._since = Since(self._tell)

    def _session_limit(self, channel: str) -> int:
        configuration = self.shop.configuration
        jobs, block = configuration.job_controller, configuration.imta.channels[channel]
        pool = jobs.pool(block.pool) if jobs is not None else None
        limit = min(block.maxjobs, pool.job_limit if pool is not None else 10)
        return limit * max(1, configuration.channel_option(channel).integer("MAX_CLIENT_THREADS", 10))

    # what comes from the controller

    def take(self, message: Lease | Grant | Drain | Reload) -> None:
        """One message."""
        if isinstance(message, Lease):
            self._take_lease(message)
        elif isinstance(message, Grant):
            program = self._program(message.channel)
            if program is Program.LMTP:
                self.lmtp.grant(message.channel, message.host, message.sessions)
            elif program is Program.SMTP:
                self.smtp.grant(message.channel, message.host, message.sessions)
        elif isinstance(message, Reload):
            self.reload()
        else:
            self.drain(DRAIN_SECONDS)

    def pump(self) -> None:
        """A frame has been taken: set things going."""
        self.lmtp.pump()
        self.smtp.pump()
        self.mover.pump()
        self.renamer.pump()

    def _program(self, channel: str) -> Program:
        settings = self.shop.settings.get(channel)
        return settings.program if settings is not None else Program.NONE

    def _take_lease(self, lease: Lease) -> None:
        if self._draining:
            self.shop.tell(Result(lease.key, Verdict.AGAIN, file=lease.file))
        elif lease.job is Job.MOVE or (lease.job is Job.HOLD and lease.record is not None):
            self.mover.put(lease)
        elif lease.job in {Job.HOLD, Job.RELEASE}:
            self.renamer.put(lease)
        elif lease.job in {Job.REROUTE, Job.ASK}:
            self._under_way += 1
            self.rerouter.put(lease)
        elif lease.job is Job.DELIVER and self._program(lease.channel) is Program.LMTP:
            self.lmtp.put(lease)
        elif lease.job is Job.DELIVER and self._program(lease.channel) is Program.SMTP:
            self.smtp.put(lease)
        elif self.local is not None and lease.job is Job.DELIVER and self._program(lease.channel) is Program.STORE:
            self._under_way += 1
            self.local.put(lease)
        else:
            self._take_simple(lease)

    def _take_simple(self, lease: Lease) -> None:
        opened = open_leased(self.shop, lease)
        if opened is None:
            return
        self._under_way += 1
        if lease.job is Job.WARN:
            warn(self.shop, lease, opened, self.one_less)
            return
        attempt = Attempt(self.shop, lease, opened, self.one_less)
        program = self._program(lease.channel)
        if program.is_here:
            self.reachable.tell(lease)
        if lease.job is Job.RETURN and program is Program.DEFRAGMENT:
            self.defragment.release(attempt, opened)
        elif lease.job is Job.RETURN:
            return_copy(self.shop, attempt, opened)
        elif lease.job is Job.BOUNCE:
            return_to_sender(attempt, opened)
        elif lease.job is Job.DROP:
            drop(attempt, opened)
        elif program is Program.PROCESS and self.process is not None:
            self.process.put(attempt, opened)
        elif program is Program.PIPE:
            self.pipe.put(attempt, opened)
        elif program is Program.DEFRAGMENT:
            self.defragment.put(attempt, opened)
        elif program is Program.BITBUCKET and self.process is not None and any(each.answers for each in opened.recipients):
            self.autoreply.put(attempt, opened, self.process.directory)
        elif program is Program.BITBUCKET:
            swallow(attempt, opened)
        else:  # the controller has read a newer configuration than we
            for recipient in opened.recipients:
                attempt.result(recipient, NO_PROGRAM)
            attempt.end()

    def one_less(self) -> None:
        """A copy has been given back."""
        self._under_way -= 1
        self._maybe_end()

    # the end

    def drain(self, seconds: float) -> None:
        """Finish within so many seconds."""
        if self._draining:
            return
        self._draining = True
        self.shop.loop.call_later(seconds, self._cut)
        self.lmtp.drain()
        self.smtp.drain()
        self.pipe.drain()
        self.defragment.drain()
        self.rerouter.drain()
        self._maybe_end()

    def orphaned(self) -> None:
        """The controller is gone."""
        self.drain(ORPHAN_SECONDS)

    def _cut(self) -> None:
        self.lmtp.cut()
        self.smtp.cut()
        self.pipe.cut()
        self.shop.loop.call_later(CUT_SECONDS, self.ended.set)

    def _maybe_end(self) -> None:
        if self._draining and not self.lmtp.sessions and not self.smtp.sessions and not self._under_way and not self._moving:
            self.shop.loop.call_soon(self.ended.set)

    @property
    def _moving(self) -> bool:
        return self.mover.busy or self.renamer.busy

    def tick(self) -> None:
        """Once a second."""
        self.lmtp.tick()
        self.smtp.tick()
        self.defragment.tick()
        self._since.say({**(self.local.wrong() if self.local is not None else {}), **self._certificates()})
        self.shop.flush()
        self.shop.places.forget_freed()
        self._maybe_end()

    def _certificates(self) -> Wrong:
        """What is wrong with the pool's certificates, or will be soon."""
        found: list[str] = []
        for name, settings in self.shop.settings.items():
            tls = settings.tls or self.smtp.tls(name)
            if tls is None or _pool(self.shop.configuration, name) != self.pool:
                continue
            if tls.fault:
                outcome = "no mail goes out there" if tls.context is None else "what was read before is in use"
                found.append(f"{tls.fault}; {outcome}")
            if words := told(tls.dates, self.shop.now()):
                found.append(f"channel {name}: {tls.named[1]}: {words}")
        return {"certificate": "; ".join(found)} if found else {}

    def _tell(self, troubles: Sequence[Trouble]) -> None:
        changed = tuple(troubles)
        if changed != self._troubles:
            self._troubles = changed
            self.shop.tell(Troubled(changed))

    def reload(self) -> None:
        """Read the configuration again; a bad one changes nothing."""
        try:
            configuration = load(self.shop.configuration.instance)
            rules = routing_rules.compile(configuration, chance=random.random, clock=time.monotonic)
        except ConfigurationError as error:
            self.shop.alarm(f"reload: {error}; the old configuration stays")
            return
        self.shop.configuration, self.shop.rules = configuration, rules
        self.shop.settings = read_all(configuration, self.shop.settings)
        self.shop.wording = Wording.from_configuration(configuration, self.shop.host)
        self.lmtp.reload()
        self.smtp.reload()
        self._reloading = self.shop.loop.create_task(self._reload_directory())

    async def _reload_directory(self) -> None:
        """Ask the directory of the new configuration from now on; one that cannot be opened leaves the old one."""
        try:
            await self.open_directory()
            if self.local is not None:
                await self.local.reload(self.shop.configuration)
        except (ConfigurationError, OSError) as error:
            self.shop.alarm(f"reload: {error}; what it was about stays as it was")

    async def open_directory(self) -> None:
        """Open the configuration's directory, where a channel of the pool needs one.

        Raises:
            ConfigurationError: it cannot be opened.
        """
        configuration = self.shop.configuration
        if not any(s.program in _ASKING and _pool(configuration, n) == self.pool for n, s in self.shop.settings.items()):
            return
        directory = open_directory(configuration)
        await directory.start()
        if self.process is None:
            self.process = Process(self.shop, directory, self.ids)
        else:
            old, self.process.directory = self.process.directory, directory
            await old.close()


def _pool(configuration: Configuration, channel: str) -> str:
    jobs = configuration.job_controller
    found = jobs.pool(configuration.imta.channels[channel].pool) if jobs is not None else None
    return found.name.upper() if found is not None else ""
