"""How the sessions of a pool are shared among its hosts: who gets a first one, who a further one, what each has out.

See places.py for the limits and schedule.py for what is promised. Functions on the schedule's own state; time is passed in.
"""

import heapq

from posthouse.relay.job_controller.entry import Entry, State
from posthouse.relay.job_controller.places import HostState, PoolState

WINDOW = 16
"""copies out for each session of a host that answers: enough that a session never waits for the controller"""
PATIENCE = 1.0
"""seconds without news from a host before its waiting copies get one more session"""
RAMP = 2
"""sessions of a host that has just come back; twice as many after each further second"""
FORGET = 60.0
"""seconds after which an idle host counts as not known to answer"""


def first_sessions(pool: PoolState, now: float) -> list[HostState]:
    """One session for each host that has none, channels in turn, the host with the oldest copy first; who got one."""
    queues: list[list[HostState]] = []
    count = len(pool.channels)
    for place in range(count):
        channel = pool.channels[(pool.turn + place) % count]
        idle = [host for host in channel.active.values() if not host.sessions and host.head()]
        if idle:
            idle.sort(key=lambda host: host.ready[0][:3], reverse=True)
            queues.append(idle)
    served: list[HostState] = []
    if not queues:
        return served
    pool.turn = (pool.turn + 1) % count
    while queues:
        for queue in tuple(queues):
            host = queue.pop()
            if host.channel.can_grow(first=True):
                if now - host.last_news > FORGET:
                    host.up = False
                host.last_news = now
                host.set_sessions(1)
                served.append(host)
            else:
                _ask_for_room(host)
            if not queue:
                queues.remove(queue)
    return served


def _ask_for_room(hungry: HostState) -> None:
    """Let the host with the most sessions in the way give one up as soon as its copies are back."""
    pool = hungry.channel.pool
    rivals = (host for channel in pool.channels for host in channel.hosts.values() if host.sessions > 1)
    biggest = max(rivals, key=lambda host: host.sessions, default=None)
    if biggest is not None:
        biggest.yielding = True


def grow(host: HostState, now: float) -> None:
    """Further sessions for a host that answers, as its copies call for and the limits allow."""
    if not host.up or host.yielding:
        return
    depth = max(1, host.channel.limits.threaddepth)
    wanted = -(-(host.ready_count + host.in_flight) // depth)
    quiet = now - host.last_news >= PATIENCE and host.answered >= host.last_news
    if quiet and host.in_flight + host.ready_count > host.sessions:
        wanted = max(wanted, host.sessions + 1)
    if host.recovered:
        wanted = min(wanted, _ramp(host, now))
    while host.sessions < wanted and host.channel.can_grow(first=False):
        host.set_sessions(host.sessions + 1)
        host.last_news = now


def _ramp(host: HostState, now: float) -> int:
    """Most sessions for a host that was down: it is not to be knocked over by what has gathered for it."""
    most = RAMP << min(int(now - host.recovered), 16)
    if most >= host.channel.limit:
        host.recovered = 0.0
    return most


def fill(host: HostState, out: list[Entry]) -> None:
    """Lease as many of the host's ready copies as its sessions may have out."""
    if host.yielding:
        room = 0 if host.in_flight else 1
    else:
        room = host.sessions * WINDOW - host.in_flight if host.up else 1 - host.in_flight
    while room > 0:
        entry = host.head()
        if entry is None:
            break
        heapq.heappop(host.ready)
        entry.in_ready = False
        host.ready_count -= 1
        entry.state = State.LEASED
        entry.out_in = host.channel.pool.name
        host.in_flight += 1
        out.append(entry)
        room -= 1
    if not host.ready_count:
        host.channel.active.pop(host.name, None)
