"""What every name service promises, on both: in memory, and dnspython against a server on loopback."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from posthouse.relay.names.dns_names import DnsNames
from posthouse.relay.names.name_service import Absent, Addresses, Exchanger, Exchangers, NameService, Unknown
from posthouse.testing.dns_server import DnsServer
from posthouse.testing.names import MemoryNames

ZONE = {
    ("remote.test", "MX"): ["20 mx2.remote.test.", "10 MX1.remote.test."],
    ("mx1.remote.test", "A"): ["192.0.2.1", "192.0.2.2"],
    ("mx1.remote.test", "AAAA"): ["2001:db8::1"],
    ("mx2.remote.test", "A"): ["192.0.2.3"],
    ("plain.test", "A"): ["192.0.2.4"],
    ("null.test", "MX"): ["0 ."],
    ("alias.test", "CNAME"): ["remote.test."],
    ("www.alias.test", "CNAME"): ["mx1.remote.test."],
    ("dangling.test", "CNAME"): ["gone.test."],
    ("big.test", "MX"): [f"{n} mx{n}.big.test." for n in range(40)],
    ("down.test", "A"): ["192.0.2.9"],
    ("half.test", "TXT"): ["nothing"],
}


@pytest_asyncio.fixture
async def server() -> AsyncIterator[DnsServer]:
    running = await DnsServer(ZONE).start()
    running.failing.add("down.test")
    running.cut.add("big.test")
    yield running
    await running.stop()


def pair(row: str) -> tuple[int, str]:
    preference, host = row.split()
    return int(preference), host.rstrip(".").lower() or "."


def memory() -> MemoryNames:
    alias = {"alias.test": "remote.test"}
    mx = {name: rows for (name, kind), rows in ZONE.items() if kind == "MX"}
    pairs = {name: [pair(row) for row in rows] for name, rows in mx.items()}
    pairs |= {name: pairs[target] for name, target in alias.items()} | {"half.test": []}
    hosts: dict[str, list[str]] = {}
    for (name, kind), rows in ZONE.items():
        if kind in {"A", "AAAA"}:
            hosts.setdefault(name, []).extend(rows)
    names = MemoryNames(pairs, {**hosts, "www.alias.test": hosts["mx1.remote.test"]})
    names.failing.add("down.test")
    return names


@pytest.fixture(params=["memory", "dns"])
def names(request: pytest.FixtureRequest, server: DnsServer) -> NameService:
    return memory() if request.param == "memory" else DnsNames([(server.host, server.port)])


class TestNameService:
    async def test_exchangers(self, names: NameService) -> None:
        found = await names.exchangers("Remote.Test")
        assert isinstance(found, Exchangers)
        assert set(found.records) == {Exchanger(10, "mx1.remote.test"), Exchanger(20, "mx2.remote.test")}

    async def test_a_cname_is_followed(self, names: NameService) -> None:
        found = await names.exchangers("alias.test")
        assert isinstance(found, Exchangers)
        assert len(found.records) == 2
        assert isinstance(await names.addresses("www.alias.test"), Addresses)

    async def test_a_name_without_mx_is_found_with_none(self, names: NameService) -> None:
        assert await names.exchangers("plain.test") == Exchangers(())
        assert await names.exchangers("half.test") == Exchangers(())
        assert await names.addresses("half.test") == Addresses()

    async def test_the_null_mx(self, names: NameService) -> None:
        assert await names.exchangers("null.test") == Exchangers((Exchanger(0, "."),))

    async def test_addresses_of_both_families(self, names: NameService) -> None:
        found = await names.addresses("mx1.remote.test.")
        assert isinstance(found, Addresses)
        assert found.ipv6 == ("2001:db8::1",)
        assert set(found.ipv4) == {"192.0.2.1", "192.0.2.2"}

    @pytest.mark.parametrize("name", ["gone.test", "nobody.remote.test"])
    async def test_what_does_not_exist_is_absent(self, names: NameService, name: str) -> None:
        assert isinstance(await names.exchangers(name), Absent)
        assert isinstance(await names.addresses(name), Absent)

    async def test_a_failing_server_knows_nothing(self, names: NameService) -> None:
        assert isinstance(await names.exchangers("down.test"), Unknown)
        assert isinstance(await names.addresses("down.test"), Unknown)

    async def test_a_long_answer_comes_whole(self, names: NameService) -> None:
        found = await names.exchangers("big.test")
        assert isinstance(found, Exchangers)
        assert len(found.records) == 40


async def test_a_cut_answer_is_asked_for_by_tcp_and_answers_are_remembered(server: DnsServer) -> None:
    names = DnsNames([(server.host, server.port)])
    await names.exchangers("big.test")
    await names.exchangers("big.test")
    await names.exchangers("gone.test")
    await names.exchangers("gone.test")
    assert server.asked == ["MX big.test", "MX big.test tcp", "MX gone.test"]


async def test_the_next_server_is_asked(server: DnsServer) -> None:
    silent = await DnsServer({}).start()
    await silent.stop()
    names = DnsNames([(silent.host, silent.port), (server.host, server.port)])
    names._resolver.timeout = 0.3
    assert isinstance(await names.exchangers("remote.test"), Exchangers)


async def test_no_server_at_all_is_unknown() -> None:
    stopped = await DnsServer({}).start()
    await stopped.stop()
    names = DnsNames([(stopped.host, stopped.port)])
    names._resolver.lifetime = 0.3
    assert isinstance(await names.exchangers("remote.test"), Unknown)


async def test_a_dangling_cname_is_absent(server: DnsServer) -> None:
    assert isinstance(await DnsNames([(server.host, server.port)]).addresses("dangling.test"), Absent)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test", ".".join(["y" * 60] * 6), "ü" * 70])
async def test_what_is_no_name_at_all_is_absent(server: DnsServer, name: str) -> None:
    assert isinstance(await DnsNames([(server.host, server.port)]).exchangers(name), Absent)
    assert server.asked == []
