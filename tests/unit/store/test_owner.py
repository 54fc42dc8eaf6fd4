"""Delivery addresses become mailbox owners; nothing else ever becomes a path (message-store 1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.mail.modified_utf7 import encode_utf7
from posthouse.store.mailbox.errors import MailboxNonexistent
from posthouse.store.mailbox.folder_name import Unwritable, folder_directory
from posthouse.store.mailbox.owner import Target, parse_target


@pytest.mark.parametrize(
    ("token", "owner", "folder"),
    [
        (b"bob", "bob", ""),
        (b"<bob>", "bob", ""),
        (b"<J.Doe-1>", "j.doe-1", ""),
        (b"<Bob@Example.COM>", "bob", ""),
        (b"<sue@hosted.example.org>", "sue@hosted.example.org", ""),
        (b"<SMiller@hosted.example.org>", "smiller@hosted.example.org", ""),
        (b"jdoe+Lists/python", "jdoe", "Lists/python"),
        (b"<jdoe+a+b@example.com>", "jdoe", "a+b"),
        (b'<"jdoe+My Folder">', "jdoe", "My Folder"),
        (b'<"jdoe+My Folder"@hosted.example.org>', "jdoe@hosted.example.org", "My Folder"),
        (b"<sue%hosted.example.org+Work@tcp_lmtpss-daemon>", "sue@hosted.example.org", "Work"),
        (b"<sue%hosted.example.org>", "sue@hosted.example.org", ""),
        (b"<@relay.example.com:bob@example.com>", "bob", ""),
        ("<jürgen@example.com>".encode(), "jürgen", ""),
        (b"<bob+>", "bob", ""),
        (b"<" + b"a" * 128 + b">", "a" * 128, ""),
    ],
)
def test_addresses_name_owners(token: bytes, owner: str, folder: str) -> None:
    assert parse_target(token, "example.com") == Target(owner, folder)


@pytest.mark.parametrize(
    "token",
    [
        b"", b"<>", b"<../etc>", b"<..>", b"<.>", b"<.hidden>", b"<=user>", b"<a/b>", b"<+folder>", b"<a\x00b>", b"<a\x1fb>",
        b"<bob@..>", b"<bob@../../x>", b"<bob@a/b>", b'<"bob>', b"<\xff\xfe>", b"<" + b"a" * 129 + b">", b"<@example.com>",
        b'<"a\\/b">', b"<%/../x@y>", b"<bob%../x>", "<a\u2028b>".encode(),
    ],
)  # fmt: skip
def test_addresses_that_name_nobody(token: bytes) -> None:
    try:
        target = parse_target(token, "example.com")
    except MailboxNonexistent:
        return
    # An odd domain is allowed as a name as long as it is one harmless step of a path.
    assert token == b"<bob@..>"
    assert target.owner == "bob@.."


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_an_owner_is_always_one_step_of_a_path(local: bytes, domain: bytes) -> None:
    try:
        owner = parse_target(b"<" + local + b"@" + domain + b">", "example.com").owner
    except MailboxNonexistent:
        return
    assert owner
    assert owner[0] not in ".="
    assert not {"/", "\0"} & set(owner)
    assert owner == owner.lower()
    assert len(owner.encode()) <= 128


@pytest.mark.parametrize(
    ("folder", "directory"),
    [
        ("", ""), ("INBOX", ""), ("inbox", ""), ("INBOX/x", ".x"), ("Lists/python", ".Lists.python"), ("My Folder", ".My Folder"),
        ("Entwürfe", ".Entw&APw-rfe"), ("a&b", ".a&-b"), ("日本", ".&ZeVnLA-"),
        ("Entw&APw-rfe", ".Entw&APw-rfe"), ("&ZeVnLA-/x", ".&ZeVnLA-.x"), ("R&-D", ".R&-D"), ("R&D", ".R&-D"), ("&", ".&-"),
        ("&AGE-", ".&-AGE-"), ("&AC8-", ".&-AC8-"), ("&AC4ALg-", ".&-AC4ALg-"), ("&A-", ".&-A-"), ("&2AA-", ".&-2AA-"),
        ("&AAA-", None),
        ("a.b", None), ("a//b", None), ("/a", None), ("..", None), ("../../etc", None), ("a/..", None), ("a\0b", None),
        ("x" * 250, None), ("a\nb", None), ("INBOX/inbox", ""), ("inbox/Inbox/x", ".x"), ("INBOX/", ""), ("x/INBOX", ".x.INBOX"),
        ("~", None), ("~x/y", None), ("x/~y", ".x.~y"), ("a\\b", ".a\\b"), ("admin-lock", None), ("lmtp-lock", None),
        ("lmtp-lock/x", ".lmtp-lock.x"), ("x" * 239, "." + "x" * 239), ("é" * 100, None), ("\udcff", None), ("&\udcff-", None),
    ],
)  # fmt: skip
def test_folder_names(folder: str, directory: str | None) -> None:
    assert folder_directory(folder) == directory


@pytest.mark.parametrize(
    ("folder", "directory"),
    [
        ("a.b", ".a\\2eb"), ("..", ".\\2e\\2e"), ("a/.b", ".a.\\2eb"), ("~x", ".\\7ex"), ("a\\b", ".a\\5cb"),
        ("ü.ü", ".&APw-\\2e&APw-"),
        ("../../etc", ".\\2e\\2e.\\2e\\2e.etc"), ("INBOX/a.b", ".a\\2eb"), ("a//b", None), ("x" * 250, None), ("plain", ".plain"),
    ],
)  # fmt: skip
def test_folder_names_as_dovecots_listescape_writes_them(folder: str, directory: str | None) -> None:
    assert folder_directory(folder, Unwritable.ESCAPED) == directory


@given(st.text(max_size=80))
def test_a_folders_directory_is_one_step_and_plain_ascii(folder: str) -> None:
    try:
        directory = folder_directory(folder)
    except UnicodeEncodeError:
        return
    if directory:
        assert directory.isascii()
        assert directory[0] == "."
        assert directory not in {".", ".."}
        assert "/" not in directory
        assert ".." not in directory


@given(st.text(max_size=40))
def test_utf7_is_what_others_write(text: str) -> None:
    try:
        encoded = encode_utf7(text)
    except UnicodeEncodeError:  # a lone surrogate
        return
    # RFC 3501 5.1.3 undone with the standard library's UTF-7.
    plain = "".join(
        part if number % 2 == 0 else "&" if part == "" else ("+" + part.replace(",", "/") + "-").encode().decode("utf-7")
        for number, part in enumerate(_split(encoded))
    )
    assert plain == text


def _split(encoded: str) -> list[str]:
    parts: list[str] = []
    rest = encoded
    while True:
        before, shift, rest = rest.partition("&")
        parts.append(before)
        if not shift:
            return parts
        inside, _, rest = rest.partition("-")
        parts.append(inside)
