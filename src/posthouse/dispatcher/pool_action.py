"""What the pool of a service's workers wants done (`pool.py` decides, `service.py` does it, in the order given)."""

from dataclasses import dataclass

from posthouse.dispatcher.lifetime import Due


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker under this number."""

    worker: int


@dataclass(frozen=True, slots=True)
class HandOff:
    """Give connection n to the worker."""

    worker: int
    n: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the worker for its idlest session."""

    worker: int


@dataclass(frozen=True, slots=True)
class ShedSession:
    """Have the worker end session n with 421."""

    worker: int
    n: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell the worker to take no more connections and to end with the last."""

    worker: int
    why: Due


@dataclass(frozen=True, slots=True)
class Kill:
    """The worker hangs: end it by force."""

    worker: int


@dataclass(frozen=True, slots=True)
class RefuseAddress:
    """Connection n is one too many of its address."""

    n: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Nobody took connection n over: close it."""

    n: int


@dataclass(frozen=True, slots=True)
class Listen:
    """Accept on this port, or stop accepting."""

    port: int
    on: bool


Action = Spawn | HandOff | Ask | ShedSession | Retire | Kill | RefuseAddress | Drop | Listen
