"""Where mail for the world is taken: MX and address records of a DNS server of the test, the next host when one fails."""

from collections.abc import AsyncIterator

import pytest

from posthouse.mail.envelope import Recipient
from posthouse.testing.dns_server import DnsServer
from support.jobs_relay import until
from support.smtp_out import StartOut, own_status, put
from support.smtp_sink import SmtpSink

ZONE = {
    ("remote.test", "MX"): ["10 mx1.remote.test.", "20 mx2.remote.test."],
    ("mx1.remote.test", "A"): ["127.0.0.2"],
    ("mx2.remote.test", "A"): ["127.0.0.1"],
    ("alias.test", "CNAME"): ["remote.test."],
    ("plain.test", "A"): ["127.0.0.1"],
    ("six.test", "AAAA"): ["::1"],
    ("both.test", "A"): ["127.0.0.1"],
    ("both.test", "AAAA"): ["::1"],
    ("null.test", "MX"): ["0 ."],
    ("empty.test", "TXT"): ["nothing"],
    ("ours.test", "MX"): ["10 relay1.example.com.", "20 mx2.remote.test."],
    ("backup.test", "MX"): ["10 mx1.remote.test.", "20 relay1.example.com.", "30 mx2.remote.test."],
    ("gone.test", "MX"): ["10 nobody.gone.test."],
}


@pytest.fixture
async def names() -> AsyncIterator[DnsServer]:
    server = await DnsServer(ZONE).start()
    server.failing.add("broken.test")
    yield server
    await server.stop()


@pytest.mark.parametrize("domain", ["remote.test", "alias.test", "plain.test", "[127.0.0.1]"])
async def test_mail_finds_its_server(out: StartOut, world: SmtpSink, names: DnsServer, domain: str) -> None:
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
    await put(relay, f"bob@{domain}")
    await relay.empty()
    assert world.taken[0].addresses == [f"bob@{domain}"]


async def test_ipv6(out: StartOut, world: SmtpSink, names: DnsServer) -> None:
    six = await SmtpSink(host="::1", port=world.port).start()
    try:
        relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
        await put(relay, "bob@six.test")
        await put(relay, "bob@both.test")
        await relay.empty()
        assert len(six.taken) == 2
        assert "|::1|" in relay.records("D")[0]["di"]
    finally:
        await six.stop()


@pytest.mark.parametrize(
    ("domain", "code", "enhanced"),
    [("absent.test", 550, "5.1.2"), ("null.test", 556, "5.1.10"), ("empty.test", 550, "5.4.4"), ("ours.test", 554, "5.4.6"),
     ("relay1.example.com", 550, "5.1.2"), ("gone.test", 550, "5.4.4"), ("a..b", 550, "5.1.2")],
)  # fmt: skip
async def test_domains_that_take_no_mail_are_returned(
    out: StartOut, world: SmtpSink, names: DnsServer, domain: str, code: int, enhanced: str
) -> None:
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
    await put(relay, f"bob@{domain}")
    await until(lambda: relay.records("R"))
    (record,) = relay.records("R")
    assert (record["co"], record["en"]) == (code, enhanced)
    assert world.connections == 0


async def test_a_dns_server_that_fails_delays(out: StartOut, names: DnsServer) -> None:
    relay = await out(keywords="mx", option=f"DNS_SERVERS={names.address}", hosts="")
    await put(relay, "bob@broken.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@broken.test": "451 4.4.3"}
    names.failing.clear()
    names.zone["broken.test", "A"] = ["127.0.0.1"]
    await relay.retry()
    await relay.empty()


async def test_of_several_hosts_only_those_better_than_ours(out: StartOut, world: SmtpSink, names: DnsServer) -> None:
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
    await put(relay, "bob@backup.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@backup.test": "451 4.4.1"}
    assert world.connections == 0


@pytest.mark.parametrize("refusal", ["554 5.7.1 go away", "421 4.3.2 busy", "close", "garbage"])
async def test_a_greeting_that_is_no_welcome_leads_to_the_next_host(
    out: StartOut, world: SmtpSink, names: DnsServer, refusal: str
) -> None:
    first = SmtpSink(host="127.0.0.2", port=world.port)
    first.script.greeting = refusal
    first.script.close = frozenset({"greeting"} if refusal == "close" else ())
    await first.start()
    try:
        relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
        await put(relay, "bob@remote.test")
        await relay.empty()
        assert len(world.taken) == 1
        assert first.connections == 1
        assert relay.records("Q") == []
    finally:
        await first.stop()


async def test_all_hosts_refuse_for_good(out: StartOut, world: SmtpSink, names: DnsServer) -> None:
    world.script.greeting = "554 5.7.1 no mail from you"
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
    await put(relay, "bob@plain.test")
    await until(lambda: relay.records("R"))
    assert (relay.records("R")[0]["co"], relay.records("R")[0]["tx"]) == (554, "no mail from you")


async def test_a_smart_host_that_refuses_is_our_own_fault(out: StartOut, world: SmtpSink) -> None:
    world.script.greeting = "554 5.7.1 no mail from you"
    relay = await out(keywords="daemon smart.example.com nodns", hosts="127.0.0.1 smart.example.com\n")
    await put(relay, "bob@plain.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@plain.test": "451 4.7.1"}
    assert relay.records("R") == []


