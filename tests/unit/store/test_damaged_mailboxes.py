"""Commands on mailboxes with something in them that belongs in none: the rest is worked on, what is wrong is named."""

import errno
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.store.check import check
from posthouse.cli.store.creating import create
from posthouse.cli.store.exporting import export
from posthouse.cli.store.importing import import_
from posthouse.cli.store.listing import list_
from posthouse.cli.store.moving import delete, rename
from posthouse.cli.store.quota import quota
from posthouse.config.instance import Instance
from posthouse.journal.disk import LinuxDisk
from support.store_files import store_instance

NAME = "1700000000.M000001P1R1Q1.store1,S=5,W=5:2,S"


@pytest.fixture
def store(tmp_path: Path) -> Instance:
    instance = store_instance(tmp_path / "store")
    for owner in ("ann", "bob"):
        create(owner, instance=instance.root)
        file = instance.store / "primary" / owner / "cur" / NAME
        file.write_bytes(b"x: y\n")
        file.chmod(0o600)
    return instance


def root(store: Instance) -> Path:
    return store.store / "primary" / "ann"


def run(capsys: pytest.CaptureFixture[str], command: Callable[..., None], *words: Any, **options: Any) -> tuple[int, Any]:
    """The command's exit code and what it prints as JSON."""
    capsys.readouterr()
    code: Any = 0
    try:
        command(*words, as_json=True, **options)
    except SystemExit as ended:
        code = ended.code
    out = capsys.readouterr().out
    return code, json.loads(out) if out else None


def faults(answer: Any) -> list[tuple[str, str, str, bool]]:
    return [(fault["owner"], fault["kind"], fault["path"], fault["repaired"]) for fault in answer["faults"]]


def test_a_folder_name_that_is_no_utf8(store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b".bad\xff")
    for part in ("", "cur", "new", "tmp"):
        (root(store) / name / part).mkdir(mode=0o700)
    (root(store) / name / "maildirfolder").touch(0o600)
    code, answer = run(capsys, list_, "*", instance=store.root, folders=True)
    assert (code, [[each["folder"] for each in one["each"]] for one in answer]) == (0, [["INBOX", "bad?"], ["INBOX"]])
    code, answer = run(capsys, check, instance=store.root)
    assert code == 65
    assert {fault["owner"] for fault in answer["faults"] if fault["kind"] == "quota"} == {"ann", "bob"}
    assert [fault["path"] for fault in answer["faults"] if fault["kind"] == "name"] == [".bad?"]
    assert run(capsys, export, "ann", tmp_path / "ann.tar", instance=store.root)[0] == 0
    assert run(capsys, import_, "carl", tmp_path / "ann.tar", instance=store.root)[0] == 65
    assert (store.store / "primary" / "carl" / "cur" / NAME).read_bytes() == b"x: y\n"


