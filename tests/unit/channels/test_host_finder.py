"""Where to connect: hosts file, literals, MX or not, and whose fault it is when there is nowhere."""

import dataclasses

import pytest

from posthouse.dialogue.smtp_client import Opening
from posthouse.mail.status import Status
from posthouse.relay.channels.host_finder import HostFinder, temporary
from posthouse.relay.channels.resolver import Resolver
from posthouse.relay.channels.smtp_settings import Lookup, SmtpSettings
from posthouse.testing.names import MemoryNames

SETTINGS = SmtpSettings(
    lookup=Lookup.MX, random=False, servers=(), most_hosts=32, last_resort="", fixed=False, connect_wait=1.0, interface="",
    opening=Opening(), tls=None, permanent_552="", hello="", fault="",
)  # fmt: skip
HOSTS = {"listed.test": ("127.0.0.9",)}
OURS = frozenset({"relay1.example.com"})


def names() -> MemoryNames:
    return MemoryNames(
        {
            "remote.test": [(20, "b.remote.test"), (10, "a.remote.test")],
            "null.test": [(0, ".")],
            "ours.test": [(5, "relay1.example.com")],
        },
        {"a.remote.test": ["192.0.2.1", "2001:db8::1"], "plain.test": ["192.0.2.2"]},
    )


def finder(service: MemoryNames, **changes: object) -> HostFinder:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return HostFinder(settings, lambda: service, Resolver(HOSTS), OURS, lambda: 0.5)


@pytest.mark.parametrize(
    ("destination", "hosts"),
    [
        ("Remote.Test.", ("a.remote.test", "b.remote.test")),
        ("plain.test", ("plain.test",)),
        ("listed.test", ("listed.test",)),
        ("[192.0.2.9]", ("[192.0.2.9]",)),
    ],
)
async def test_hosts(destination: str, hosts: tuple[str, ...]) -> None:
    assert await finder(names()).hosts(destination) == hosts


@pytest.mark.parametrize(
    ("destination", "status"), [("absent.test", "550 5.1.2"), ("null.test", "556 5.1.10"), ("ours.test", "554 5.4.6")]
)
async def test_nowhere(destination: str, status: str) -> None:
    found = await finder(names()).hosts(destination)
    assert isinstance(found, Status)
    assert str(found).startswith(status)
    found = await finder(names(), fixed=True).hosts(destination)
    assert isinstance(found, Status)
    assert str(found).startswith("451 4."), "what our own configuration names is our own fault"


async def test_the_hosts_file_and_literals_ask_nobody() -> None:
    service = names()
    assert await finder(service).addresses("listed.test") == ("127.0.0.9",)
    assert await finder(service).addresses("[IPv6:::1]") == ("::1",)
    await finder(service).hosts("listed.test")
    assert service.asked == []


async def test_addresses() -> None:
    assert await finder(names()).addresses("a.remote.test") == ("2001:db8::1", "192.0.2.1")
    absent = await finder(names()).addresses("absent.test")
    assert isinstance(absent, Status)
    assert absent.enhanced == "5.4.4"


async def test_a_name_service_that_fails_is_temporary() -> None:
    service = names()
    service.failing |= {"remote.test", "a.remote.test"}
    for found in (await finder(service).hosts("remote.test"), await finder(service).addresses("a.remote.test")):
        assert isinstance(found, Status)
        assert (found.code, found.enhanced) == (451, "4.4.3")


async def test_nomx_asks_for_no_mx() -> None:
    service = names()
    assert await finder(service, lookup=Lookup.ADDRESSES).hosts("remote.test") == ("remote.test",)
    itself = await finder(service, lookup=Lookup.ADDRESSES).hosts("relay1.example.com")
    assert isinstance(itself, Status)
    assert itself.enhanced == "5.4.6"
    assert service.asked == []


async def test_nodns_asks_the_system() -> None:
    service = names()
    found = await finder(service, lookup=Lookup.SYSTEM).addresses("nothing.invalid")
    assert isinstance(found, Status)
    assert (found.code, found.enhanced) == (451, "4.4.3")
    assert found.text.startswith("nothing.invalid: ")
    assert found.text.count("nothing.invalid") == 1
    assert service.asked == []


def test_temporary() -> None:
    assert temporary(Status(550, "5.1.2", "x")) == Status(451, "4.1.2", "x")
    assert temporary(Status(521, "", "x")) == Status(451, "", "x")
    assert temporary(Status(450, "4.0.0", "x")) == Status(450, "4.0.0", "x")
