"""Limits and the source channel of clients: keywords of imta.cnf, one by one."""

from pathlib import Path

import pytest

from posthouse.config.instance import Instance
from posthouse.trace.record import Action
from support.smtp_world import SmtpWorld, relay_files

BODY = b"Subject: hello\r\n\r\nOne line\r\n"
PEOPLE = ("john.doe@example.com", "ann.smith@example.com", "info@hosted.example.org")
INTRANET = "\ntcp_intranet smtp allowswitchchannel\ntcp_intranet-daemon\n"
INTERNAL_IP = "INTERNAL_IP\n\n  $(192.0.2.0/24)  $Y\n  ${2001:db8::/32}  $Y\n  127.0.0.1  $Y\n  *  $N\n"
RULE = "[]      $E$R${INTERNAL_IP,$L}$U%[$L]@tcp_intranet-daemon\n"


def test_recipientlimit_defers_the_next(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="recipientlimit 2")) as world:
        client = world.hello()
        assert [each[:9] for each in client.begin(*PEOPLE)] == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]
        client.send(BODY + b".\r\n")
        assert client.reply().startswith("250 ")
        (message,) = world.queued()
        assert len(message.envelope.recipients) == 2


def test_recipientcutoff_refuses_the_whole_message(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="recipientcutoff 2")) as world:
        client = world.hello()
        assert [each[:9] for each in client.begin(*PEOPLE)] == ["250 2.1.5", "250 2.1.5", "550 5.5.3"]
        client.send(BODY + b".\r\n")
        assert client.reply().startswith("550 5.5.3 ")
        assert client.message(BODY, *PEOPLE[:2]).startswith("250 ")
        assert len(world.queued()) == 1


def test_holdlimit_holds_what_has_more(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="holdlimit 2")) as world:
        client = world.hello()
        assert client.message(BODY, *PEOPLE[:2]).startswith("250 ")
        assert client.message(BODY, *PEOPLE).startswith("250 ")
        envelopes = [each.envelope for each in world.queued()]
        found = {len(each.recipients): {(one.held, one.why) for one in each.recipients} for each in envelopes}
        assert found == {2: {(False, "")}, 3: {(True, "held: 3 recipients, over holdlimit 2")}}


def test_a_mail_loop_is_held_and_says_so(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        assert client.message(b"Received: from a by b; today\r\n" * 51 + BODY, PEOPLE[0]).startswith("250 ")
        (message,) = world.queued()
        assert [(each.held, each.why) for each in message.envelope.recipients] == [(True, "held: mail loop, 51 Received lines")]


def test_transactionlimit_defers_the_next_message(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="transactionlimit 2")) as world:
        client = world.hello()
        for _ in range(2):
            assert client.message(BODY, PEOPLE[0]).startswith("250 ")
        assert client.ask("MAIL FROM:<a@b.test>").startswith("452 4.5.3 ")
        assert world.hello().message(BODY, PEOPLE[0]).startswith("250 ")


def test_disconnecttransactionlimit_ends_behind_the_reply(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="disconnecttransactionlimit 2")) as world:
        client = world.hello()
        assert client.message(BODY, PEOPLE[0]).startswith("250 ")
        assert client.message(BODY, PEOPLE[0]).startswith("250 ")
        assert client.reply().startswith("421 4.7.0 Too many messages")
        assert client.at_end()
        assert len(world.queued()) == 2


def test_disconnectrejectlimit_ends_behind_the_refusal(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="disconnectrejectlimit 3")) as world:
        client = world.hello()
        client.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<john.doe@example.com>\r\n")
        client.send(b"RCPT TO:<no@example.com>\r\n" * 5 + b"DATA\r\n")
        assert [each[:3] for each in client.replies(6)] == ["250", "250", "550", "550", "550", "421"]
        assert client.at_end()
        assert world.records(Action.ABORTED)
        assert world.queued() == []


def test_disconnectrecipientlimit_counts_all_of_a_connection(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="disconnectrecipientlimit 3")) as world:
        client = world.hello()
        assert client.message(BODY, *PEOPLE[:2]).startswith("250 ")
        client.ask("MAIL FROM:<a@b.test>")
        client.send(b"RCPT TO:<john.doe@example.com>\r\n")
        assert [each[:3] for each in client.replies(2)] == ["250", "421"]
        assert client.at_end()


def test_disconnectbadcommandlimit(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path, keywords="disconnectbadcommandlimit 2")) as world:
        client = world.hello()
        client.send(b"XYZZY\r\nNOOP\r\nXYZZY\r\nNOOP\r\n")
        assert [each[:3] for each in client.replies(4)] == ["500", "250", "500", "421"]
        assert client.at_end()


def test_option_and_keyword_the_smaller_counts(tmp_path: Path) -> None:
    options = "ALLOW_RECIPIENTS_PER_TRANSACTION=1\nREJECT_RECIPIENTS_PER_TRANSACTION=2\nALLOW_TRANSACTIONS_PER_SESSION=1\n"
    files = relay_files(tmp_path, keywords="recipientlimit 5 recipientcutoff 9 transactionlimit 7", options=options)
    with SmtpWorld(files) as world:
        limits = world.relay.sources["tcp_local"].limits
        assert (limits.recipients, limits.recipients_at_all, limits.transactions) == (1, 2, 1)


