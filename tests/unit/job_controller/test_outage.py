"""A host with thousands of waiting copies is down for hours and comes back; other hosts do not feel it. No clock but a number.

The host below stands for a store: what reaches it, how often, over how many sessions.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from posthouse.relay.job_controller.backoff import HOST_FIRST_WAIT, JITTER, Verdict, after
from posthouse.relay.job_controller.entry import Entry
from posthouse.relay.job_controller.places import ChannelLimits
from posthouse.relay.job_controller.protocol import Job, Result
from posthouse.relay.job_controller.schedule import Schedule
from support.stock_world import START, C, World

BACKOFF = (3600.0, 7200.0)
COPIES = 5000
HOURS = 3600.0
SERVICE = 0.05
"""seconds a session of a host that answers needs for one copy"""


@dataclass
class Net:
    """Hosts, the relay's sessions to them, and what came to pass."""

    seed: int = 1
    now: float = 0.0
    down: set[str] = field(default_factory=set)
    full: set[str] = field(default_factory=set)
    """these answer 452 to everything"""
    connects: list[tuple[float, str]] = field(default_factory=list)
    tried: list[tuple[float, str]] = field(default_factory=list)
    delivered: dict[int, float] = field(default_factory=dict)
    granted: dict[str, int] = field(default_factory=Counter)
    sessions: dict[str, int] = field(default_factory=Counter)
    widths: list[tuple[float, int]] = field(default_factory=list)
    """how many sessions `big` had, and when"""

    def __post_init__(self) -> None:
        self.schedule = Schedule(random.Random(self.seed).random)
        self.schedule.set_pool("SMTP_POOL", 10)
        self.schedule.set_channel(C, ChannelLimits("SMTP_POOL", 7, 10, 10, first_backoff=BACKOFF[0]))
        self._out: dict[str, list[Entry]] = {}
        self._key = 0

    def put(self, host: str, count: int = 1) -> list[int]:
        """Accept copies."""
        first = self._key
        for _ in range(count):
            self.schedule.add(Entry(self._key, C, host, 1, self.now, BACKOFF))
            self._key += 1
        return list(range(first, self._key))

    def step(self, seconds: float) -> None:
        """Time passes; what is out is answered, what may go goes."""
        self.now += seconds
        for host, entries in self._out.items():
            for _ in range(min(len(entries), round(self.granted[host] * seconds / SERVICE))):
                self._answer(host, entries.pop(0))
        self.schedule.relieve(self.now)
        for entry in self.schedule.lease(self.now):
            self._out.setdefault(entry.host_name, []).append(entry)
        for _, host, count in self.schedule.grants():
            self.granted[host] = count
        for host in tuple(self._out):
            if self._out[host]:
                self._connect(host)

    def _answer(self, host: str, entry: Entry) -> None:
        self.tried.append((self.now, host))
        if host in self.full:
            self.schedule.finish(entry.key, Verdict.DEFERRED, self.now)
        else:
            self.schedule.finish(entry.key, Verdict.DONE, self.now)
            self.delivered[entry.key] = self.now

    def _connect(self, host: str) -> None:
        """As many sessions as were granted."""
        if host in self.down:
            self.connects.append((self.now, host))
            self.sessions[host] = 0
            self.schedule.host_down(C, host, self.now, "connection refused")
            for entry in self._out.pop(host):
                self.schedule.finish(entry.key, Verdict.HOST_DOWN, self.now)
            return
        count = self.granted[host]
        if host == "big" and count != self.sessions[host]:
            self.widths.append((self.now, count))
        self.connects += [(self.now, host)] * max(0, count - self.sessions[host])
        self.sessions[host] = count
        self.schedule.host_up(C, host, self.now)


def of(host: str, events: list[tuple[float, str]]) -> list[float]:
    return [when for when, whose in events if whose == host]


@pytest.fixture(scope="module")
def outage() -> tuple[Net, list[int], dict[int, float], float]:
    """Six hours without `big` while 20 other hosts have a copy each minute; then it is back, and they have one each second."""
    net, others = Net(), dict[int, float]()
    net.down.add("big")
    mine = net.put("big", COPIES)

    def traffic() -> None:
        for number in range(20):
            (key,) = net.put(f"other{number}")
            others[key] = net.now

    while net.now < 6 * HOURS:
        if round(net.now) % 60 == 0:
            traffic()
        net.step(1.0)
    net.down.clear()
    back = net.schedule.wake()
    assert back is not None
    while net.now < back - 1.0:
        net.step(1.0)
    back = net.now
    while len(net.delivered) < len(mine) + len(others) and net.now < back + 200.0:
        if round(net.now * 10) % 10 == 0:
            traffic()
        net.step(0.1)
    for _ in range(20):
        net.step(0.1)
    return net, mine, others, back


Outage = tuple[Net, list[int], dict[int, float], float]


def test_a_host_that_is_down_is_probed_by_one_copy_ever_more_seldom(outage: Outage) -> None:
    net, _, _, back = outage
    probes = [when for when in of("big", net.connects) if when < back]
    gaps = [round(later - earlier, 1) for earlier, later in pairwise(probes)]
    assert 9 <= len(probes) <= 13, gaps
    assert gaps[0] >= HOST_FIRST_WAIT
    assert all(later >= earlier / (1.0 + JITTER) for earlier, later in pairwise(gaps))
    assert max(gaps) <= BACKOFF[0] * (1.0 + JITTER) + 1.0, "back within the first backoff, however long it was away"
    assert of("big", [each for each in net.tried if each[0] < back]) == []


def test_waits_are_stretched_at_random() -> None:
    """Two relays that lost the same host at the same moment do not come back to it together."""
    ends = []
    for seed in range(8):
        net = Net(seed)
        net.down.add("big")
        net.put("big", 10)
        while net.now < 2 * HOURS:
            net.step(1.0)
        ends.append(of("big", net.connects)[-1])
    assert len(set(ends)) > 4


