"""What is simulated: batches of messages, what they cost, how many machines there are.

A batch is messages of one moment for one store; they go together, so that hours of 2,000 messages a second stay within a
million events. Costs are those `make bench BENCH=figures` measured on one machine (README), the others are marked.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Batch:
    """Messages that go together."""

    key: int
    store: int
    weight: int
    """messages"""
    asks: int
    """recipients no relay's cache knows"""
    born: float
    """when the world first offered it"""
    accepted: float = -1.0
    delivered: float = -1.0
    offers: int = 0
    """times it was refused"""
    filed: bool = False
    """moved to queue files"""


@dataclass(frozen=True)
class Costs:
    """Seconds for each message, where nothing else is said."""

    accept: float = 0.19e-3
    """relay, SMTP server: measured"""
    send: float = 0.14e-3
    """relay, channel worker and job controller: measured"""
    store: float = 0.27e-3
    """store, all of it: measured"""
    move: float = 0.30e-3
    """relay, to a queue file and back: DESIGN 4, a file with its syncs"""
    sync: float = 1.5e-3
    """one fdatasync: assumed"""
    octets: float = 400e6
    """a second that a disk writes: assumed"""
    message: float = 4400.0
    """octets of one on disk: assumed"""
    round_trip: float = 0.5e-3
    """between two machines: assumed"""
    search: float = 0.5e-3
    """the directory, one thread: assumed"""


@dataclass(frozen=True)
class World:
    """Machines and load."""

    relays: int = 4
    stores: int = 10
    cores: int = 8
    directory_threads: int = 16
    rate: float = 2000.0
    """messages a second"""
    batch: int = 40
    """messages in one"""
    hits: float = 0.7
    """part of the recipients the relays' caches know"""
    costs: Costs = Costs()
