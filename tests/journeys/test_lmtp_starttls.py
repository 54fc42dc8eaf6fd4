"""STARTTLS towards a store that goes wrong in every way: mail waits or goes as the keyword says, and nothing is said in clear."""

import ssl
from typing import Any

import pytest
import trustme

from support.jobs_relay import BODY, JobsRelay, Start, until
from support.lmtp_sink import EXTENSIONS, Sink


@pytest.fixture(scope="module")
def server() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("store1.example.com").configure_cert(context)
    return context


NOTHING = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
"""it has no certificate"""


async def waits(relay: JobsRelay) -> str:
    """The status all recipients have in the end."""

    def told(copies: list[dict[str, Any]]) -> set[str]:
        said = [each["status"] for copy in copies for each in copy["recipients"] if each["status"]]
        return {f"{each['code']} {each['enhanced']}" for each in said}

    (status,) = told(await relay.until_list(lambda copies: told(copies) and all(copy["state"] == "file" for copy in copies)))
    return status


async def is_well_again(relay: JobsRelay, sink: Sink, server: ssl.SSLContext) -> None:
    """The server does as it should: mail goes, once, under TLS."""
    assert sink.taken == []
    assert not [line for line in sink.commands if line.startswith("MAIL")], "what waits is not spoken of"
    assert relay.records("D") == relay.records("R") == []
    sink.script = type(sink.script)(tls=server)
    sink.in_clear.clear()
    await relay.retry()
    await relay.empty()
    assert sink.bodies == [BODY]
    assert set(sink.in_clear) == {"LHLO relay1.example.com", "STARTTLS"}
    assert {record["mo"] for record in relay.records("D")} == {"LS"}


FORGED = b"250 sink\r\n250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 go\r\n250 2.5.0 OK\r\n"
REFUSALS = ["454 4.7.0 not now", "502 5.5.1 what?", "554 5.7.0 never"]
"""of STARTTLS"""
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "closes at STARTTLS": ({"close": {"starttls"}}, "451 4.4.2"),
    "closes instead of a handshake": ({"close": {"handshake"}}, "451 4.7.5"),
    "no certificate": ({"tls": NOTHING}, "451 4.7.5"),
    "no TLS at all": ({"shaken": b"500 5.5.2 what is that?\r\n" * 5}, "451 4.5.0 or 451 4.7.5"),  # as they come
    "a reply in clear behind 220": ({"injected": b"250 sink\r\n"}, "451 4.5.0"),
    "a whole delivery in clear": ({"injected": FORGED}, "451 4.5.0"),
    "one octet in clear": ({"injected": b"2"}, "451 4.5.0"),
    "421 at STARTTLS": ({"starttls": "421 4.3.2 going down"}, "421 4.3.2"),
    "250 at STARTTLS": ({"starttls": "250 2.0.0 fine"}, "451 4.5.0"),
    "354 at STARTTLS": ({"starttls": "354 go"}, "451 4.5.0"),
    "no reply at all": ({"starttls": "hello"}, "451 4.5.0"),
    "closes under TLS": ({"close": {"secured"}}, "451 4.4.2"),
}


@pytest.mark.parametrize("keyword", ["maytls", "musttls"])
@pytest.mark.parametrize("what", WRONG)
async def test_mail_waits_and_nothing_goes_in_clear(
    start: Start, sink: Sink, server: ssl.SSLContext, what: str, keyword: str
) -> None:
    changes, status = WRONG[what]
    sink.script.tls = server
    for name, value in changes.items():
        setattr(sink.script, name, frozenset(value) if name == "close" else value)
    relay = await start(keywords=keyword)
    await relay.put("bob")
    assert await waits(relay) in status.split(" or ")
    await is_well_again(relay, sink, server)


@pytest.mark.parametrize("reply", REFUSALS)
async def test_a_refused_starttls_keeps_mail_only_where_tls_is_a_must(
    start: Start, sink: Sink, server: ssl.SSLContext, reply: str
) -> None:
    sink.script.tls, sink.script.starttls = server, reply
    relay = await start(keywords="musttls")
    await relay.put("bob")
    assert await waits(relay) == "451 4.7.4"
    await is_well_again(relay, sink, server)


@pytest.mark.parametrize("reply", REFUSALS)
async def test_with_maytls_it_goes_in_clear_on_the_same_connection(
    start: Start, sink: Sink, server: ssl.SSLContext, reply: str
) -> None:
    sink.script.tls, sink.script.starttls = server, reply
    relay = await start(keywords="maytls")
    await relay.put("bob", "jane")
    await relay.empty()
    assert sink.bodies == [BODY]
    assert sink.connections == 1
    await until(lambda: {record["mo"] for record in relay.records("D")} == {"L"})


async def test_what_was_listed_in_clear_does_not_count_under_tls(start: Start, sink: Sink, server: ssl.SSLContext) -> None:
    """XQUOTA and XDFLG would be refused by a server that lists neither behind the handshake."""
    sink.script.tls, sink.script.secured = server, EXTENSIONS[:1]
    relay = await start(keywords="musttls")
    await relay.put("bob")
    await relay.empty()
    (taken,) = sink.taken
    assert taken.rcpts == ["RCPT TO:<bob>"]
