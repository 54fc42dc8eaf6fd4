"""The site's own words in notices, and who else gets a copy."""

import email
import email.policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.config.return_texts import ReturnTexts
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.notices.dsn import Kind, Notice, Report, build
from posthouse.relay.notices.notifier import Wording
from posthouse.relay.notices.postmaster import Post, PostPolicy
from support.jobs_relay import JobsRelay

BOB = Recipient(0, 0, "tcp_lmtpcs", "@store1.example.com.lmtp:bob@lmtpcs-daemon", "bob@example.com", "store1.example.com.lmtp")
MESSAGE = b"From: a@example.org\r\nTo: bob@example.com\r\nSubject: hello\r\n\r\nsecret words\r\n"
ACCEPTED = 1_795_428_000
DAY = 86400.0


def notice(texts: ReturnTexts, kind: Kind = Kind.DELAYED, sender: str = "a@example.org", **more: object) -> EmailMessage:
    envelope = Envelope("0T8K00A01BCDEF0001", sender, "tcp_local", "", ACCEPTED * 1000, len(MESSAGE), (BOB,))
    report = Report(BOB, Status(452, "4.2.2", "<@store1.example.com.lmtp:bob@lmtpcs-daemon> 100% full"), "store1.example.com")
    made = Notice(
        kind, envelope, (report,), "relay1.example.com", "tcp_lmtpcs", "postmaster@example.com", "0T8K00A01BCDEF0002",
        ACCEPTED + 3 * DAY, retry_until=ACCEPTED + 4 * DAY, texts=texts, **more,  # type: ignore[arg-type]
    )  # fmt: skip
    octets = b"".join(build(made, MESSAGE[: MESSAGE.index(b"\r\n\r\n") + 4], [MESSAGE]))
    return email.message_from_bytes(octets, policy=email.policy.SMTPUTF8)


def words(message: EmailMessage) -> str:
    (text, *_) = cast("list[EmailMessage]", message.get_payload())
    content: str = text.get_content()
    return content.replace("\r\n", "\n")


def texts(root: Path, **files: str) -> ReturnTexts:
    JobsRelay(root, 2225)
    for name, text in files.items():
        (root / "config" / f"return_{name}.{'opt' if name == 'option' else 'txt'}").write_text(text)
    return load(Instance(root)).returns


def test_every_sequence(tmp_path: Path) -> None:
    own = texts(
        tmp_path,
        prefix="Content-type: text/plain; charset=utf-8\nContent-language: de\n\nGrüße. %H\n--\n",
        delayed="%C %u%s of %F gone, %L %U%S left. 100%%\n%R",
        suffix="\nat %D",
        option="! ours\nSUBJECT=Message\nSUBJECT_DELAYED=Verspätet\n",
    )
    message = notice(own)
    said = words(message)
    assert said.startswith("Grüße.   From: a@example.org\n  To: bob@example.com\n  Subject: hello\n--\n")
    assert "3 days of 4 gone, 1 Day left. 100%\n" in said
    assert "  Diagnostic code: smtp;452 4.2.2 <bob@example.com> 100% full\n" in said
    assert "Content-type" not in said
    assert message["Subject"] == "Verspätet"
    assert cast("list[EmailMessage]", message.get_payload())[0]["Content-Language"] == "de"
    assert notice(own, Kind.FAILED)["Subject"] == "Message"
    assert "Your message cannot be delivered" in words(notice(own, Kind.FAILED)), "what the site has not written is ours"


@pytest.mark.parametrize(("kind", "file"), [(Kind.RETURNED, "bounced"), (Kind.TIMED_OUT, "timedout"), (Kind.DELAYED, "deferred")])
def test_each_type_has_its_file(tmp_path: Path, kind: Kind, file: str) -> None:
    assert "our own words" in words(notice(texts(tmp_path, **{file: "our own words\n%R"}), kind))


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("failed", "ok\n100% sure", "config/return_failed.txt:2: unknown sequence %; write %% for a percent"),
        ("prefix", "%Q", "config/return_prefix.txt:1: unknown sequence %Q; write %% for a percent"),
        ("failed", "ok\nno\0", "config/return_failed.txt:2: contains the control character 0x00"),
        ("prefix", "Content-language: dé\n\nHallo", "config/return_prefix.txt: Content-language: 'dé' is no language"),
        ("option", "SUBJECT_LATE=x", "config/return_option.opt:1: 'SUBJECT_LATE=x' is not SUBJECT=text or SUBJECT_<type>=text"),
    ],
)
def test_what_is_wrong_is_a_fault(tmp_path: Path, file: str, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        texts(tmp_path, **{file: text})
    assert fault in str(caught.value)


def test_a_carriage_return_alone_is_a_fault_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    JobsRelay(tmp_path, 2225)
    prefix = tmp_path / "config" / "return_prefix.txt"
    prefix.write_bytes(b"\xef\xbb\xbfContent-language: de\r\n\r\nHallo\r\n")
    own = load(Instance(tmp_path)).returns
    assert (own.language, own.prefix) == ("de", "Hallo\n")
    prefix.write_bytes(b"Content-language: de\rX: y\n\nHallo\n")
    with pytest.raises(ConfigurationError, match=r"return_prefix.txt:1: contains the control character 0x0d"):
        load(Instance(tmp_path))


def test_long_lines_are_folded(tmp_path: Path) -> None:
    message = notice(texts(tmp_path, delayed="Grüße und " * 200 + "%R"))
    assert max(map(len, words(message).encode().splitlines())) <= 998
    assert words(message).replace("\n", " ").count("Grüße und ") == 200


def test_texts_that_are_not_utf_8_are_a_fault(tmp_path: Path) -> None:
    JobsRelay(tmp_path, 2225)
    (tmp_path / "config" / "return_failed.txt").write_bytes(b"Gr\xfc\xdfe")
    with pytest.raises(ConfigurationError, match=r"return_failed.txt: cannot be read as UTF-8 text"):
        load(Instance(tmp_path))


def test_the_configuration_reaches_the_notices(tmp_path: Path) -> None:
    own = texts(tmp_path, failed="ours %R")
    assert Wording.from_configuration(load(Instance(tmp_path)), "relay1.example.com").texts == own


def test_a_notice_for_the_postmaster_is_about_anybodys_mail() -> None:
    message = notice(ReturnTexts(), Kind.FAILED, "", to="postmaster@example.com", header_only=True)
    assert message["To"] == "postmaster@example.com"
    assert "relates to a message with" in words(message)
    assert "secret words" not in message.as_string()
    assert "secret words" in notice(ReturnTexts(), Kind.FAILED, to="postmaster@example.com").as_string()


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ("", (False, False, False, False)),
        ("sendpost warnpost", (True, True, True, True)),
        ("copysendpost copywarnpost", (True, False, True, False)),
        ("errsendpost errwarnpost", (False, True, False, True)),
        ("nosendpost nowarnpost", (False, False, False, False)),
        ("copysendpost nowarnpost", (True, False, False, False)),
    ],
)
def test_who_gets_copies(keywords: str, expected: tuple[bool, ...]) -> None:
    policy = PostPolicy.of(keywords.split().__contains__)
    asked = ((Kind.FAILED, "a@b"), (Kind.TIMED_OUT, ""), (Kind.DELAYED, "a@b"), (Kind.DELAYED, ""))
    assert tuple(policy.wants(kind, sender) for kind, sender in asked) == expected
    assert not policy.wants(Kind.DELIVERED, "a@b")
    assert (policy.returned is Post.NEVER) == (keywords in {"", "nosendpost nowarnpost"})
