"""A Dispatcher's pool of workers on a clock of the test's own."""

from typing import Any

from posthouse.dispatcher.lifetime import Limits
from posthouse.dispatcher.pool import Pool
from posthouse.dispatcher.pool_action import Action, HandOff, Spawn

QUIET: dict[str, Any] = {"max_life_time": 0, "max_life_conns": 0}


class Bench:
    """A pool whose workers do at once what they are told, unless the test holds them back."""

    def __init__(self, **limits: Any) -> None:
        self.limits = Limits(**{**QUIET, "max_handoffs": 1000, **limits})
        self.pool = Pool(self.limits)
        self.now = 100.0
        self.n = 0
        self.log: list[Action] = []
        self.instant = True  # workers are ready, and connections taken over, at once
        self.at: dict[int, int] = {}  # connection -> worker
        self.do(self.pool.begin(self.now))

    def do(self, actions: list[Action]) -> list[Action]:
        self.log += actions
        for action in actions:
            if isinstance(action, HandOff):
                self.at[action.n] = action.worker
            if self.instant and isinstance(action, Spawn):
                self.do(self.pool.ready(action.worker, self.now))
            if self.instant and isinstance(action, HandOff):
                self.do(self.pool.taken(action.n, self.now))
        return actions

    def connect(self, address: str = "", port: int = 25) -> int:
        self.n += 1
        self.do(self.pool.arrived(self.n, port, address or f"10.0.{self.n // 250}.{self.n % 250}", self.now))
        return self.n

    def close(self, n: int) -> None:
        self.do(self.pool.closed(self.at[n], n, self.now))

    def tick(self, seconds: float = 1) -> list[Action]:
        self.now += seconds
        for number in self.pool.workers:
            self.pool.heard(number, self.now)
        return self.do(self.pool.tick(self.now))

    def of(self, kind: type) -> list[Any]:
        return [action for action in self.log if isinstance(action, kind)]

    def states(self) -> list[str]:
        return [worker.state.value for worker in self.pool.workers.values()]
