"""Clients that are slow, silent or deaf do not hold on for ever, however they spread their octets."""

import time
from pathlib import Path

import pytest

from posthouse.trace.record import Action
from support.smtp_world import SmtpWorld, relay_files

QUICK = "COMMAND_RECEIVE_TIME=0.005\nDATA_RECEIVE_TIME=0.005\nSTATUS_TRANSMIT_TIME=0.005\n"
"""0.3 s; sessions are looked at once a second"""


def test_silence_is_ended_with_421(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, options=QUICK)) as world:
        commands, body = world.hello(), world.hello()
        body.begin("jd@example.com")
        body.send(b"Subject: x\r\n")
        assert commands.reply() == "421 4.4.2 connection timed out"
        assert commands.at_end()
        assert body.reply() == "421 4.4.2 connection timed out"
        assert body.at_end()
        (record,) = world.records(Action.ABORTED)
        assert (record.od, record.ss) == ("rfc822;jd@example.com", "client.outside.test [127.0.0.1]")


@pytest.mark.parametrize("in_body", [False, True])
def test_trickling_octets_do_not_help(tmp_path: Path, in_body: bool) -> None:
    """A command line has one deadline; a body has a least rate."""
    with SmtpWorld(relay_files(tmp_path, options=QUICK)) as world:
        client = world.hello()
        if in_body:
            client.begin("jd@example.com")
        end = time.monotonic() + 3  # before the transaction's own end at 3.6 s
        while world.call(lambda: world.relay.sessions):
            assert time.monotonic() < end, "still there"
            try:
                client.send(b"x")
            except OSError:
                break
            time.sleep(0.02)  # the trickle itself
        assert world.queued() == []


def test_a_transaction_ends_whatever_is_sent(tmp_path: Path) -> None:
    options = "COMMAND_RECEIVE_TIME=0.001\nDATA_RECEIVE_TIME=0.001\n"
    with SmtpWorld(relay_files(tmp_path, options=options)) as world:
        client = world.hello()
        client.ask("MAIL FROM:<a@outside.test>")
        begun = time.monotonic()
        while (answer := client.ask("RCPT TO:<nobody@example.com>")).startswith("550"):
            assert time.monotonic() < begun + 5
        assert answer.startswith("421 4.4.2 ")


def test_a_client_that_does_not_read_is_not_read_and_then_cut(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, options="STATUS_TRANSMIT_TIME=0.005\n")) as world:
        client = world.hello()
        client.ask("MAIL FROM:<a@outside.test>")
        line = b"RCPT TO:<" + b"n" * 200 + b"@elsewhere.test>\r\n"
        with pytest.raises(OSError, match=r"timed out|reset|Broken pipe"):
            client.send(line * 500_000)
        world.until(lambda: not world.relay.sessions)


def test_a_client_that_reads_late_hears_everything(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.ask("MAIL FROM:<a@outside.test>")
        line = b"RCPT TO:<" + b"n" * 200 + b"@elsewhere.test>\r\n"
        for _ in range(30):
            client.send(line * 300)
            assert [each[:9] for each in client.replies(300)] == ["550 5.7.1"] * 300
        assert client.ask("RSET").startswith("250 ")


def test_who_does_not_close_after_a_refusal_is_closed(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.send(b"JUNK\r\n" * 20)
        assert client.replies(21)[-1].startswith("421 4.7.0 ")
        assert client.at_end()
        for session in world.call(lambda: list(world.relay.sessions)):
            session.deadline = 0.0  # the moment of listening is over
        world.until(lambda: not world.relay.sessions)
