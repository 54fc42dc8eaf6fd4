"""From RCPT TO to a program, and parts of a message over SMTP to one mailbox: a relay as `init` makes it."""

import os
from pathlib import Path

from support.family_rig import wait_for
from support.journey_mail import records
from support.journey_tiers import append, edit, journey, wait_empty
from support.lists import directory, mail_of, owners_of, person, send
from support.pipe import program

BOTH = person("both", 1, mailDeliveryOption=["mailbox", "program"], mailProgramDeliveryInfo=["file", "missing"])
REFUSED = person("refused", 1, mailDeliveryOption="program", mailProgramDeliveryInfo="nouser")
PART = 'MIME-Version: 1.0\r\nContent-Type: message/partial; id="p1@x"; number={0}; total=2\r\n'


def test_mail_for_a_user_with_programs(tmp_path: Path, open_folder: Path) -> None:
    open_folder.chmod(0o777)
    keep = program(open_folder, "keep", f'cat >{open_folder}/"$1"')
    nouser = program(open_folder, "nouser", "echo nobody here; exit 67")
    with directory("ldif", tmp_path, BOTH, REFUSED) as options, journey(tmp_path, directory=options, start=False) as tiers:
        if os.geteuid() == 0:
            edit(tiers.relay, "imta.cnf", "pipe single", "pipe user nobody single")
        registered = f"[PROGRAM=file]\nCOMMAND={keep} $A\nFORMAT=mbox\n[PROGRAM=nouser]\nCOMMAND={nouser}\n"
        append(tiers.relay, "pipe_programs", registered)
        checked = tiers.relay.command("check").stderr
        assert "1 values of mailprogramdeliveryinfo name no registered program" in checked
        tiers.start()
        routed = tiers.relay.command("route", "both@example.com", "--explain").stdout
        assert "both%file@pipe-daemon" in routed
        assert send(tiers, ["file%both@pipe-daemon"], "direct").startswith("550")
        assert send(tiers, ["both"], "one").startswith("250")
        assert send(tiers, ["refused"], "two", sender="user1").startswith("250")
        assert send(tiers, ["refused"], "three", sender="user2%file@pipe-daemon").startswith("250")
        kept = open_folder / "both@example.com"
        wait_for(lambda: kept.exists() and b"one@journey.test" in kept.read_bytes())
        assert kept.read_bytes().startswith(b"From user0@example.com ")
        assert b"\r" not in kept.read_bytes()
        wait_for(lambda: owners_of(tiers, "one") == ["both"])
        wait_for(lambda: [str(mail["Subject"]) for mail in mail_of(tiers, "user1")])
        (bounce,) = mail_of(tiers, "user1")
        text = bounce.as_string()
        assert "nobody here" in text
        assert "Status: 5.1.1" in text
        assert "pipe-daemon" not in text
        wait_for(lambda: [each for each in records(tiers.relay, "K") if "user2%file" in each["de"]])
        assert {path.name for path in open_folder.iterdir()} == {"keep", "nouser", "both@example.com"}  # the notice ran nothing
        (copy,) = [copy for copy in tiers.relay.json("queue", "list") if copy["channel"] == "pipe"]
        assert copy["recipients"][0]["address"] == "both%missing@pipe-daemon"


def test_parts_of_a_message_become_one(tmp_path: Path) -> None:
    with journey(tmp_path) as tiers:
        inner = "Subject: whole\r\nMessage-ID: <whole@journey.test>\r\n\r\nfirst\r\n"
        assert send(tiers, ["user2", "user3"], "p2", header=PART.format(2), body="second\r\n").startswith("250")
        assert send(tiers, ["user2", "user3"], "p1", header=PART.format(1), body=inner).startswith("250")
        wait_for(lambda: owners_of(tiers, "whole") == ["user2", "user3"])
        wait_empty(tiers.relay)
        (mail,) = mail_of(tiers, "user2")
        assert (mail["Subject"], mail["From"], mail.get_content()) == ("whole", "user0@example.com", "first\nsecond\n")
        assert owners_of(tiers, "p1") == owners_of(tiers, "p2") == []
