"""Whom an address of the native service names; no path leaves the one folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.journal.disk import Disk
from posthouse.store.mailbox.errors import MailboxError, MailboxNonexistent
from posthouse.store.native.entry import Quoting
from posthouse.store.native.own_writer import open_file_folder
from posthouse.store.native.settings import NativeSettings
from posthouse.store.native.target import FileTarget, parse_native
from posthouse.store.quota.limits import Limits
from posthouse.testing.failing_disk import FailingDisk


@pytest.mark.parametrize(
    ("token", "owner"),
    [
        (b"<jdoe>", "jdoe"),
        (b"JDoe", "jdoe"),
        (b"<jdoe+Lists/python>", "jdoe"),
        (b"<jdoe@example.com>", "jdoe"),
        (b"<jdoe@other.example>", "jdoe@other.example"),
        (b"<jdoe%example.com+x@native-daemon>", "jdoe"),
    ],
)
def test_users(token: bytes, owner: str) -> None:
    target = parse_native(token, "example.com")
    assert (target.owner, target.folder) == (owner, "")


NOBODY = (b"<>", b"<../x>", b"<a/b>", b"<.x>", b"<jdoe.lock>", b"<+x>", b"<+>", b"<@example.com>", b"<\xff>")


@pytest.mark.parametrize("token", NOBODY)
def test_no_user(token: bytes) -> None:
    with pytest.raises(MailboxNonexistent):
        parse_native(token, "example.com")


@pytest.mark.parametrize(
    ("token", "steps"),
    [
        (b"<+/a>", ("a",)),
        (b"+/lists/a", ("lists", "a")),
        (b'<"+/lists/a b">', ("lists", "a b")),
        (b"<+/a+b@native-daemon>", ("a+b",)),
        (b"<@store1.example.com:+/a@native-daemon>", ("a",)),
        (b'<"+/a@b"@native-daemon>', ("a@b",)),
    ],
)
def test_files(token: bytes, steps: tuple[str, ...]) -> None:
    target = parse_native(token, "example.com")
    assert isinstance(target, FileTarget)
    assert target.steps == steps


@pytest.mark.parametrize(
    "token",
    [
        b"<+/>", b"<+//a>", b"<+/a/>", b"<+/../a>", b"<+/a/../b>", b"<+/./a>", b"<+/.a>", b"<+/a.lock>", b"<+/a\x00b>",
        b"<+/a\x1b>", b"<+/\xff>", b'<"+/a>', b"<+/" + b"a" * 300 + b">", b"<+/" + b"a/" * 40 + b"a>",
    ],
)  # fmt: skip
def test_no_file(token: bytes) -> None:
    with pytest.raises(MailboxNonexistent):
        parse_native(token, "example.com")


STEP = st.sampled_from(["..", ".", "", "a", "sub", "link", "etc", "passwd", "secret", "...", "a\\..", "%2e%2e", "~"])


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree")
    (root / "files" / "sub").mkdir(parents=True)
    (root / "secret").mkdir()
    (root / "files" / "link").symlink_to(root / "secret")
    (root / "files" / "sub" / "link").symlink_to("/etc")
    return root


@given(steps=st.lists(STEP, min_size=1, max_size=6), whole=st.booleans())
def test_no_path_leaves_the_folder(tree: Path, steps: list[str], whole: bool) -> None:
    files = tree / "files"
    settings = NativeSettings(tree, None, files, Quoting.MBOXRD, bounce=False, defaults=Limits(-1, -1))
    path = (str(files) if whole else "") + "/" + "/".join(steps)
    disk: Disk = FailingDisk()
    try:
        target = parse_native(b'<"+%b">' % path.replace("\\", "\\\\").encode(), "example.com")
        assert isinstance(target, FileTarget)
        fd, shown, name = open_file_folder(disk, target, settings)
    except MailboxError:
        return
    try:
        found = Path(f"/proc/self/fd/{fd}").readlink()
        assert found == Path(shown)
        assert found == files or files in found.parents
        assert os.sep not in name
        assert name not in {"", ".", ".."}
    finally:
        os.close(fd)
