"""Export and import of mailboxes: the same octets, flags, dates, folders, keywords and limits; twice is once."""

import errno
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.store.check import check
from posthouse.cli.store.creating import create
from posthouse.cli.store.exporting import export
from posthouse.cli.store.importing import import_
from posthouse.cli.store.quota import quota
from posthouse.config.instance import Instance
from posthouse.journal.disk import LinuxDisk
from posthouse.store.administration.archive import TarSource, subscribed
from posthouse.store.administration.snapshot import Snapshot
from support.store_files import store_instance

BODY = b"Return-Path: <a@x.org>\nSubject: s\n\nFrom here\n>From there\n\nFrom \n\nbare \r stays"
FROM = "From a@x.org Tue Nov 14 22:13:20 2023\n"


@pytest.fixture
def store(tmp_path: Path) -> Instance:
    instance = store_instance(tmp_path / "store")
    create("ann", instance=instance.root)
    return instance


def root(store: Instance, owner: str = "ann") -> Path:
    return store.store / "primary" / owner


def put(store: Instance, number: int, octets: bytes = BODY, place: str = "cur", flags: str = ":2,S") -> None:
    folder = root(store) / place
    if not folder.is_dir():
        for part in ("cur", "new", "tmp"):
            (folder.parent / part).mkdir(parents=True, exist_ok=True)
        (folder.parent / "maildirfolder").touch()
    file = folder / f"1700000000.M{number:06d}P1R1Q{number}.store1,S={len(octets)}{flags}"
    file.write_bytes(octets)
    os.utime(file, (1_700_000_000 + number, 1_700_000_000 + number))


def full(store: Instance) -> None:
    """A mailbox with everything in it."""
    put(store, 1)
    put(store, 2, b"Subject: ends\n\nwith a line end\n", "new", "")
    put(store, 3, b"Subject: w\n\nkeywords\n", ".Entw&APw-rfe.2026/cur", ":2,FRSac")
    put(store, 4, b"", ".Empty/cur", ":2,")
    (root(store) / ".Entw&APw-rfe.2026" / "dovecot-keywords").write_bytes(b"0 Work\n1 Home\n2 $Label1\n")
    (root(store) / ".Entw&APw-rfe.2026" / "dovecot-acl").write_bytes(b"anyone p\n")
    (root(store) / "subscriptions").write_bytes(b"V\t2\n\nEntw&APw-rfe\t2026\n")
    quota("ann", instance=store.root, limits="5M,100")


