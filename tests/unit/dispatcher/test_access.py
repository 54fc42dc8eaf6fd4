"""DNS lists: which name is asked, who is refused, who is told why."""

import asyncio
import socket

import pytest

from posthouse.dispatcher.access import Refusal, ask_lists, list_name


@pytest.mark.parametrize(
    ("address", "domain", "expected"),
    [
        ("192.0.2.7", "list.example", "7.2.0.192.list.example"),
        ("192.0.2.7", ".list.example.", "7.2.0.192.list.example"),
        ("2001:db8::1", "list.example", None),
    ],
)
def test_name_asked(address: str, domain: str, expected: str | None) -> None:
    assert list_name(address, domain) == expected


async def only_7(name: str) -> object:
    if name.startswith("7.2.0.192.second."):
        return ["127.0.0.2"]
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


async def never(name: str) -> object:
    await asyncio.Event().wait()
    return name


@pytest.mark.parametrize(
    ("address", "port", "expected"),
    [
        ("192.0.2.7", 25, Refusal("500 5.7.1 access_control: host 192.0.2.7 found on DNS list and rejected")),
        ("192.0.2.7", 225, Refusal("")),
        ("192.0.2.8", 25, None),
        ("::1", 25, None),
    ],
)
async def test_any_list_that_answers_refuses(address: str, port: int, expected: Refusal | None) -> None:
    assert await ask_lists(address, port, ("first.example", "second.example"), only_7) == expected


async def test_a_list_that_never_answers_lets_in() -> None:
    assert await ask_lists("192.0.2.7", 25, ("list.example",), never, seconds=0.01) is None