@pytest.mark.parametrize(
    ("peer", "channel"),
    [("192.0.2.7", "tcp_intranet"), ("198.51.100.7", "tcp_local"), ("127.0.0.1", "tcp_intranet"),
     ("2001:db8::7", "tcp_intranet"), ("2001:db9::7", "tcp_local")],
)  # fmt: skip
def test_switchchannel_knows_our_own_by_their_address(tmp_path: Path, peer: str, channel: str) -> None:
    files = relay_files(tmp_path, keywords="switchchannel", imta=INTRANET, mappings=INTERNAL_IP)
    path = files.config / "imta.cnf"
    path.write_text(path.read_text().replace("[]      $U%[$L]@tcp-daemon", RULE + "[]      $U%[$L]@tcp-daemon"))
    with SmtpWorld(files, peer=peer) as world:
        client = world.hello()
        relayed = client.ask("MAIL FROM:<a@b.test>") and client.ask("RCPT TO:<someone@far.test>")
        assert relayed.startswith("250 " if channel == "tcp_intranet" else "550 5.7.1 ")
        client.ask("RSET")
        assert client.message(BODY, PEOPLE[0]).startswith("250 ")
        assert [record.sc for record in world.records(Action.ENQUEUED)] == [channel]


@pytest.mark.parametrize("keywords", ["noswitchchannel", "switchchannel"])
def test_a_channel_that_does_not_allow_it_is_not_switched_to(tmp_path: Path, keywords: str) -> None:
    imta = INTRANET.replace("allowswitchchannel", "" if keywords == "switchchannel" else "allowswitchchannel")
    files = relay_files(tmp_path, keywords=keywords, imta=imta, mappings=INTERNAL_IP)
    path = files.config / "imta.cnf"
    path.write_text(path.read_text().replace("[]      $U%[$L]@tcp-daemon", RULE + "[]      $U%[$L]@tcp-daemon"))
    with SmtpWorld(files) as world:
        client = world.hello()
        client.ask("MAIL FROM:<a@b.test>")
        assert client.ask("RCPT TO:<someone@far.test>").startswith("550 5.7.1 ")


def test_sourceblocklimit_is_the_channels_own(tmp_path: Path) -> None:
    files = relay_files(
        tmp_path, keywords="switchchannel", imta=INTRANET.replace("smtp ", "smtp sourceblocklimit 10 "), mappings=INTERNAL_IP
    )
    path = files.config / "imta.cnf"
    path.write_text(path.read_text().replace("[]      $U%[$L]@tcp-daemon", RULE + "[]      $U%[$L]@tcp-daemon"))
    with SmtpWorld(files, peer="192.0.2.1") as world:
        assert "250-SIZE 10240" in world.connect().ask("EHLO x")
    with SmtpWorld(files, peer="198.51.100.1") as world:
        assert "250-SIZE 10240" not in world.connect().ask("EHLO x")


def limited(instance: Instance, channel: str, limit: int) -> Instance:
    """The same with `linelimit` on a channel."""
    path = instance.root / "config" / "imta.cnf"
    path.write_text(path.read_text().replace(f"\n{channel} ", f"\n{channel} linelimit {limit} "))
    return instance


@pytest.mark.parametrize("lines", [10, 11, 40_000], ids=["enough", "one more", "streamed"])
@pytest.mark.parametrize("by", ["keyword", "option"])
def test_linelimit_is_the_destinations(tmp_path: Path, lines: int, by: str) -> None:
    files = relay_files(tmp_path, option_dat="" if by == "keyword" else "LINE_LIMIT=10\n")
    body = BODY + b"0123456789\r\n" * (lines - 3)
    with SmtpWorld(limited(files, "tcp_lmtpcs", 10) if by == "keyword" else files) as world:
        client = world.hello()
        reply = client.message(body, PEOPLE[0])
        if lines == 10:
            assert reply.startswith("250 ")
        else:
            assert reply == f"550 5.2.3 channel limit of 10 lines in a message exceeded: {PEOPLE[0]}"
        assert client.message(BODY, PEOPLE[0]).startswith("250 ")
        assert len(world.queued()) == 1 + (lines == 10)


def test_linelimit_puts_off_the_members_behind_it_only(tmp_path: Path) -> None:
    with SmtpWorld(limited(relay_files(tmp_path), "tcp_local", 3)) as world:
        client = world.hello()
        sender = "john.doe@example.com"
        assert client.message(BODY, "staff@example.com", sender=sender).startswith("250 ")
        assert client.message(BODY + b"x\r\n", "staff@example.com", sender=sender).startswith("250 ")
        short, long = ({one.channel: one.address for one in each.envelope.recipients} for each in world.queued())
        assert short.keys() == {"tcp_lmtpcs", "tcp_local"}
        assert long.keys() == {"tcp_lmtpcs", "reprocess"}
        assert long["reprocess"] == "@reprocess-daemon:ext@remote.test"
