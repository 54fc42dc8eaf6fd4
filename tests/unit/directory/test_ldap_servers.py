import pytest

from posthouse.relay.directory.ldap_servers import FIRST_REST, LONGEST_REST, REFUSALS, LdapServers

A, B = "ldap://a", "ldap://b"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def servers(clock: Clock) -> LdapServers:
    return LdapServers((A, B), clock, 10)


def test_the_order_of_the_configuration(servers: LdapServers) -> None:
    assert servers.next(set()) == A
    assert servers.next({A}) == B
    assert servers.next({A, B}) is None


def test_a_failed_server_rests_longer_each_time(servers: LdapServers, clock: Clock) -> None:
    rests = []
    for _ in range(7):
        servers.failed(A, "down")
        began = clock.now
        while servers.next(set()) != A:
            clock.now += 0.5
        rests.append(clock.now - began)
    assert rests == [FIRST_REST, 2, 4, 8, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_one_asker_tries_a_rested_server_while_others_go_on(servers: LdapServers, clock: Clock) -> None:
    servers.failed(A, "down")
    assert servers.next(set()) == B
    clock.now += FIRST_REST
    assert servers.next(set()) == A
    assert servers.next(set()) == B
    servers.worked(A)
    assert servers.next(set()) == A


def test_a_try_that_never_ends_is_tried_again(servers: LdapServers, clock: Clock) -> None:
    servers.failed(A, "down")
    clock.now += FIRST_REST
    assert servers.next(set()) == A
    clock.now += 10
    assert servers.next(set()) == A


def test_all_failed(servers: LdapServers, clock: Clock) -> None:
    servers.failed(A, "refused")
    servers.failed(B, "silent")
    assert servers.next(set()) is None
    assert servers.health() == "down: ldap://a: refused; ldap://b: silent"
    clock.now += FIRST_REST
    assert servers.next(set()) == A


def test_health(servers: LdapServers) -> None:
    assert servers.health() == "ok: ldap://a ldap://b"
    servers.failed(B, "silent")
    assert servers.health() == "degraded: ldap://b: silent"
    servers.worked(B)
    assert servers.health() == "ok: ldap://a ldap://b"


def test_one_that_refuses_rests_while_another_will_do_and_is_asked_where_none_will(servers: LdapServers, clock: Clock) -> None:
    for _ in range(REFUSALS - 1):
        servers.refused(A, "no rights")
        assert servers.next(set()) == A
    servers.refused(A, "no rights")
    assert servers.health() == "degraded: ldap://a: refuses searches: no rights"
    assert servers.next(set()) == B
    servers.failed(B, "silent")
    assert servers.next(set()) == A
    assert servers.next({A}) is None
    clock.now += FIRST_REST
    servers.worked(A)
    assert servers.next(set()) == A
    servers.refused(A, "no rights")
    assert servers.health() == "degraded: ldap://b: silent", "refusals in a row count"


def test_who_takes_a_bind_may_be_tried_and_is_not_well_yet(servers: LdapServers) -> None:
    servers.failed(A, "unwilling")
    assert servers.next(set()) == B
    servers.let_in(A)
    assert servers.health() == "degraded: ldap://a: unwilling"
    assert servers.next(set()) == A
    assert servers.next(set()) == B


def test_a_try_that_is_refused_does_not_keep_the_next_question_away(clock: Clock) -> None:
    servers = LdapServers((A,), clock, 10)
    servers.failed(A, "silent")
    clock.now += FIRST_REST
    for _ in range(REFUSALS - 1):
        assert servers.next(set()) == A
        assert servers.next(set()) is None, "the try has not ended"
        servers.refused(A, "size limit")
    assert servers.next(set()) == A
    servers.worked(A)
    assert servers.health().startswith("ok")
