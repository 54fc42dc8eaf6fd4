"""Users' Sieve scripts with real processes: what each action does to the mail in the mailboxes, and that nothing goes round."""

import base64
from pathlib import Path

from posthouse.testing.tiers import TwoTiers
from support.family_rig import wait_for
from support.journey_mail import Found, connect, mailboxes, records
from support.journey_tiers import journey, restart_after_kill, wait_empty
from support.slapd import many_people

SCRIPTS = {
    0: 'require ["fileinto", "variables"];\nif header :matches "subject" "[*] *" { fileinto "Lists/${1}"; }\n'
    'elsif header :contains "subject" "work" { fileinto "Work"; keep; }\n',
    1: 'require "vacation";\nvacation :days 1 :subject "I am away" "Back on Monday.";\n',
    2: 'require "copy";\nredirect :copy "user3@example.com";\n',
    4: 'require "reject";\nif header :contains "subject" "buy" { reject "I want no advertising."; }\n',
    5: 'if header :contains "subject" "buy" { discard; }\n',
    6: 'require "variables";\nif header :matches "subject" "*" {\n  # no address\n  redirect "${1}";\n}\n',
    8: 'redirect "user9@example.com";\n',
    9: 'redirect "user8@example.com";\n',
}


def people(folder: Path) -> list[str]:
    """Ten users, those of SCRIPTS with their script."""
    ldif = many_people(10, stores=("store1.example.com", "store2.example.com"))
    for number, script in SCRIPTS.items():
        line = f"mail: user{number}@example.com\n"
        coded = base64.b64encode(script.encode()).decode()
        ldif = ldif.replace(line, f"{line}mailSieveRuleSource:: {coded}\n")
    path = folder / "people.ldif"
    path.write_text(ldif)
    return ["--ldif", str(path)]


def send(tiers: TwoTiers, subject: str, *users: int, sender: str = "user7@example.com") -> tuple[int, str]:
    """One message; the reply to its final dot."""
    to = ", ".join(f"user{user}@example.com" for user in users)
    token = subject.replace(" ", ".")
    text = f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <{token}@journey.test>\r\n\r\nbody\r\n"
    with connect(tiers.relay) as client:
        client.ehlo("client.test")
        client.mail(sender)
        for user in users:
            assert client.rcpt(f"user{user}@example.com")[0] == 250
        code, reply = client.data(text.encode())
        return code, reply.decode()


def of(tiers: TwoTiers, user: int) -> list[Found]:
    """Everything in a user's mailbox."""
    return [found for found in mailboxes(tiers.stores) if found.owner == f"user{user}"]


def folders(tiers: TwoTiers, user: int) -> list[str]:
    """The folders his messages are in, INBOX as an empty text."""
    return sorted(found.path.parts[-3].removeprefix(f"user{user}") for found in of(tiers, user))


def test_every_action_of_a_script(tmp_path: Path) -> None:
    with journey(tmp_path, directory=people(tmp_path)) as tiers:
        assert send(tiers, "[news] one", 0)[0] == 250
        assert send(tiers, "work two", 0)[0] == 250
        assert send(tiers, "three", 0)[0] == 250
        wait_for(lambda: folders(tiers, 0) == ["", "", ".Lists.news", ".Work"], 20)

        assert send(tiers, "copied", 2)[0] == 250
        wait_for(lambda: len(of(tiers, 2)) == len(of(tiers, 3)) == 1, 20)
        (copy,) = of(tiers, 3)
        assert b"x-sieve-redirected-from: <user2@example.com>\n" in copy.octets
        assert copy.octets.startswith(b"Return-Path: <user7@example.com>\n")
        assert b"redirected" not in of(tiers, 2)[0].octets

        assert send(tiers, "please buy", 5)[0] == 250
        assert send(tiers, "hello", 5)[0] == 250
        wait_for(lambda: [found.token for found in of(tiers, 5)] == ["hello"], 20)

        code, reply = send(tiers, "please buy", 4)
        assert (code, reply) == (550, "5.7.1 I want no advertising.")
        assert send(tiers, "please buy it", 4, 3)[0] == 250
        wait_for(lambda: of(tiers, 7), 20)
        (notice,) = of(tiers, 7)
        assert b"\nAction: failed\n" in notice.octets
        assert b"I want no advertising." in notice.octets
        assert b"\nFinal-Recipient: rfc822;user4@example.com\n" in notice.octets
        assert b"\nFinal-Recipient: rfc822;user3@example.com\n" not in notice.octets
        assert of(tiers, 4) == []
        wait_empty(tiers.relay)