def test_a_root_nobody_may_enter_and_a_lock_file_nobody_may_write(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    quota("*", instance=store.root, limits="1M,10")  # makes the lock files
    (root(store) / ".lmtp-lock").chmod(0o400)
    root(store).chmod(0o500)
    wrong = [("ann", "mode", "", False), ("ann", "mode", ".lmtp-lock", False), ("ann", "quota", "maildirsize", False)]
    code, answer = run(capsys, check, "ann", instance=store.root, dry_run=True)
    assert (code, sorted(faults(answer))) == (65, wrong)
    code, answer = run(capsys, check, "ann", instance=store.root)
    assert (code, sorted(faults(answer))) == (0, [(*fault[:3], True) for fault in wrong])
    assert run(capsys, check, "ann", instance=store.root) == (0, {"mailboxes": 1, "faults": []})


def damage_tmp(store: Instance) -> tuple[str, str]:
    (root(store) / "tmp").rmdir()
    (root(store) / "tmp").touch()
    return "kind", "tmp"


def damage_size_file(store: Instance) -> tuple[str, str]:
    (root(store) / "maildirsize").mkdir()
    return "kind", "maildirsize"


def damage_lock(store: Instance) -> tuple[str, str]:
    (root(store) / ".lmtp-lock").unlink(missing_ok=True)
    (root(store) / ".lmtp-lock").symlink_to("/etc/passwd")
    return "kind", ".lmtp-lock"


@pytest.mark.parametrize("damage", [damage_tmp, damage_size_file, damage_lock])
def test_what_check_cannot_mend_does_not_end_it(
    store: Instance, capsys: pytest.CaptureFixture[str], damage: Callable[[Instance], tuple[str, str]]
) -> None:
    (root(store) / "new").rmdir()
    kind, path = damage(store)
    code, answer = run(capsys, list_, instance=store.root)
    assert (code, [one["messages"] for one in answer]) == (0, [1, 1])
    for dry_run in (True, False):
        code, answer = run(capsys, check, instance=store.root, dry_run=dry_run)
        assert code == 65
        assert ("ann", kind, path, False) in faults(answer)
        assert not [fault for fault in answer["faults"] if "Errno" in fault["text"] or fault["text"].startswith("ann")]
        assert ("bob", "quota", "maildirsize", not dry_run) in faults(answer)


def test_export_takes_what_it_can_read_and_names_the_rest(
    store: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root(store) / "cur" / "link").symlink_to("/etc/passwd")
    os.mkfifo(root(store) / "cur" / "fifo")
    (root(store) / "new").rmdir()
    (root(store) / "new").symlink_to("cur")
    for form in ("maildir", "mbox"):
        code, answer = run(capsys, export, "ann", tmp_path / form, instance=store.root, form=form)
        assert (code, answer["messages"]) == (65, 1)
        assert sorted(each["path"] for each in answer["unread"]) == ["cur/fifo", "cur/link", "new"]
    with tarfile.open(tmp_path / "maildir") as tar:
        assert [name for name in tar.getnames() if name.startswith("cur/")] == [f"cur/{NAME}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maildir", "mbox", "store"]


def test_an_export_that_fails_leaves_nothing(store: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_words: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("posthouse.store.administration.mbox.encode", killed)
    with pytest.raises(KeyboardInterrupt):
        export("ann", tmp_path / "ann", instance=store.root, form="mbox")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_of_several_one_that_cannot_be_removed(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    damage_lock(store)
    code, answer = run(capsys, delete, "ann", "bob", "bob", instance=store.root)
    assert (code, [one["owner"] for one in answer]) == (74, ["bob"])
    assert sorted(path.name for path in (store.store / "primary").iterdir()) == ["ann"]
    with pytest.raises(SystemExit) as ended:
        rename("ann", "eve", instance=store.root)
    assert ended.value.code == 74
    assert "ann/.lmtp-lock: a symbolic link stands there" in capsys.readouterr().err


@pytest.fixture
def nobody_in_particular(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modes count for root, too."""
    open_dir = LinuxDisk.open_dir

    def asked(disk: LinuxDisk, name: str, folder: int | None = None) -> int:
        if folder is not None and os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode & 0o500 != 0o500:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return open_dir(disk, name, folder)

    monkeypatch.setattr(LinuxDisk, "open_dir", asked)


@pytest.mark.usefixtures("nobody_in_particular")
def test_modes_do_not_keep_a_removed_mailbox(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    (root(store) / ".Work" / "cur").mkdir(parents=True)
    (root(store) / ".Work" / "cur" / "mail").touch()
    (root(store) / ".Work").chmod(0)
    delete("ann", instance=store.root, dry_run=True)
    assert capsys.readouterr().out.endswith("ann: some messages would be removed\n")
    code, answer = run(capsys, delete, "ann", instance=store.root)
    assert (code, [(one["owner"], one["messages"]) for one in answer]) == (0, [("ann", None)])
    assert sorted(path.name for path in (store.store / "primary").iterdir()) == ["bob"]
