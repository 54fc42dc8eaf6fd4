"""How many searches a server gets at once: against servers of one and of many threads, calculated to the second."""

import heapq

import pytest

from posthouse.relay.directory.ldap_window import FIRST, MOST, Window

LIMIT = 9.0


class Server:
    """Answers in order, so many at once; time is counted, not waited for."""

    def __init__(self, seconds: float, threads: int) -> None:
        self.seconds = seconds
        self.window = Window()
        self.now = 0.0
        self.in_time = self.late = 0
        self._free = [0.0] * threads
        self._out: list[tuple[float, float]] = []
        """when each comes back and when it was sent"""

    def run(self, seconds: float, *, busy: bool = True) -> None:
        """Ask for so long, always (or only while nothing is on the way)."""
        ends = self.now + seconds
        while self.now < ends:
            while len(self._out) < (self.window.size if busy else 1):
                start = max(self.now, heapq.heappop(self._free))
                heapq.heappush(self._free, start + self.seconds)
                heapq.heappush(self._out, (start + self.seconds, self.now))
            back, sent = heapq.heappop(self._out)
            self.now = back
            if back - sent > LIMIT:
                self.late += 1
                self.window.late(sent, back)
            else:
                self.in_time += 1
            self.window.heard(sent, back, LIMIT, full=busy)


def test_a_new_server_gets_few_and_a_quick_one_soon_many() -> None:
    server = Server(0.002, 4)
    assert server.window.size == FIRST
    server.run(1.0, busy=False)
    assert server.window.size == FIRST, "nothing is learnt from a server nobody fills"
    server.run(1.0)
    assert server.window.size == MOST
    assert server.late == 0


@pytest.mark.parametrize(
    ("seconds", "threads", "least"),
    [(0.3, 1, 0.99), (1.0, 1, 0.99), (3.0, 1, 0.95), (5.0, 1, 0.6), (8.0, 1, 0.4), (1.0, 4, 0.9), (3.0, 16, 0.7), (8.0, 16, 0.6)],
)
def test_nearly_all_a_slow_server_can_do_comes_in_time(seconds: float, threads: int, least: float) -> None:
    server = Server(0.002, threads)
    server.run(5.0)
    server.seconds = seconds  # from now on, with whatever is on the way
    server.run(300.0, busy=True)
    server.in_time = server.late = 0
    began = server.now
    server.run(600.0)
    possible = (server.now - began) / seconds * threads
    assert server.in_time >= least * possible
    assert server.late <= (1 - least) * possible + 1


def test_when_it_is_well_again_it_gets_many_again() -> None:
    server = Server(3.0, 1)
    server.run(60.0)
    assert server.window.size <= 2
    server.seconds = 0.002
    server.run(10.0)
    assert server.window.size == MOST


def test_what_has_no_time_left_is_not_sent() -> None:
    window = Window()
    assert window.need(LIMIT) == 0.0
    window.heard(0.0, 4.0, LIMIT, full=True)
    assert window.need(LIMIT) == pytest.approx(5.0)
    window.late(0.0, 9.5)
    assert window.need(LIMIT) == pytest.approx(0.9 * LIMIT), "a question that has just come is always tried"


def test_one_late_round_halves_once() -> None:
    window = Window()
    for _ in range(40):
        window.heard(1.0, 1.001, LIMIT, full=True)
    assert window.size == MOST
    for _ in range(MOST):
        window.late(2.0, 11.0)
    assert window.size == MOST // 2
    window.late(12.0, 21.0)
    assert window.size == MOST // 4
    for now in range(30, 200, 10):
        window.late(float(now), now + 9.0)
    assert window.size == 1
