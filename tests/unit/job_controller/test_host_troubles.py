"""Hosts that are down as `posthouse status` names them: since when, how much waits, which of the world's."""

from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.cargo import iso
from posthouse.relay.job_controller.protocol import Result
from posthouse.relay.job_controller.troubles import MANY, MOST, host_troubles
from support.stock_world import START, C, World


def down(world: World, host: str, channel: str, now: float) -> None:
    """The host's copy that was sent first finds nobody."""
    (lease,) = [each for each in world.lease(now) if each.host == host]
    world.stock.host_down(channel, host, now, "451 4.4.1 Connection refused")
    world.stock.book(Result(lease.key, Verdict.HOST_DOWN), now)


def said(world: World) -> list[tuple[float, str]]:
    return [(each.since, each.text) for each in host_troubles(world.stock.schedule, world.stock.plan.configuration)]


def test_a_store_is_named_from_its_first_failure_until_it_answers(world: World) -> None:
    store = "store1.example.com.lmtp"
    for _ in range(3):
        world.put(store)
    assert said(world) == []
    down(world, store, C, START)
    next_try = START + 60.0
    words = "store1.example.com is down (451 4.4.1 Connection refused): 3 copies wait, next try"
    assert said(world) == [(START, f"{words} {iso(next_try)}")]
    down(world, store, C, next_try)
    ((since, text),) = said(world)
    assert (since, text.startswith(words)) == (START, True)
    world.stock.schedule.host_up(C, store, next_try + 1.0)
    assert said(world) == []


def test_copies_that_wait_for_a_time_of_their_own_are_counted(world: World) -> None:
    """As all files do after a start, and who was over quota before."""
    store = "store1.example.com.lmtp"
    world.put(store)
    world.put(store)
    (first, *_) = world.lease(START)
    world.stock.schedule.host_up(C, store, START)
    world.stock.book(Result(first.key, Verdict.DEFERRED, (), 452, "4.2.2", "over quota"), START)
    (last,) = world.lease(START)
    world.stock.host_down(C, store, START, "451 4.4.1 Connection refused")
    world.stock.book(Result(last.key, Verdict.HOST_DOWN), START)
    assert "2 copies wait, next try" in said(world)[0][1]
    assert world.stock.schedule.remove(last.key) is not None
    (left,) = world.stock.schedule
    assert said(world)[0][1].endswith(f"1 copy waits, next try {iso(left.next_try)}"), "it is down as long as it does not answer"
    (again,) = world.lease(left.next_try)
    assert said(world)[0][1].endswith("1 copy waits, it is being tried")
    assert world.stock.schedule.remove(again.key) is not None
    assert said(world) == []


def test_hosts_of_the_world_are_named_when_much_waits(world: World) -> None:
    for _ in range(MANY):
        assert said(world) == []
        world.put("mx.example.net", channel="tcp_local")
        if len(world.stock.schedule) == 1:
            down(world, "mx.example.net", "tcp_local", START)
    assert [text.partition(" is")[0] for _, text in said(world)] == ["mx.example.net"]


def test_of_many_the_ones_with_most_mail_are_named(world: World) -> None:
    for number in range(MOST + 2):
        for _ in range(1 + (number == 5)):
            world.put(f"store{number}")
        down(world, f"store{number}", C, START + number)
    told = said(world)
    assert len(told) == MOST + 1
    assert told[0][1].startswith("store5 is down (451 4.4.1 Connection refused): 2 copies wait")
    assert told[-1][1] == "2 other hosts are down; 2 copies wait for them"
