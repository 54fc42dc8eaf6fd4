"""Commands sent all at once are obeyed in turns, so that others have theirs (decision 146): none is lost, none overtakes."""

from pathlib import Path

from support.smtp_world import SmtpWorld, relay_files


def test_a_thousand_commands_and_a_message_behind_them(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<alice@outside.test>").startswith("250")
        client.send(
            b"RCPT TO:<jd@example.com>\r\n" * 1000
            + b"RSET\r\nMAIL FROM:<bob@outside.test>\r\nRCPT TO:<jd@example.com>\r\nDATA\r\n"
        )
        answers = client.replies(1000)
        assert [each[:9] for each in answers] == ["250 2.1.5"] * 128 + ["452 4.5.3"] * 872
        assert [each[:3] for each in client.replies(4)] == ["250", "250", "250", "354"]
        client.send(b"Subject: s\r\n\r\ntext\r\n.\r\n")
        assert client.reply().startswith("250 2.5.0 ")
        assert [each.envelope.sender for each in world.queued()] == ["bob@outside.test"]


def test_a_client_that_has_closed_its_side_hears_every_reply(tmp_path: Path) -> None:
    with SmtpWorld(relay_files(tmp_path)) as world:
        client = world.hello()
        client.send(b"MAIL FROM:<alice@outside.test>\r\n" + b"RCPT TO:<jd@example.com>\r\n" * 1000)
        client.finish()
        assert [each[:3] for each in client.replies(1001)] == ["250"] * 129 + ["452"] * 872
        assert client.at_end()
