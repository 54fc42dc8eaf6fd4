"""What the configuration says of pools, channels, backoff and notices, in the words of the schedule."""

from dataclasses import dataclass, field

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration
from posthouse.mail.envelope import Priority
from posthouse.relay.job_controller.places import ChannelLimits
from posthouse.relay.job_controller.programs import Program, program_of, worker_module
from posthouse.relay.job_controller.schedule import Schedule

_DEFAULT_POOL = "DEFAULT"


@dataclass(slots=True)
class Plan:
    """One configuration, with the answers remembered.

    Args:
        configuration: of the relay.
    """

    configuration: Configuration
    _backoffs: dict[tuple[str, Priority], tuple[float, ...]] = field(default_factory=dict)
    _ages: dict[tuple[str, Priority], tuple[int, ...]] = field(default_factory=dict)
    _fixed: dict[str, str] = field(init=False)
    unit: float = field(init=False)
    """seconds in a unit of `notices`"""

    def __post_init__(self) -> None:
        self.unit = self.configuration.notice_unit
        named = ((name, channel.value("daemon")) for name, channel in self.configuration.imta.channels.items())
        self._fixed = {name: host.lower() for name, host in named if host}

    def host(self, channel: str, host: str) -> str:
        """What a copy is scheduled by: the channel's `daemon` where it has one, else its recipients' host."""
        return self._fixed.get(channel, host)

    @property
    def most(self) -> int:
        """MAX_MESSAGES: copies that are known at once."""
        jobs = self.configuration.job_controller
        return jobs.max_messages if jobs is not None else 100_000

    def apply(self, schedule: Schedule) -> None:
        """Tell the schedule of every pool and channel."""
        jobs = self.configuration.job_controller
        for pool in jobs.pools.values() if jobs is not None else ():
            schedule.set_pool(pool.name.upper(), pool.job_limit)
        if jobs is None:
            schedule.set_pool(_DEFAULT_POOL, 10)
        for name, channel in self.configuration.imta.channels.items():
            schedule.set_channel(name, self._limits(channel))
        for name in schedule.channels:
            if name not in self.configuration.imta.channels:
                schedule.set_channel(name, self.limits_of_unknown())

    def limits_of_unknown(self) -> ChannelLimits:
        """For a channel that is in the queue and not in imta.cnf: its copies only wait."""
        return ChannelLimits(self._pool(None), program=False)

    def program_pools(self) -> list[str]:
        """Pools whose workers are started ahead of the first message.

        Those with a channel to the store of this machine, which they recover; where it has none, those with a channel to others.
        """
        channels = self.configuration.imta.channels.values()
        found = [(program_of(self.configuration, each), self._pool(each.pool)) for each in channels]
        here = [pool for program, pool in found if program is Program.STORE]
        return list(dict.fromkeys(here or [pool for program, pool in found if program is Program.LMTP]))

    def worker_module(self, pool: str) -> str:
        """What the pool's worker is started as."""
        channels = [each for each in self.configuration.imta.channels.values() if self._pool(each.pool) == pool]
        return worker_module({program_of(self.configuration, each) for each in channels})

    def has_program(self, channel: Channel) -> bool:
        """Whether this version has a program for the channel."""
        return program_of(self.configuration, channel) is not Program.NONE

    def gathers(self, channel: str) -> bool:
        """Whether a new worker must see all that waits there: it knows of no part that it has not tried."""
        block = self.configuration.imta.channels.get(channel)
        return block is not None and program_of(self.configuration, block) is Program.DEFRAGMENT

    def backoff(self, channel: str, priority: Priority) -> tuple[float, ...]:
        """Waits in seconds."""
        key = (channel, priority)
        found = self._backoffs.get(key)
        if found is None:
            block = self.configuration.imta.channels.get(channel)
            found = self._backoffs[key] = block.backoff(priority) if block is not None else (3600.0,)
        return found

    def ages(self, channel: str, priority: Priority) -> tuple[int, ...]:
        """Ages of notices in units; empty for a channel that is not configured: nobody may judge its mail."""
        key = (channel, priority)
        found = self._ages.get(key)
        if found is None:
            block = self.configuration.imta.channels.get(channel)
            found = self._ages[key] = block.notices(priority) if block is not None else ()
        return found

    def _limits(self, channel: Channel) -> ChannelLimits:
        options = self.configuration.channel_option(channel.name)
        return ChannelLimits(
            pool=self._pool(channel.pool),
            maxjobs=max(1, channel.maxjobs),
            client_threads=max(1, options.integer("MAX_CLIENT_THREADS", 10)),
            threaddepth=max(1, channel.threaddepth),
            program=self.has_program(channel),
            first_backoff=channel.backoff(Priority.NORMAL)[0],
        )

    def _pool(self, name: str | None) -> str:
        jobs = self.configuration.job_controller
        found = jobs.pool(name) if jobs is not None else None
        if found is None:
            found = jobs.first_pool if jobs is not None else None
        return found.name.upper() if found is not None else _DEFAULT_POOL
