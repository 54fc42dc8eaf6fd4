"""The system's clock set while copies wait: their times are Unix times, and set back each wait would last longer by as much.

A machine that came up with a wrong hour, and learnt the right one from the network, must not leave mail lying for the difference.
A clock set forward ends waits early, which costs an attempt; and what it makes too old has that attempt before it is returned.
Pure: both clocks are passed in.
"""

from collections.abc import Callable

from posthouse.relay.job_controller.ages import SPARED, Ages
from posthouse.relay.job_controller.cargo import cargo_of
from posthouse.relay.job_controller.stock import Stock

LEAST = 5.0
"""seconds; a clock that is slewed goes by less"""


class ClockStep:
    """Compares the clock with one that cannot be set.

    Args:
        wall: Unix seconds.
        steady: seconds, never going back.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady
        self._last = wall() - steady()

    def step(self) -> float:
        """By how many seconds the clock was set since this was asked last, less than 0.0: back; 0.0: it was not."""
        last, self._last = self._last, self._wall() - self._steady()
        return self._last - last if abs(self._last - last) >= LEAST else 0.0


def set_back(stock: Stock, seconds: float) -> None:
    """Everything that waits for a time falls due as much earlier. Ages stay: they count from the time of acceptance."""
    stock.schedule.set_back(seconds)
    stock.moves.set_back(seconds)
    for order in stock.orders.under_way:
        order.deadline -= seconds
    stock.ages = Ages(stock.schedule, stock.plan)  # what is asked for again in a moment stands there, too
    for entry in stock.schedule:
        cargo = cargo_of(entry)
        cargo.spared = max(0.0, cargo.spared - seconds)
        if cargo.patient:
            cargo.patient = {key: until - seconds for key, until in cargo.patient.items()}
        stock.ages.plan_next(entry)


def set_forward(stock: Stock, now: float) -> None:
    """Nothing is returned for its age before it was tried with the new time; of the warnings passed the newest is given."""
    for entry in stock.schedule:
        cargo = cargo_of(entry)
        cargo.spared = max(cargo.spared, now + SPARED)
        stock.ages.pass_over(entry, now)