async def test_a_host_from_the_directory_that_does_not_exist_is_our_own_fault(out: StartOut, names: DnsServer) -> None:
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
    address = "@absent.test:bob@example.com"
    await relay.put_recipients([Recipient(0, 0, "tcp_local", address, address, "absent.test")])
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"@absent.test:bob@example.com": "451 4.1.2"}


async def test_ip_access_takes_another_address_passes_one_over_and_gives_a_host_up(
    out: StartOut, world: SmtpSink, names: DnsServer
) -> None:
    names.zone["kept.test", "MX"] = ["10 never.kept.test.", "20 mx2.remote.test."]
    names.zone["never.kept.test", "A"] = ["127.0.0.3"]
    table = (
        "  tcp_local|1|1|127.0.0.2|mx1.remote.test  $A127.0.0.1\n  tcp_local|*|*|127.0.0.3|never.kept.test  $I\n"
        "  tcp_local|*|*|*|plain.test  $N550$ 5.7.1$ not$ to$ plain.test\n"
    )
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="", mappings=f"IP_ACCESS\n\n{table}")
    for domain in ("remote.test", "kept.test", "plain.test"):
        await put(relay, f"bob@{domain}")
    await until(lambda: relay.records("R"))
    assert (relay.records("R")[0]["od"], relay.records("R")[0]["tx"]) == ("rfc822;bob@plain.test", "not to plain.test")
    await until(lambda: len(world.taken) == 2)
    assert sorted(taken.addresses[0] for taken in world.taken) == ["bob@kept.test", "bob@remote.test"]
    assert relay.records("Y") == []


async def test_what_ip_access_forbids_returns_nothing_where_another_server_is_only_down(
    out: StartOut, world: SmtpSink, names: DnsServer
) -> None:
    names.zone["two.test", "A"] = ["127.0.0.1", "127.0.0.3"]
    table = "IP_ACCESS\n\n  *|mx2.remote.test  $Nnot$ there\n  *|127.0.0.3|two.test  $Nnot$ there\n"
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="", mappings=table)
    await put(relay, "bob@remote.test")  # its first server is down, the second one forbidden
    await put(relay, "bob@two.test")  # its other address answers
    await until(lambda: world.taken)
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.4.1"}
    assert (relay.records("R"), len(world.taken)) == ([], 1)


async def test_the_last_resort(out: StartOut, world: SmtpSink, names: DnsServer) -> None:
    options = f"DNS_SERVERS={names.address}"
    relay = await out(keywords="mx lastresort mx2.remote.test", options=options, hosts="")
    await put(relay, "bob@backup.test")
    await put(relay, "bob@broken.test")
    await put(relay, "bob@absent.test")
    await until(lambda: relay.records("R"))
    await relay.until_list(lambda copies: not [c for c in copies if c["channel"] == "tcp_local"])
    assert sorted(taken.addresses[0] for taken in world.taken) == ["bob@backup.test", "bob@broken.test"]
    assert relay.records("R")[0]["od"] == "rfc822;bob@absent.test"


async def test_a_last_resort_that_ip_access_forbids_returns_nothing(out: StartOut, world: SmtpSink, names: DnsServer) -> None:
    options, table = f"DNS_SERVERS={names.address}", "IP_ACCESS\n\n  *|mx2.remote.test  $Nnot$ there\n"
    relay = await out(keywords="mx lastresort mx2.remote.test", options=options, hosts="", mappings=table)
    await put(relay, "bob@broken.test")
    copies = await relay.until_list(own_status)
    assert list(own_status(copies).values()) == ["451 4.7.1"]
    assert relay.records("R") == []
    assert world.connections == 0


async def test_a_host_that_lost_a_message_half_way_comes_last_next_time(out: StartOut, world: SmtpSink, names: DnsServer) -> None:
    first = SmtpSink(host="127.0.0.2", port=world.port)
    first.script.close = frozenset({"data"})
    await first.start()
    try:
        relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
        await put(relay, "bob@remote.test")
        await relay.until_list(own_status)
        await relay.retry()
        await relay.empty()
        assert (first.connections, len(world.taken)) == (1, 1)
    finally:
        await first.stop()


async def test_nomx_asks_for_addresses_only(out: StartOut, names: DnsServer) -> None:
    relay = await out(keywords="nomx", options=f"DNS_SERVERS={names.address}", hosts="")
    await put(relay, "bob@plain.test")
    await relay.empty()
    assert {question.split()[0] for question in names.asked} == {"A", "AAAA"}


async def test_a_port_of_our_own_is_a_loop(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    dispatcher = relay.root / "config" / "dispatcher.cnf"
    dispatcher.write_text(dispatcher.read_text().replace("PORT=2525", f"PORT={world.port}"))
    await relay.close()
    await relay.start()
    await put(relay, "bob@remote.test")
    await until(lambda: relay.records("R"))
    assert relay.records("R")[0]["en"] == "5.4.6"


async def test_mail_that_waited_for_the_dns_is_returned_when_the_domain_turns_out_absent(out: StartOut, names: DnsServer) -> None:
    relay = await out(keywords="mx", options=f"DNS_SERVERS={names.address}", hosts="")
    for number in range(5):
        await put(relay, f"user{number}@broken.test")
    await relay.until_list(own_status)
    names.failing.clear()
    await relay.retry()
    await until(lambda: len(relay.records("R")) == 5)
    await relay.until_list(lambda copies: not [c for c in copies if c["channel"] == "tcp_local"])
    assert {record["en"] for record in relay.records("R")} == {"5.1.2"}
