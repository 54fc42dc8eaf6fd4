"""The schedule's invariants under every order of events (hypothesis state machine)."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.places import ChannelLimits
from posthouse.relay.job_controller.schedule import Schedule
from posthouse.relay.job_controller.sharing import WINDOW

CHANNELS = {
    "tcp_lmtpcs": ChannelLimits("SMTP_POOL", maxjobs=2, client_threads=2, threaddepth=2),
    "tcp_more": ChannelLimits("SMTP_POOL", maxjobs=7, client_threads=3, threaddepth=1),
    "tcp_local": ChannelLimits("SMTP_POOL", program=False),
    "process": ChannelLimits("DEFAULT", client_threads=1),
}
POOLS = {"SMTP_POOL": 3, "DEFAULT": 1}
HOSTS = ("a", "b", "c")


class ScheduleMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(lambda: 0.5)
        for name, limit in POOLS.items():
            self.schedule.set_pool(name, limit)
        for name, limits in CHANNELS.items():
            self.schedule.set_channel(name, limits)
        self.now = 1.0
        self.count = 0
        self.out: dict[int, Entry] = {}
        self.taken: set[int] = set()

    @rule(channel=st.sampled_from(sorted(CHANNELS)), host=st.sampled_from(HOSTS), count=st.integers(1, 40), wait=st.booleans())
    def add(self, channel: str, host: str, count: int, wait: bool) -> None:
        for _ in range(count):
            self.count += 1
            entry = Entry(self.count, channel, host, 1, self.now, (60.0, 120.0))
            self.schedule.add(entry, self.now + 30.0 if wait else 0.0)

    @rule()
    def lease(self) -> None:
        for entry in self.schedule.lease(self.now):
            assert entry.key not in self.out, "leased twice"
            assert entry.key not in self.taken
            assert self.schedule.due(entry) <= self.now
            assert CHANNELS[entry.channel].program
            self.out[entry.key] = entry

    @rule(pick=st.integers(0, 1 << 30), verdict=st.sampled_from(list(Verdict)))
    def finish(self, pick: int, verdict: Verdict) -> None:
        if self.out:
            key = sorted(self.out)[pick % len(self.out)]
            entry = self.out.pop(key)
            if verdict is Verdict.HOST_DOWN:
                self.schedule.host_down(entry.channel, entry.host_name, self.now)
            left = self.schedule.finish(key, verdict, self.now)
            assert (left is None) == (verdict in {Verdict.DONE, Verdict.HELD, Verdict.GONE})

    @rule(pick=st.integers(0, 1 << 30))
    def host_up(self, pick: int) -> None:
        if self.out:
            entry = self.out[sorted(self.out)[pick % len(self.out)]]
            self.schedule.host_up(entry.channel, entry.host_name, self.now)

    @rule(pick=st.integers(0, 1 << 30))
    def take(self, pick: int) -> None:
        key = pick % (self.count + 1)
        entry = self.schedule.take(key)
        if entry is not None:
            assert key not in self.out
            assert key not in self.taken
            self.taken.add(key)

    @rule()
    def give_back(self) -> None:
        for key in self.taken:
            self.schedule.give_back(key)
        self.taken.clear()

    @rule(pick=st.integers(0, 1 << 30))
    def remove(self, pick: int) -> None:
        key = pick % (self.count + 1)
        self.schedule.remove(key)
        self.out.pop(key, None)
        self.taken.discard(key)

    @rule(seconds=st.sampled_from([0.5, 2.0, 61.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def retry(self) -> None:
        self.schedule.retry(list(range(self.count + 1)))

    @rule()
    def everything_that_can_go_does(self) -> None:
        """With all leases back, every host that is not waited for gets a copy out as long as there are places."""
        for key in list(self.out):
            self.schedule.finish(key, Verdict.AGAIN, self.now)
        self.out.clear()
        self.lease()
        for name in ("tcp_lmtpcs", "tcp_more", "process"):
            channel = self.schedule._channels[name]
            full = channel.sessions >= channel.limit or channel.pool.jobs >= channel.pool.limit
            for host in channel.hosts.values():
                if host.ready_count and not host.blocked_until:
                    assert host.in_flight or full, f"{name} {host.name} starves"

    @invariant()
    def limits_hold(self) -> None:
        for pool in self.schedule._pools.values():
            assert pool.jobs == sum(channel.jobs for channel in pool.channels) <= pool.limit
            for channel in pool.channels:
                assert channel.sessions == sum(host.sessions for host in channel.hosts.values()) <= channel.limit

    @invariant()
    def hosts_are_consistent(self) -> None:
        for channel in self.schedule._channels.values():
            for host in channel.hosts.values():
                mine = [entry for entry in self.schedule if entry.host is host]
                assert host.ready_count == sum(entry.state is State.READY for entry in mine)
                assert host.in_flight == sum(entry.state is State.LEASED for entry in mine)
                assert bool(host.in_flight) <= bool(host.sessions)
                assert host.in_flight <= max(1, host.sessions) * WINDOW * 2
                assert host.ready_count or host.sessions <= host.in_flight, "idle sessions are given up"

    @invariant()
    def leases_match(self) -> None:
        leased = {entry.key for entry in self.schedule if entry.state is State.LEASED}
        assert leased == set(self.out)


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=60, stateful_step_count=40)
