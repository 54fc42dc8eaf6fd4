"""Our relay delivers by SMTP to Postfix, Exim and smtp-sink."""

import email
from collections.abc import Iterator
from typing import Any

import pytest

from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.interop_daemon import needs_root
from support.interop_outside import (
    Outside,
    client_of,
    exim_outside,
    postfix_outside,
    relay_towards,
    sink_outside,
)
from support.interop_tiers import mail
from support.transaction_log import log_records

pytestmark = needs_root


@pytest.fixture(scope="module", params=["postfix", "exim"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[RunningInstance, Outside]]:
    starter = postfix_outside if request.param == "postfix" else exim_outside
    with starter() as outside, relay_towards(outside, keywords="maytls") as relay:
        yield relay, outside


def found(outside: Outside, mark: str, count: int = 1) -> list[bytes]:
    def look() -> list[bytes]:
        messages = [octets for octets in outside.mailbox() if mark.encode() in octets]
        return messages if len(messages) >= count else []

    return wait_for(look)


def records(relay: RunningInstance, action: str, mark: str) -> list[dict[str, Any]]:
    return [record for record in log_records(relay.folder) if record["ac"] == action and mark in record.get("od", "")]


def test_mail_arrives_by_tls(pair: tuple[RunningInstance, Outside]) -> None:
    relay, outside = pair
    with client_of(relay) as client:
        assert client.sendmail("a@outside.test", ["tls@remote.test"], mail("interop-tls")) == {}
    (octets,) = found(outside, "Subject: interop-tls")
    assert b"TLS" in octets.partition(b"\n\n")[0]
    (record,) = wait_for(lambda: records(relay, "D", "tls@remote.test"))
    assert record["mo"] == "ES"


def test_each_recipient_gets_its_own_result(pair: tuple[RunningInstance, Outside]) -> None:
    relay, outside = pair
    people = ["good@remote.test", "full@remote.test", "gone@remote.test"]
    with client_of(relay) as client:
        assert client.sendmail("", people, mail("interop-mixed")) == {}
    assert len(found(outside, "Subject: interop-mixed")) == 1
    (returned,) = wait_for(lambda: records(relay, "K", "gone@remote.test"))
    assert returned["co"] == 550
    (put_off,) = wait_for(lambda: records(relay, "Z", "full@remote.test") + records(relay, "Q", "full@remote.test"))[:1]
    assert 400 <= put_off["co"] < 500


def test_8_bit_mail_is_readable(pair: tuple[RunningInstance, Outside]) -> None:
    relay, outside = pair
    text = "Grüße aus der Ferne\r\n.dot\r\n"
    body = b"Subject: interop-8bit\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + text.encode()
    with client_of(relay) as client:
        client.sendmail("a@outside.test", ["wide@remote.test"], body, mail_options=["BODY=8BITMIME"])
    (octets,) = found(outside, "Subject: interop-8bit")
    payload = email.message_from_bytes(octets).get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.replace(b"\r\n", b"\n").rstrip() == text.encode().replace(b"\r\n", b"\n").rstrip()


def test_many_recipients_and_many_messages(pair: tuple[RunningInstance, Outside]) -> None:
    relay, outside = pair
    with client_of(relay) as client:
        client.sendmail("a@outside.test", [f"u{number}@remote.test" for number in range(60)], mail("interop-list"))
        for number in range(20):
            client.sendmail("a@outside.test", ["many@remote.test"], mail(f"interop-many-{number}"))
    found(outside, "Subject: interop-many-", 20)
    wait_for(lambda: len(records(relay, "D", "@remote.test")) >= 80)
    assert {f"u{number}" for number in range(60)} <= {r["od"].split(";")[1].split("@")[0] for r in records(relay, "D", "@remote")}


def test_a_message_too_large_is_returned_unsent(pair: tuple[RunningInstance, Outside]) -> None:
    relay, outside = pair
    if not outside.log():
        return  # Exim has no limit here
    with client_of(relay) as client:
        client.sendmail("a@outside.test", ["large@remote.test"], mail("interop-large") + b"a line\r\n" * 60_000)
    (record,) = wait_for(lambda: records(relay, "R", "large@remote.test"))
    assert record["en"] == "5.3.4"


def test_verified_tls_to_postfix() -> None:
    with postfix_outside(tls="encrypt") as outside:
        option = f"TLS_CA_FILE={outside.authority}\n"
        with relay_towards(outside, keywords="musttls", option=option) as relay, client_of(relay) as client:
            client.sendmail("a@outside.test", ["sure@remote.test"], mail("interop-verified"))
            found(outside, "Subject: interop-verified")
            (record,) = wait_for(lambda: records(relay, "D", "sure@remote.test"))
            assert record["mo"] == "ES"


def test_dsn_is_handed_on_to_postfix() -> None:
    with postfix_outside() as outside, relay_towards(outside) as relay, client_of(relay) as client:
        client.sendmail(
            "a@remote.test", ["told@remote.test"], mail("interop-dsn"),
            mail_options=["ENVID=QQ314159", "RET=HDRS"], rcpt_options=["NOTIFY=SUCCESS", "ORCPT=rfc822;told@remote.test"],
        )  # fmt: skip
        (notice,) = found(outside, "Action: delivered")
        assert b"Original-Envelope-Id: QQ314159" in notice
        assert b"Original-Recipient: rfc822;told@remote.test" in notice


@pytest.mark.parametrize(
    "options",
    [("-8",), ("-e",), ("-p",), ("-N",), ("-q", "mail"), ("-Q", "rcpt"), ("-r", "data"), ("-q", ".")],
    ids=["no 8bitmime", "no ehlo", "no pipelining", "dsn", "closes at mail", "421 at rcpt", "4yz at data", "closes at the dot"],
)
def test_smtp_sink(options: tuple[str, ...]) -> None:
    bad = options[0] in {"-q", "-Q", "-r"}
    with sink_outside(*options) as outside, relay_towards(outside) as relay, client_of(relay) as client:
        client.sendmail("a@outside.test", ["sunk@remote.test"], mail("interop-sink"))
        if bad:
            wait_for(lambda: records(relay, "Q", "sunk@remote.test"))
            assert records(relay, "D", "sunk@remote.test") == []
            assert len(relay.json("queue", "list")) == 1
        else:
            found(outside, "Subject: interop-sink")
            wait_for(lambda: records(relay, "D", "sunk@remote.test"))
