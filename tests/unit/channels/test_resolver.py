import pytest

from posthouse.relay.channels.resolver import Resolver, Unresolved

HOSTS = {"store1.example.com": ("127.0.0.9", "127.0.0.8"), "localhost": ("127.0.0.7",)}


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("Store1.Example.COM.", ("127.0.0.9", "127.0.0.8")),
        ("localhost", ("127.0.0.7",)),
        ("192.0.2.1", ("192.0.2.1",)),
        ("[192.0.2.1]", ("192.0.2.1",)),
        ("[IPv6:::1]", ("::1",)),
    ],
)
async def test_the_hosts_file_comes_first_and_literals_need_nobody(name: str, addresses: tuple[str, ...]) -> None:
    assert await Resolver(HOSTS).resolve(name) == addresses


@pytest.mark.parametrize("name", ["store1.example.com.lmtp.invalid", "a..b", "x" * 300])
async def test_what_does_not_resolve_says_so(name: str) -> None:
    with pytest.raises(Unresolved) as told:
        await Resolver(HOSTS).resolve(name)
    assert str(told.value)
    assert name not in str(told.value)  # who asked names it


async def test_the_system_is_asked_and_remembered() -> None:
    resolver = Resolver({})
    first = await resolver.resolve("localhost")
    assert first
    assert "localhost" in resolver._known
    assert await resolver.resolve("LOCALHOST") == first