def test_it_comes_back_to_sessions_that_double(outage: Outage) -> None:
    net, mine, _, back = outage
    widths = [(when, count) for when, count in net.widths if when >= back and count]
    assert widths[0][1] == 1, "half open: one copy in one session"
    begun = widths[0][0]
    for when, count in widths:
        assert count <= 2 ** (int(when - begun) + 1), (when - begun, count)
    assert max(count for _, count in widths) == 53, "all the channel spares: 70 but a quarter"
    each_second = Counter(int(when - begun) for when in of("big", net.connects) if when >= begun)
    assert max(each_second.values()) <= 32
    assert all(key in net.delivered for key in mine)
    assert net.now - begun < 30.0, "a thousand a second are gone soon all the same"


def test_others_do_not_wait(outage: Outage) -> None:
    net, _, others, back = outage
    during = [net.delivered[key] - since for key, since in others.items() if since < back]
    after_it = [net.delivered[key] - since for key, since in others.items() if since >= back]
    assert len(during) == 20 * 360
    assert max(during) <= 2.0
    assert after_it
    assert max(after_it) <= 1.0, "not even while the big one catches up"


def test_what_was_deferred_together_is_not_tried_together() -> None:
    net = Net()
    net.full.add("big")
    net.put("big", COPIES)
    while len(net.tried) < COPIES:
        net.step(0.1)
    done = net.now
    while net.now < done + 2 * HOURS:
        net.step(1.0)
    again = Counter(int(when) for when in of("big", net.tried) if when > done)
    assert again.total() == COPIES, "once each"
    assert max(again.values()) <= 2 * COPIES / (BACKOFF[0] * JITTER), "spread over the whole stretch"


@pytest.mark.parametrize("verdict", [Verdict.DEFERRED, Verdict.BUSY, Verdict.PARTLY])
def test_no_verdict_makes_a_copy_spin(verdict: Verdict) -> None:
    """However often a copy is answered so, a thousand tries take hours."""
    tries, waited, chance = after(Entry(0, C, "big", 1, 0.0, BACKOFF).tries, verdict, BACKOFF, 0.0), 0.0, random.Random(1)
    for _ in range(1000):
        tries = after(tries[0], verdict, BACKOFF, chance.random())
        waited += tries[1]
    assert waited > 900 * HOURS


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, notices="3 6", units=1)
    yield world
    world.enqueuer.stop()


def in_every_state(world: World) -> dict[str, int]:
    """A copy in each state, all accepted at START; their keys."""
    names = ["ready", "filed", "blocked", "leased", "waiting", "taken"]
    for name in names:
        world.put(name)
    keys = {entry.host_name: entry.key for entry in world.stock.schedule}
    leases = {lease.host: lease.key for lease in world.lease(START)}
    world.stock.book(Result(leases["waiting"], Verdict.DEFERRED, (), 452, "4.2.2", "full"), START)
    world.stock.host_down(C, "blocked", START, "refused")
    for name in ("ready", "filed", "blocked"):
        world.stock.book(Result(leases[name], Verdict.HOST_DOWN if name == "blocked" else Verdict.AGAIN), START)
    world.stock.schedule.take(keys["filed"])
    world.stock.lease_of(next(e for e in world.stock.schedule if e.key == keys["filed"]), Job.MOVE)
    world.stock.book(Result(keys["filed"], Verdict.AGAIN, file=f"{C}/000/ZZ.00"), START)
    assert world.stock.schedule.take(keys["taken"]) is None
    world.stock.book(Result(leases["taken"], Verdict.AGAIN), START)
    entry = world.stock.schedule.take(keys["taken"])
    assert entry is not None
    world.stock.lease_of(entry, Job.MOVE)
    return keys


def test_the_sweep_sees_every_state_and_the_metric_what_it_could_not_have(world: World) -> None:
    keys = in_every_state(world)
    old = START + 6 * HOURS
    assert world.stock.ages.overdue(old) == {"copies": 0, "oldest_seconds": 0.0}
    assert {job for job, _ in world.notices(START + 3 * HOURS)} == {Job.WARN}
    for entry in tuple(world.stock.schedule):
        if entry.key not in {keys["leased"], keys["taken"]}:
            world.stock.book(Result(entry.key, Verdict.AGAIN), START + 3 * HOURS)
    assert world.stock.ages.overdue(old + 100.0) == {"copies": 6, "oldest_seconds": 100.0}
    returned = {key for job, key in world.notices(old + 100.0) if job is Job.RETURN}
    assert returned == set(keys.values()) - {keys["leased"], keys["taken"]}, "but what is being delivered or filed just now"
    for key in returned:
        world.stock.book(Result(key, Verdict.DONE, ((0, "F"),)), old + 100.0)
    assert world.stock.ages.overdue(old + 160.0) == {"copies": 2, "oldest_seconds": 160.0}
    world.stock.book(Result(keys["leased"], Verdict.DEFERRED, (), 452, "4.2.2", "full"), old + 160.0)
    world.stock.book(Result(keys["taken"], Verdict.AGAIN, file=f"{C}/000/ZY.00"), old + 160.0)
    late = {key: job for at in (161.0, 200.0, 240.0) for job, key in world.notices(old + at)}
    assert late == dict.fromkeys((keys["leased"], keys["taken"]), Job.WARN), "the warning's age was passed while they were out"
    for key in late:
        world.stock.book(Result(key, Verdict.AGAIN), old + 240.0)
    last = [pair for at in (280.0, 320.0) for pair in world.notices(old + at)]
    assert sorted(last) == sorted((Job.RETURN, key) for key in late)