def files(store: Instance, owner: str) -> dict[str, tuple[bytes, int]]:
    """Of all messages: path without the letters of keywords -> octets, date."""
    found = {}
    for path in root(store, owner).rglob("*"):
        if path.is_file() and path.parent.name in {"cur", "new"}:
            found[str(path.relative_to(root(store, owner)))] = (path.read_bytes(), int(path.stat().st_mtime))
    return found


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("name", ["ann.tar", "ann.tar.gz", "ann.tar.xz"])
def test_a_tar_brings_everything_to_another_owner(
    store: Instance, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    full(store)
    export("ann", tmp_path / name, instance=store.root, as_json=True)
    octets = sum(len(octets) for octets, _ in files(store, "ann").values())
    assert answer(capsys) == {"owner": "ann", "messages": 4, "bytes": octets, "folders": 3, "unread": []}
    import_("bob", tmp_path / name, instance=store.root, as_json=True)
    assert answer(capsys) == {"owner": "bob", "imported": 4, "present": 0, "dropped_keywords": 0, "refused": 0}
    expected = {path.replace(":2,FRSac", ":2,FRSab"): value for path, value in files(store, "ann").items()}
    assert files(store, "bob") == expected
    drafts = root(store, "bob") / ".Entw&APw-rfe.2026"
    assert (drafts / "dovecot-keywords").read_bytes() == b"0 Work\n1 $Label1\n"
    assert (drafts / "dovecot-acl").read_bytes() == b"anyone p\n"
    assert (root(store, "bob") / "subscriptions").read_bytes() == b"Entw&APw-rfe.2026\n"
    quota("bob", instance=store.root, as_json=True)
    (row,) = answer(capsys)
    assert (row["messages"], row["saved"]) == (4, {"bytes": 5 << 20, "messages": 100})
    check("bob", instance=store.root, as_json=True)
    assert answer(capsys)["faults"] == []
    assert (root(store, "bob") / "maildirsize").read_bytes() == b"5242880S,100C\n%d 4\n" % octets


def test_an_mbox_for_each_folder_and_back(store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full(store)
    export("ann", tmp_path / "ann", instance=store.root, form="mbox")
    assert sorted(path.name for path in (tmp_path / "ann").iterdir()) == ["Empty.mbox", "Entw&APw-rfe.2026.mbox", "INBOX.mbox"]
    text = (tmp_path / "ann" / "INBOX.mbox").read_bytes()
    assert text.startswith(b"From a@x.org Tue Nov 14 22:13:21 2023\nX-Posthouse-Name: cur/1700000000.M000001P1R1Q1.store1,S=")
    assert b"\n>From here\n>>From there\n" in text
    import_("bob", tmp_path / "ann", instance=store.root, as_json=True)
    assert answer(capsys)["imported"] == 4
    expected = {path.replace(":2,FRSac", ":2,FRSab"): value for path, value in files(store, "ann").items()}
    assert files(store, "bob") == expected


@pytest.mark.parametrize("form", ["maildir", "mbox"])
def test_what_has_been_exported_is_durable_before_and_under_its_name(
    store: Instance, tmp_path: Path, form: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(store)
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(fd: int) -> None:
        fsync(fd)
        done.append(str(Path(f"/proc/self/fd/{fd}").readlink()))

    def seen_rename(old: Path, new: Path) -> None:
        rename(old, new)
        done.append("renamed")

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    export("ann", tmp_path / "ann", instance=store.root, form=form)
    whole = tmp_path / f".ann.tmp-{os.getpid()}"
    assert done[-2:] == ["renamed", str(tmp_path)]
    written = {str(whole / path.name) for path in (tmp_path / "ann").iterdir()} if form == "mbox" else set()
    assert set(done[:-2]) == {str(whole)} | written
    assert done[-3] == str(whole), "its names, behind what is in them"


@pytest.mark.parametrize("form", ["maildir", "mbox"])
def test_twice_is_once_and_what_was_moved_is_there(
    store: Instance, tmp_path: Path, form: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    full(store)
    create("bob", instance=store.root)
    export("ann", tmp_path / "first", instance=store.root, form=form)
    import_("bob", tmp_path / "first", instance=store.root)
    (moved,) = (root(store, "bob") / "new").iterdir()
    moved.rename(root(store, "bob") / ".Empty" / "cur" / f"{moved.name}:2,S")  # as an IMAP server moves it
    put(store, 9, b"Subject: later\n\n", "new", "")
    export("ann", tmp_path / "second", instance=store.root, form=form)
    capsys.readouterr()
    import_("bob", tmp_path / "second", instance=store.root, dry_run=True, as_json=True)
    assert (answer(capsys)["imported"], len(files(store, "bob"))) == (1, 4)
    for imported in (1, 0):
        import_("bob", tmp_path / "second", instance=store.root, as_json=True)
        assert answer(capsys)["imported"] == imported
        assert len(files(store, "bob")) == 5
    import_("ann", tmp_path / "second", instance=store.root, as_json=True)
    assert answer(capsys)["imported"] == 0


def test_a_foreign_mbox(store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "old"
    one = "Subject: one\nStatus: RO\nX-Status: FA\n\nFrom now on\n>From then\n"
    file.write_text(f"{FROM}{one}\n{FROM}Subject: two\n\ntext\n\n{FROM}{one}\n")
    for imported in (3, 0):
        import_("ann", file, instance=store.root, folder="Old/Mail", as_json=True)
        assert answer(capsys)["imported"] == imported
    found = sorted(files(store, "ann").items())
    assert [octets for _, (octets, _) in found if b"two" in octets] == [b"Subject: two\n\ntext\n"]
    assert sorted(path.rpartition("/")[2].rpartition(":")[2] for path, _ in found if "/cur/" in path) == ["2,FRS", "2,FRS"]
    assert all(path.startswith(".Old.Mail/") and when == 1_700_000_000 for path, (_, when) in found)
    assert b"From now on\nFrom then\n" in found[0][1][0]


DIALECTS = {
    "Content-Length instead of quoting": (
        FROM + "Subject: a\nContent-Length: {length}\n\nx\n\n" + FROM + "Subject: b\n\n\n" + FROM + "Subject: c\n\ny\n",
        ["a", "c"],
    ),
    "a Content-Length that ends nowhere": (f"{FROM}Subject: a\nContent-Length: 7\n\nx\n\n{FROM}Subject: b\n\ny\n", ["a", "b"]),
    "a Content-Length beyond the file": (f"{FROM}Subject: a\nContent-Length: 999\n\nx\n\n{FROM}Subject: b\n\ny\n", ["a", "b"]),
    "of ours, with a sender's Content-Length": (
        FROM
        + "X-Posthouse-Name: cur/1.a:2,S\nStatus: RO\nX-Status: \nX-Keywords: \nSubject: a\nContent-Length: {length}\n\nx\n\n"
        + f"{FROM}Subject: b\n\n\n{FROM}Subject: c\n\ny\n",
        ["a", "b", "c"],
    ),
    "dates as in a header": ("From a@x.org Tue, 14 Nov 2023 22:13:20 +0000\nSubject: a\n\nx\n", ["a"]),
    "an IMAP server's own message in front": (f"{FROM}Subject: no\nX-IMAP: 1 2\n\n\n{FROM}Subject: b\nX-IMAP: 1\n\ny\n", ["b"]),
    "a sender's Content-Length where others have none": (
        FROM + "Subject: a\n\n\n" + FROM + "Subject: b\nContent-Length: {length}\n\nx\n\n" + FROM + "Subject: b\n\n\n",
        ["a", "b", "b"],
    ),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_mbox_dialects(store: Instance, tmp_path: Path, dialect: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, subjects = DIALECTS[dialect]
    within = f"x\n\n{FROM}Subject: b\n\n"
    (tmp_path / "mbox").write_text(text.replace("{length}", str(len(within))))
    import_("bob", tmp_path / "mbox", instance=store.root, as_json=True)
    assert answer(capsys)["refused"] == 0
    found = files(store, "bob")
    assert sorted(octets.split(b"\n")[0] for octets, _ in found.values()) == [f"Subject: {each}".encode() for each in subjects]
    assert {date for _, date in found.values()} == {1_700_000_000}
    if subjects == ["a", "c"]:
        assert any(octets.endswith(b"\n\n" + within.encode()) for octets, _ in found.values())


def test_a_mailbox_that_is_read_leaves_no_descriptor_open(store: Instance) -> None:
    full(store)
    before = sorted(Path("/proc/self/fd").iterdir())
    folder = os.open(root(store), os.O_RDONLY)
    assert len(list(Snapshot(LinuxDisk(), folder).messages())) == 4
    os.close(folder)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_what_stands_before_the_first_message_of_an_mbox_is_refused(
    store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mbox").write_text(f"From a@x.org yesterday\nSubject: a\n\nx\n\n{FROM}Subject: b\n\ny\n")
    with pytest.raises(SystemExit) as ended:
        import_("bob", tmp_path / "mbox", instance=store.root)
    assert ended.value.code == 65
    assert "refused 'From a@x.org yesterday': not part of a mailbox" in capsys.readouterr().err
    assert len(files(store, "bob")) == 1


def test_keywords_of_a_foreign_mbox_but_none_that_imap_cannot_say(
    store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mbox").write_text(f"{FROM}Status: RO\nX-Keywords: Work $Forwarded a(b          \n\nx\n")
    import_("bob", tmp_path / "mbox", instance=store.root, as_json=True)
    assert answer(capsys)["dropped_keywords"] == 1
    (path,) = files(store, "bob")
    assert path.endswith(":2,Sab")
    assert (root(store, "bob") / "dovecot-keywords").read_bytes() == b"0 Work\n1 $Forwarded\n"


def test_folders_of_other_servers(store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dovecot with UTF-8 on disk, and what Courier writes; letters of keywords are those of the folder as it stands there."""
    there = tmp_path / "there"
    for number, name in enumerate((".Entwürfe", ".Entw&APw-rfe", ".R&D", ".INBOX.Sent")):
        (there / name / "cur").mkdir(parents=True)
        (there / name / "cur" / f"170000000{number}.M1P1.host:2,a").write_bytes(b"Subject: x\n\n")
        (there / name / "dovecot-keywords").write_text(f"0 word{number}\n")
    (there / "courierimapsubscribed").write_text("INBOX.Sent\n")
    (there / ".dovecot.svbin").write_text("no folder\n")
    with tarfile.open(tmp_path / "there.tar", "w") as tar:
        tar.add(there, ".")
    import_("bob", tmp_path / "there.tar", instance=store.root, as_json=True)
    assert answer(capsys) == {"owner": "bob", "imported": 4, "present": 0, "dropped_keywords": 0, "refused": 0}
    drafts, amp, sent = (f"{each}/cur/170000000" for each in (".Entw&APw-rfe", ".R&-D", ".Sent"))
    names = [f"{drafts}0.M1P1.host:2,b", f"{drafts}1.M1P1.host:2,a", f"{amp}2.M1P1.host:2,a", f"{sent}3.M1P1.host:2,a"]
    assert sorted(files(store, "bob")) == names
    assert (root(store, "bob") / ".Entw&APw-rfe" / "dovecot-keywords").read_bytes() == b"0 word1\n1 word0\n"
    assert (root(store, "bob") / "subscriptions").read_bytes() == b"Sent\n"


def test_keywords_of_a_folder_an_imap_server_knows_keep_its_letters(
    store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full(store)
    export("ann", tmp_path / "ann.tar", instance=store.root)
    create("bob", instance=store.root)
    drafts = root(store, "bob") / ".Entw&APw-rfe.2026"
    drafts.mkdir()
    (drafts / "dovecot-keywords").write_bytes(b"0 Other\n1 $Label1\n")
    capsys.readouterr()
    import_("bob", tmp_path / "ann.tar", instance=store.root, as_json=True)
    assert answer(capsys)["dropped_keywords"] == 1  # Work
    assert (drafts / "dovecot-keywords").read_bytes() == b"0 Other\n1 $Label1\n"
    assert any(path.name.endswith(":2,FRSb") for path in (drafts / "cur").iterdir())


def test_an_import_that_was_killed_is_finished_by_the_next(store: Instance, tmp_path: Path) -> None:
    full(store)
    export("ann", tmp_path / "ann.tar", instance=store.root)
    create("bob", instance=store.root)
    (root(store, "bob") / "tmp" / f"1700000000.M000001P1R1Q1.store1,S={len(BODY)}").write_bytes(b"torn")
    import_("bob", tmp_path / "ann.tar", instance=store.root)
    assert len(files(store, "bob")) == 4


def test_messages_a_killed_import_had_not_counted_are_counted_by_the_next(store: Instance, tmp_path: Path) -> None:
    full(store)
    export("ann", tmp_path / "ann.tar", instance=store.root)
    import_("bob", tmp_path / "ann.tar", instance=store.root)
    size_file = root(store, "bob") / "maildirsize"
    whole = size_file.read_bytes()
    size_file.write_bytes(whole.partition(b"\n")[0] + b"\n10 1\n")  # three had their names, their line was not written
    import_("bob", tmp_path / "ann.tar", instance=store.root)
    assert size_file.read_bytes() == whole


def test_an_import_that_finds_the_disk_full_leaves_no_files(
    store: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full(store)
    export("ann", tmp_path / "ann.tar", instance=store.root)
    room = iter(["the ACL", "limits", "one message"])

    def little(fd: int, data: Any, offset: int, /) -> int:
        if not next(room, ""):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.pwrite(fd, data, offset)

    create("bob", instance=store.root)
    with monkeypatch.context() as patched:
        patched.setattr(LinuxDisk, "pwrite", staticmethod(little))
        with pytest.raises(SystemExit) as ended:
            import_("bob", tmp_path / "ann.tar", instance=store.root)
    assert ended.value.code == 74
    assert "bob: stopped behind 0 of 4 messages; the same command again brings the others" in capsys.readouterr().err
    assert list((root(store, "bob") / "tmp").iterdir()) == []
    import_("bob", tmp_path / "ann.tar", instance=store.root)
    assert len(files(store, "bob")) == 4


@pytest.mark.parametrize(
    "member", ["../up", "/etc/passwd", ".a..b/cur/x", "cur/../../x", "folder/cur/x", "cur/.hidden", "cur/a\nb"]
)
def test_names_that_lead_elsewhere_are_refused(store: Instance, tmp_path: Path, member: str) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(member))
        link = tarfile.TarInfo("cur/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with (tmp_path / "bad.tar").open("rb") as file:
        source = TarSource(file)
        assert source.refused == [member, "cur/link"]
        assert list(source.messages()) == []
    with pytest.raises(SystemExit) as ended:
        import_("ann", tmp_path / "bad.tar", instance=store.root)
    assert ended.value.code == 65
    assert files(store, "ann") == {}


def test_refused_with_its_code(store: Instance, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    (tmp_path / "folder").mkdir()
    calls: list[tuple[Any, int]] = [
        (lambda: export("nobody", tmp_path / "x.tar", instance=store.root), 67),
        (lambda: export("ann", tmp_path / "text", instance=store.root), 73),
        (lambda: export("ann", tmp_path / "no" / "x.tar", instance=store.root), 73),
        (lambda: export("ann", tmp_path / "folder", instance=store.root, form="mbox"), 73),
        (lambda: export("ann", Path(), instance=store.root), 73),
        (lambda: export("ann", Path("-"), instance=store.root, as_json=True), 64),
        (lambda: import_("ann", tmp_path / "text", instance=store.root), 65),
        (lambda: import_("ann", tmp_path / "folder", instance=store.root), 65),
        (lambda: import_("ann", tmp_path / "nothing", instance=store.root), 66),
    ]
    for call, code in calls:
        with pytest.raises(SystemExit) as ended:
            call()
        assert ended.value.code == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "store", "text"]


def test_subscriptions_in_either_form() -> None:
    assert subscribed(b"a.b\n\nc\n../x\n") == ["a.b", "c"]
    assert subscribed(b"V\t2\n\na\tb\nc\n") == ["a.b", "c"]
    assert subscribed(b"INBOX\nINBOX.Sent\nINBOX.Entw&APw-rfe\n") == ["INBOX", "Sent", "Entw&APw-rfe"]
