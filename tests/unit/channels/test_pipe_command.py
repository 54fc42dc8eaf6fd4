"""What a program is started with, and what its exit status means: no address becomes an option, no status bounces by chance."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.config.pipe_programs import Format, PipeProgram, command_words
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.relay.channels.pipe_command import Unsuitable, arguments, exit_status, head, spoken, whom

RECIPIENT = Recipient(0, 0, "pipe", "jdoe%sort@pipe-daemon", "j.doe@example.com", intermediate="John.Doe+x@example.com")
ENVELOPE = Envelope("0TABC", "ann@example.org", "tcp_local", "", 0, 5, (RECIPIENT,))


def program(command: str) -> PipeProgram:
    path, words = command_words(command)
    return PipeProgram("sort", path, words, Format.UNIX, 0, 100, command, "f", 1)


def words(command: str, sender: str = "ann@example.org", recipient: Recipient = RECIPIENT) -> list[str]:
    made = arguments(program(command), msgspec.structs.replace(ENVELOPE, sender=sender), recipient)
    return [word.decode() for word in made[1:]]


def test_the_codes() -> None:
    assert words("/bin/x $A $R $S $U $P $I '$$ 5' -f$S") == [
        "John.Doe+x@example.com", "j.doe@example.com", "ann@example.org", "jdoe", "sort", "0TABC", "$ 5", "-fann@example.org",
    ]  # fmt: skip


def test_the_null_sender_is_an_empty_word() -> None:
    assert words("/bin/x -f $S y", sender="") == ["-f", "", "y"]


@pytest.mark.parametrize(
    ("sender", "word"),
    [
        ("-oQ/tmp@example.org", '"-oQ/tmp"@example.org'),
        ("--help", '"--help"'),
        ('"; rm -rf /; $(id) `id`"@example.org', '"; rm -rf /; $(id) `id`"@example.org'),
        ('"() { :;}; id"@example.org', '"() { :;}; id"@example.org'),
        ("a|b>c@example.org", "a|b>c@example.org"),
    ],
)
def test_what_a_sender_writes_stays_one_word_and_no_option(sender: str, word: str) -> None:
    assert words("/bin/x $S", sender=sender) == [word]


def test_a_user_name_that_looks_like_an_option_waits() -> None:
    odd = msgspec.structs.replace(RECIPIENT, address="-rf%sort@pipe-daemon")
    assert whom(odd.address) == ("-rf", "sort")
    with pytest.raises(Unsuitable) as refused:
        words("/bin/x $U", recipient=odd)
    assert refused.value.status.is_temporary
    assert words("/bin/x -u$U", recipient=odd) == ["-u-rf"]
    with pytest.raises(Unsuitable):
        words("/bin/x $S-x", sender="")


def test_control_characters_go_to_no_program() -> None:
    with pytest.raises(Unsuitable) as refused:
        words("/bin/x $S", sender="a\nb@example.org")
    assert str(refused.value.status).startswith("550 5.1.3")


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40))
def test_any_sender_is_one_word_without_a_leading_dash(local: str) -> None:
    (word,) = words("/bin/x $S", sender=f"{local}@example.org")
    assert not word.startswith("-")
    assert local in word


def test_whom() -> None:
    assert whom("jdoe%sort@pipe-daemon") == ("jdoe", "sort")
    assert whom('"odd%user%sort"@pipe-daemon') == ("odd%user", "sort")
    assert whom("sort@pipe-daemon") == ("", "sort")
    assert whom("@@") == ("", "")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, "250 2.0.0 delivered to program p"),
        (1, "451 4.3.0 program p: exit status 1 is none of sysexits: no luck"),
        (64, "451 4.3.5 program p: command line usage error: no luck"),
        (65, "550 5.6.0 program p: no luck"),
        (67, "550 5.1.1 program p: no luck"),
        (69, "550 5.3.0 program p: no luck"),
        (70, "451 4.3.0 program p: internal software error: no luck"),
        (75, "451 4.3.0 program p: temporary failure: no luck"),
        (77, "550 5.7.1 program p: no luck"),
        (127, "451 4.3.0 program p: exit status 127 is none of sysexits: no luck"),
        (-9, "451 4.3.0 program p was ended by signal 9: no luck"),
    ],
)
def test_exit_status(code: int, expected: str) -> None:
    assert str(exit_status("p", code, b"no\r\n luck\x00\n")) == expected


def test_without_a_word_of_its_own_the_status_speaks() -> None:
    assert str(exit_status("p", 67, b"")) == "550 5.1.1 program p: user unknown"


@given(st.integers(-64, 255), st.binary(max_size=2000))
def test_every_status_is_one_line(code: int, output: bytes) -> None:
    status = exit_status("p", code, output)
    assert status.is_success == (code == 0)
    assert status.text.isprintable()
    assert len(status.text) < 300
    assert len(spoken(output)) <= 200


def test_heads() -> None:
    when = "Thu Jan  1 00:00:00 1970"
    assert head(Format.UNIX, ENVELOPE, when) == b"Return-Path: <ann@example.org>\n"
    assert head(Format.SMTP, ENVELOPE, when) == b"Return-Path: <ann@example.org>\r\n"
    assert head(Format.MBOX, ENVELOPE, when) == f"From ann@example.org {when}\nReturn-Path: <ann@example.org>\n".encode()
    null = msgspec.structs.replace(ENVELOPE, sender="")
    assert head(Format.MBOX, null, when) == f"From MAILER-DAEMON {when}\nReturn-Path: <>\n".encode()
