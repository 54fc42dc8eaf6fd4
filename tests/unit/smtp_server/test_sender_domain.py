"""`mailfromdnsverify`: whose domain is asked about, what the answers mean, and that one slow answer keeps nobody else."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.mail.status import Status
from posthouse.relay.names.name_service import Absent, Addresses, Exchangers, Unknown
from posthouse.relay.smtp_server.relay import Relay
from posthouse.relay.smtp_server.sender_domain import SenderDomains
from posthouse.testing.names import MemoryNames
from support.smtp_world import SmtpWorld, relay_files

NO_HOST = "550 5.1.8 invalid/host-not-in-DNS return address not allowed: "
NO_ANSWER = "450 4.4.3 the DNS does not answer about the domain of the return address: "


def names() -> MemoryNames:
    found = MemoryNames(
        {"remote.test": [(10, "mx.remote.test")], "null.test": [(0, ".")], "bare.test": []},
        {"host.test": ["192.0.2.1"], "six.test": ["2001:db8::1"], "bücher.test": ["192.0.2.2"]},
    )
    found.failing.add("down.test")
    return found


def told(status: Status | None) -> str:
    return "" if status is None else f"{status.code} {status.enhanced} {status.text}"


@pytest.mark.parametrize(
    ("sender", "reply"),
    [
        ("a@remote.test", ""),
        ("a@REMOTE.test.", ""),
        ("a@host.test", ""),
        ("a@six.test", ""),
        ("ä@bücher.test", ""),
        ("a@listed.test", ""),
        ("a@[192.0.2.7]", ""),
        ("a@[IPv6:2001:db8::7]", ""),
        ("postmaster", ""),
        ('"a@remote.test"@gone.test', NO_HOST + '"a@remote.test"@gone.test'),
        ("a@gone.test", NO_HOST + "a@gone.test"),
        ("a@bare.test", NO_HOST + "a@bare.test"),
        ("a@192.0.2.7", NO_HOST + "a@192.0.2.7"),
        ("a@null.test", "550 5.7.27 the domain of the return address takes no mail (null MX): a@null.test"),
        ("a@down.test", NO_ANSWER + "a@down.test"),
    ],
)
async def test_what_the_answers_mean(sender: str, reply: str) -> None:
    assert told(await SenderDomains(names(), {"listed.test"}).refusal(sender)) == reply


class NoAddresses(MemoryNames):
    """Says that there is no MX record and then nothing more."""

    async def exchangers(self, domain: str) -> Exchangers | Absent | Unknown:
        del domain
        return Exchangers(())

    async def addresses(self, host: str) -> Addresses | Absent | Unknown:
        return Unknown(f"{host}: SERVFAIL")


async def test_trouble_behind_the_first_answer_is_temporary() -> None:
    assert told(await SenderDomains(NoAddresses(), ()).refusal("a@x.test")) == NO_ANSWER + "a@x.test"


class Slow(MemoryNames):
    """Answers about slow.test when it is let."""

    def __init__(self) -> None:
        super().__init__({"remote.test": [(10, "mx.remote.test")], "slow.test": [(10, "mx.slow.test")]})
        self.let = asyncio.Event()

    async def exchangers(self, domain: str) -> Exchangers | Absent | Unknown:
        if domain == "slow.test":
            await self.let.wait()
        if domain == "broken.test":
            raise RuntimeError("broken")
        return await super().exchangers(domain)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SmtpWorld]:
    mappings = "\nFROM_ACCESS\n\n  *|*|*|*|spam@remote.test|*  $Nnot$ you\n\n"
    files = relay_files(tmp_path, keywords="mailfromdnsverify nameservers 127.0.0.1", mappings=mappings)
    with SmtpWorld(files, prepare=with_names(Slow)) as running:
        yield running


def with_names(make: Callable[[], MemoryNames]) -> Callable[[Relay], None]:
    """Prepare a relay whose channel asks this name service."""

    def prepare(relay: Relay) -> None:
        domains = relay.sources["tcp_local"].domains
        assert domains is not None
        domains._names = make()

    return prepare


def test_a_session(world: SmtpWorld) -> None:
    client = world.connect()
    client.ask("EHLO x.test")
    assert client.ask("MAIL FROM:<a@gone.test>") == NO_HOST + "a@gone.test"
    assert client.ask("RCPT TO:<john.doe@example.com>").startswith("503")
    assert client.ask("MAIL FROM:<spam@remote.test>") == "550 5.7.1 not you: spam@remote.test"
    assert client.ask("MAIL FROM:<a@broken.test>").startswith("451 4.3.0")
    assert client.ask("MAIL FROM:<>").startswith("250")
    assert client.ask("RSET").startswith("250")
    client.send(b"MAIL FROM:<a@gone.test>\r\nRCPT TO:<john.doe@example.com>\r\nDATA\r\n")  # RFC 2920: pipelined
    assert [reply[:3] for reply in client.replies(3)] == ["550", "503", "503"]
    assert client.message(b"Subject: x\r\n\r\nbody\r\n", "john.doe@example.com", sender="a@remote.test").startswith("250")


def test_a_slow_answer_keeps_nobody_else(world: SmtpWorld) -> None:
    waiting, other, gone = world.connect(), world.connect(), world.connect()
    for client in (waiting, other, gone):
        client.ask("EHLO x.test")
    waiting.send(b"MAIL FROM:<a@slow.test>\r\nRCPT TO:<john.doe@example.com>\r\n")
    gone.send(b"MAIL FROM:<b@slow.test>\r\n")
    gone.close()
    assert other.message(b"Subject: x\r\n\r\nbody\r\n", "john.doe@example.com", sender="a@remote.test").startswith("250")
    domains = world.relay.sources["tcp_local"].domains
    assert domains is not None
    slow = domains._names
    assert isinstance(slow, Slow)
    world.call(slow.let.set)
    assert [reply[:3] for reply in waiting.replies(2)] == ["250", "250"]


def test_without_the_keyword_nobody_is_asked_about(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="mailfromdnsverify nomailfromdnsverify")) as world:
        assert all(source.domains is None for source in world.relay.sources.values())
        client = world.connect()
        client.ask("EHLO x.test")
        assert client.ask("MAIL FROM:<a@gone.test>").startswith("250")