def test_one_answer_and_one_note(tmp_path: Path) -> None:
    """Also over a restart: the memory is on disk."""
    with journey(tmp_path, directory=people(tmp_path)) as tiers:
        for number in range(3):
            assert send(tiers, f"question {number}", 1)[0] == 250
            assert send(tiers, f"broken {number}", 6)[0] == 250
            wait_for(lambda: len(of(tiers, 6)) >= 2, 20)  # the note names the message that came first
        wait_for(lambda: len(of(tiers, 1)) == 3 and len(of(tiers, 6)) == 4 and len(of(tiers, 7)) == 1, 20)
        wait_empty(tiers.relay)
        restart_after_kill(tiers.relay)
        assert send(tiers, "question 3", 1)[0] == 250
        assert send(tiers, "broken 3", 6)[0] == 250
        wait_for(lambda: len(of(tiers, 1)) == 4 and len(of(tiers, 6)) == 5, 20)
        wait_empty(tiers.relay)
        (answer,) = of(tiers, 7)
        assert b"\nSubject: I am away\n" in answer.octets
        assert b"\nAuto-Submitted: auto-replied\n" in answer.octets
        assert answer.octets.startswith(b"Return-Path: <>\n")
        (note,) = (found for found in of(tiers, 6) if not found.token.startswith("broken"))
        assert b"\nSubject: Your mail filter has a fault\n" in note.octets
        assert b"line 4: redirect: 'broken 0' is no address" in note.octets


def test_a_redirected_message_keeps_a_very_long_header_line(tmp_path: Path) -> None:
    line = b"Subject: " + b"a" * 900_000
    with journey(tmp_path, directory=people(tmp_path)) as tiers:
        with connect(tiers.relay) as client:
            client.ehlo("client.test")
            message = line + b"\r\nMessage-ID: <long@journey.test>\r\n\r\nbody\r\n"
            client.sendmail("user7@example.com", ["user2@example.com"], message)
        wait_for(lambda: len(of(tiers, 3)) == 1, 30)
        (copy,) = of(tiers, 3)
        assert b"\n" + line + b"\nMessage-ID: <long@journey.test>\n\nbody\n" in copy.octets
        assert copy.octets.index(b"x-sieve-redirected-from: <user2@example.com>\n") < copy.octets.index(line)


def test_redirects_do_not_go_in_circles(tmp_path: Path) -> None:
    with journey(tmp_path, directory=people(tmp_path)) as tiers:
        assert send(tiers, "round", 8)[0] == 250
        wait_for(lambda: of(tiers, 8), 20)
        wait_empty(tiers.relay)
        assert (len(of(tiers, 8)), len(of(tiers, 9))) == (1, 0)
        (kept,) = of(tiers, 8)
        assert kept.octets.count(b"x-sieve-redirected-from: ") == 2
        assert len(records(tiers.relay, "R")) == 0


def test_a_script_sees_a_message_that_is_streamed_to_disk(tmp_path: Path) -> None:
    with journey(tmp_path, directory=people(tmp_path)) as tiers:
        with connect(tiers.relay) as client:
            head = b"From: user7@example.com\r\nTo: user0@example.com\r\nSubject: [big] one\r\n\r\n"
            sent = client.sendmail("user7@example.com", ["user0@example.com"], head + b"x" * 70 + b"\r\n" + b"y" * 70_0000)
            assert sent == {}
        wait_for(lambda: folders(tiers, 0) == [".Lists.big"], 20)


def test_what_a_script_wants_survives_a_kill(tmp_path: Path) -> None:
    """All of it is in the message's record: after 250 nothing depends on a process."""
    with journey(tmp_path, directory=people(tmp_path)) as tiers:
        for number in range(5):
            assert send(tiers, f"please buy {number}", 2, 4, 5)[0] == 250
        assert send(tiers, "are you there", 1)[0] == 250
        restart_after_kill(tiers.relay)
        wanted = {f"please.buy.{number}" for number in range(5)}
        wait_for(lambda: {found.token for found in of(tiers, 2)} == {found.token for found in of(tiers, 3)} == wanted, 30)
        wait_for(lambda: sum(b"\nAction: failed\n" in found.octets for found in of(tiers, 7)) >= 5, 30)
        wait_for(lambda: any(b"\nSubject: I am away\n" in found.octets for found in of(tiers, 7)), 30)
        assert of(tiers, 4) == of(tiers, 5) == []
