"""Mail goes out by SMTP: a real job controller and channel worker in front of scripted servers of the world."""

import pytest

from posthouse.mail.envelope import Recipient
from support.jobs_relay import BODY, until
from support.smtp_out import StartOut, own_status, put
from support.smtp_sink import SmtpSink


async def test_a_message_arrives_once_as_it_was_accepted(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    number = await put(relay, "bob@remote.test", "jane@remote.test")
    await relay.empty()
    (taken,) = world.taken
    assert taken.body == BODY
    assert taken.mail == f"MAIL FROM:<ann@example.com> SIZE={len(BODY) + 3}"
    assert taken.rcpts == ["RCPT TO:<bob@remote.test>", "RCPT TO:<jane@remote.test>"]
    assert world.commands[0] == "EHLO relay1.example.com"
    await until(lambda: len(relay.records("D")) == 2)
    record = relay.records("D")[0]
    assert record["ei"] == number
    assert record["di"].startswith("dns;remote.test (TCP|127.0.0.1|")
    assert relay.files() == []


async def test_each_recipient_has_its_own_result(out: StartOut, world: SmtpSink) -> None:
    answers = {"good@remote.test": "250 2.1.5 OK", "never@remote.test": "550 5.1.1 unknown", "later@remote.test": "451 4.2.0 no"}
    world.script.rcpt = lambda address: answers[address]
    relay = await out()
    await put(relay, *answers)
    copies = await relay.until_list(lambda copies: own_status(copies) and copies[0]["state"] == "file")
    assert own_status(copies) == {"later@remote.test": "451 4.2.0"}
    assert world.taken[0].addresses == ["good@remote.test"]
    (returned,) = relay.records("R")
    assert returned["od"] == "rfc822;never@remote.test"
    assert (returned["co"], returned["en"], returned["tx"]) == (550, "5.1.1", "unknown")


async def test_a_kept_session_carries_the_next_message(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    for _ in range(5):
        await put(relay, "bob@remote.test")
        await relay.empty()
    assert world.connections == 1
    assert len(world.taken) == 5


async def test_a_kept_session_that_was_closed_costs_nothing(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    await put(relay, "bob@remote.test")
    await relay.empty()
    world.script.close = frozenset({"mail"})
    await put(relay, "bob@remote.test")
    await until(lambda: len([line for line in world.commands if line.startswith("MAIL")]) >= 2)
    world.script.close = frozenset()
    await relay.until_list(lambda copies: not copies or own_status(copies))
    await relay.retry()
    await relay.empty()
    assert len(world.taken) == 2


async def test_without_pipelining_size_and_8bitmime_nothing_of_it_is_said(out: StartOut, world: SmtpSink) -> None:
    world.script.extensions = None
    relay = await out()
    await put(relay, "bob@remote.test", "jane@remote.test")
    await relay.empty()
    assert world.commands[:6] == [
        "EHLO relay1.example.com", "HELO relay1.example.com", "MAIL FROM:<ann@example.com>", "RCPT TO:<bob@remote.test>",
        "RCPT TO:<jane@remote.test>", "DATA",
    ]  # fmt: skip


async def test_a_large_body_with_dots_is_streamed_unchanged(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    body = b"Subject: big\r\n\r\n" + b".dots\r\n..\r\n.\r\nplain line of text\r\n" * 7000
    await put(relay, "bob@remote.test", body=body)
    await relay.empty()
    assert world.bodies == [body]


async def test_more_recipients_than_a_transaction_takes_go_in_several(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    people = [f"user{number}@remote.test" for number in range(250)]
    await put(relay, *people)
    await relay.empty()
    assert [len(taken.rcpts) for taken in world.taken] == [100, 100, 50]
    assert [address for taken in world.taken for address in taken.addresses] == people
    assert world.connections == 1


async def test_too_many_recipients_are_sent_in_the_next_transaction(out: StartOut, world: SmtpSink) -> None:
    def rcpt(_: str) -> str:
        count = 0
        for line in reversed(world.commands):
            if line.startswith("MAIL"):
                break
            count += line.startswith("RCPT")
        return "250 2.1.5 OK" if count <= 2 else "452 4.5.3 too many"

    world.script.rcpt = rcpt
    relay = await out()
    people = [f"user{number}@remote.test" for number in range(5)]
    await put(relay, *people)
    await relay.empty()
    assert [taken.addresses for taken in world.taken] == [people[:2], people[2:4], people[4:]]
    assert relay.records("Q") == []


async def test_a_message_larger_than_the_server_takes_is_not_sent(out: StartOut, world: SmtpSink) -> None:
    world.script.extensions = ("PIPELINING", "SIZE 60")
    relay = await out()
    await put(relay, "bob@remote.test")
    await until(lambda: relay.records("R"))
    assert relay.records("R")[0]["en"] == "5.3.4"
    assert not any(line.startswith("MAIL") for line in world.commands)


async def test_552_to_rcpt_is_too_many_and_after_the_body_final(out: StartOut, world: SmtpSink) -> None:
    world.script.rcpt = lambda address: "552 5.5.3 too many" if address.startswith("jane") else "250 OK"
    world.script.final = lambda _: "552 5.2.2 full"
    relay = await out()
    await put(relay, "bob@remote.test", "jane@remote.test")
    copies = await relay.until_list(lambda copies: own_status(copies) and copies[0]["state"] == "file")
    assert own_status(copies) == {"jane@remote.test": "452 4.5.3"}
    assert relay.records("R")[0]["od"] == "rfc822;bob@remote.test"


async def test_dsn_parameters_are_passed_on_where_listed(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    await put(relay, "bob@remote.test", notify="SUCCESS,DELAY", orcpt="rfc822;Bob+40x", envid="QQ1", ret="HDRS")
    await relay.empty()
    assert world.taken[0].mail.endswith(" RET=HDRS ENVID=QQ1")
    assert world.taken[0].rcpts == ["RCPT TO:<bob@remote.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob+40x"]
    assert relay.records("D")[0]["od"] == "rfc822;Bob@x"  # decoded for who reads the log


async def test_without_dsn_the_sender_hears_from_us_that_it_was_relayed(out: StartOut, world: SmtpSink) -> None:
    world.script.extensions = ("PIPELINING",)
    relay = await out(hosts="127.0.0.1 remote.test\n127.0.0.1 sender.test\n")
    await put(relay, "bob@remote.test", notify="SUCCESS,DELAY", envid="QQ1", sender="eve@sender.test")
    await put(relay, "jane@remote.test", sender="eve@sender.test")
    await until(lambda: any(taken.addresses == ["eve@sender.test"] for taken in world.taken))
    await relay.empty()
    (notice,) = [taken.body.decode() for taken in world.taken if taken.addresses == ["eve@sender.test"]]
    assert world.taken[0].rcpts == ["RCPT TO:<bob@remote.test>"]
    assert "\r\nOriginal-Envelope-Id: QQ1\r\n" in notice
    assert "\r\nFinal-Recipient: rfc822;bob@remote.test\r\nAction: relayed\r\nStatus: 2.0.0 (Relayed" in notice
    assert "Hello" not in notice, "only the header comes back with a success"


async def test_a_smart_host_gets_all_mail_over_its_own_sessions(out: StartOut, world: SmtpSink) -> None:
    relay = await out(keywords="daemon smart.example.com nodns", hosts="127.0.0.1 smart.example.com\n")
    for number in range(6):
        await put(relay, f"bob@remote{number}.test")
    await relay.empty()
    assert sorted(taken.addresses[0] for taken in world.taken) == [f"bob@remote{number}.test" for number in range(6)]
    assert world.connections == 1, "it is one host, whatever the addresses say"
    assert relay.records("D")[0]["di"].startswith("dns;smart.example.com ")


async def test_addresses_outside_ascii_need_smtputf8(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    await put(relay, "zoë@remote.test", utf8=True)
    await relay.empty()
    assert world.taken[0].mail.endswith(" SMTPUTF8")
    assert world.taken[0].addresses == ["zoë@remote.test"]
    world.script.extensions = ("8BITMIME",)
    await world.stop()
    await world.start()
    await put(relay, "zoë@remote.test", utf8=True)
    await until(lambda: relay.records("R"))
    assert relay.records("R")[0]["en"] == "5.6.7"
    assert len(world.taken) == 1


async def test_smtputf8_is_said_where_an_address_wants_it_though_the_client_did_not(out: StartOut, world: SmtpSink) -> None:
    """A group's member or a forward: RFC 6531 3.5 wants the parameter with any address outside ASCII."""
    relay = await out()
    await put(relay, "bob@remote.test", "zoë@remote.test")
    await relay.empty()
    assert world.taken[0].mail.endswith(" SMTPUTF8")
    await put(relay, "bob@remote.test", sender="zoë@remote.test")
    await relay.empty()
    assert world.taken[1].mail.endswith(" SMTPUTF8")
    await put(relay, "bob@remote.test")
    await relay.empty()
    assert "SMTPUTF8" not in world.taken[2].mail


EIGHT_BIT = (
    b"Subject: hello\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"Gr\xc3\xbc\xc3\x9fe an alle, die das lesen\r\n"
)


async def test_8_bit_content_is_announced_or_converted(out: StartOut, world: SmtpSink) -> None:
    relay = await out()
    await put(relay, "bob@remote.test", body=EIGHT_BIT, eight_bit=True)
    await relay.empty()
    assert world.bodies == [EIGHT_BIT]
    assert world.taken[0].mail.endswith(" BODY=8BITMIME")
    await world.stop()
    world.script.extensions = ("PIPELINING", "SIZE")
    await world.start()
    await put(relay, "bob@remote.test", body=EIGHT_BIT, eight_bit=True)
    long = EIGHT_BIT.replace(b"\r\n\r\n", b"\r\n\r\n" + b".a line\r\n" * 60_000)
    await put(relay, "bob@remote.test", body=long, eight_bit=True)
    await relay.empty()
    small, large = sorted(world.bodies[1:], key=len)
    assert b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe an alle" in small
    assert small.isascii()
    assert large.isascii()
    assert large.count(b"\r\n.a line") == 60_000
    assert world.taken[1].mail == "MAIL FROM:<ann@example.com>"


async def test_signed_8_bit_content_is_returned_where_it_would_be_changed(out: StartOut, world: SmtpSink) -> None:
    world.script.extensions = ("PIPELINING",)
    relay = await out()
    body = b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xc3\xbc\r\n--b--\r\n"
    await put(relay, "bob@remote.test", body=body, eight_bit=True)
    await until(lambda: relay.records("R"))
    assert relay.records("R")[0]["en"] == "5.6.1"
    assert world.taken == []


async def test_header_fields_outside_ascii_are_rewritten_where_smtputf8_is_missing(out: StartOut, world: SmtpSink) -> None:
    world.script.extensions = ("PIPELINING", "8BITMIME")
    relay = await out()
    body = "From: Zoë <zoe@example.com>\r\nSubject: Grüße\r\n\r\nGrüße\r\n".encode()
    await put(relay, "bob@remote.test", body=body, eight_bit=True, utf8=True)
    await relay.empty()
    head, _, rest = world.bodies[0].partition(b"\r\n\r\n")
    assert head.isascii()
    assert rest == "Grüße\r\n".encode()
    assert world.taken[0].mail == "MAIL FROM:<ann@example.com> BODY=8BITMIME"


@pytest.mark.parametrize(
    ("keywords", "wire"), [("", "<@remote.test:bob@example.com>"), ("dequeue_removeroute", "<bob@example.com>")]
)
async def test_a_source_route_decides_the_host(out: StartOut, world: SmtpSink, keywords: str, wire: str) -> None:
    relay = await out(keywords=f"nomx {keywords}")
    address = "@remote.test:bob@example.com"
    await relay.put_recipients([Recipient(0, 0, "tcp_local", address, "bob@example.com", "remote.test")])
    await relay.empty()
    assert world.taken[0].rcpts == [f"RCPT TO:{wire}"]


@pytest.mark.parametrize("reply", ["530 5.7.0 authentication required", "503 5.5.1 AUTH first"])
async def test_what_a_smart_host_says_of_the_session_returns_no_mail(out: StartOut, world: SmtpSink, reply: str) -> None:
    world.script.mail = lambda _: reply
    relay = await out(keywords="daemon remote.test nodns")
    await put(relay, "bob@elsewhere.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@elsewhere.test": f"451 4{reply[5:9]}"}
    assert relay.records("R") == []


async def test_the_worlds_503_is_its_last_word(out: StartOut, world: SmtpSink) -> None:
    world.script.rcpt = lambda _: "503 5.5.1 no"
    relay = await out()
    await put(relay, "bob@remote.test")
    await until(lambda: relay.records("R"))
