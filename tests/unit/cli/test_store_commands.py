"""`posthouse store create|path|list|quota` on a store's folders, called in this process."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.store.creating import create, path
from posthouse.cli.store.importing import import_
from posthouse.cli.store.listing import list_
from posthouse.cli.store.quota import quota
from posthouse.config.instance import Instance
from support.store_files import store_instance


@pytest.fixture
def store(tmp_path: Path) -> Instance:
    return store_instance(tmp_path, "store.defaultmailboxquota = 1000")


def put(store: Instance, owner: str, octets: int, *, folder: str = "", shelf: str = "cur", number: int = 1) -> Path:
    """A message file as a delivery would leave it."""
    place = store.store / "primary" / owner / folder / shelf
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"1700000000.M{number:06d}P1R1Q{number}.store1,S={octets},W={octets + 1}{':2,S' if shelf == 'cur' else ''}"
    file.write_bytes(b"x" * octets)
    return file


def answer(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_made_once_found_again(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    create("John@Example.com", instance=store.root, as_json=True)
    made = answer(capsys)
    assert made == {"owner": "john", "partition": "primary", "path": str(store.store / "primary" / "john")}
    create("john", instance=store.root)
    path("john", instance=store.root)
    assert capsys.readouterr().out.splitlines() == [made["path"], made["path"]]
    create("not@made.org", instance=store.root, dry_run=True)
    assert not (store.store / "primary" / "not@made.org").exists()


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda root: path("nobody", instance=root), 67),
        (lambda root: create("../up", instance=root), 65),
        (lambda root: create("john+folder", instance=root), 65),
        (lambda root: list_("nobody", instance=root), 67),
        (lambda root: quota("nobody", instance=root), 67),
        (lambda root: quota(instance=root, limits="1M,1"), 64),
        (lambda root: quota("*", instance=root, limits="much"), 64),
        (lambda root: quota("*", instance=root, limits=","), 64),
        (lambda root: import_("john", root / "config" / "store.conf", instance=root), 65),
    ],
)
def test_refused_with_its_code(store: Instance, call: Any, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(store.root)
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith("posthouse store: ")
    assert said.count("\n") == 1


def test_lists_folders_messages_and_octets(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    create("ann", instance=store.root)
    create("bob@other.org", instance=store.root)
    put(store, "ann", 10)
    put(store, "ann", 20, shelf="new", number=2)
    put(store, "ann", 30, folder=".Entw&APw-rfe.2026", number=3)
    (store.store / "primary" / ".deleted-1").mkdir()
    capsys.readouterr()
    list_(instance=store.root, as_json=True)
    ann, bob = answer(capsys)
    assert (ann["owner"], ann["folders"], ann["messages"], ann["bytes"]) == ("ann", 2, 3, 60)
    assert (bob["owner"], bob["messages"]) == ("bob@other.org", 0)
    list_("*@other.org", instance=store.root, as_json=True)
    assert [each["owner"] for each in answer(capsys)] == ["bob@other.org"]
    list_("ann", instance=store.root, folders=True, as_json=True)
    (ann,) = answer(capsys)
    assert ann["each"] == [
        {"folder": "INBOX", "messages": 2, "new": 1, "bytes": 30},
        {"folder": "Entwürfe/2026", "messages": 1, "new": 0, "bytes": 30},
    ]


def test_quota_is_reported_as_deliveries_see_it(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    for owner in ("ann", "bob", "cat"):
        create(owner, instance=store.root)
    put(store, "ann", 400)
    put(store, "bob", 950)
    (store.store / "primary" / "cat" / "maildirsize").write_bytes(b"1000S\n100 3\n20 1\n")
    capsys.readouterr()
    quota(instance=store.root, as_json=True)
    rows = answer(capsys)
    assert [(row["owner"], row["bytes"], row["messages"], row["percent"]) for row in rows] == [
        ("bob", 950, 1, 95.0), ("ann", 400, 1, 40.0), ("cat", 120, 4, 12.0),
    ]  # fmt: skip
    assert rows[0]["limits"] == {"bytes": 1000, "messages": -1}
    assert rows[0]["saved"] == {"bytes": -2, "messages": -2}
    quota(instance=store.root, over=40, as_json=True)
    assert [row["owner"] for row in answer(capsys)] == ["bob", "ann"]


def test_a_limit_set_is_saved_and_shown_to_imap(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    create("cat", instance=store.root)
    sizes = store.store / "primary" / "cat" / "maildirsize"
    sizes.write_bytes(b"1000S\n100 3\n20 1\n")
    capsys.readouterr()
    quota("cat", instance=store.root, limits="2K,", dry_run=True, as_json=True)
    assert answer(capsys)[0]["limits"] == {"bytes": 2048, "messages": -1}
    assert sizes.read_bytes() == b"1000S\n100 3\n20 1\n"
    quota("c*", instance=store.root, limits="2K,9", as_json=True)
    (row,) = answer(capsys)
    assert (row["limits"], row["percent"]) == ({"bytes": 2048, "messages": 9}, 44.4)
    assert sizes.read_bytes() == b"2048S,9C\n120 4\n"
    quota("cat", instance=store.root, limits=",-1")
    assert sizes.read_bytes() == b"2048S\n120 4\n"
    assert capsys.readouterr().out.splitlines()[1].split() == ["2048", "120", "6", "-", "4", "cat"]


def test_a_mailbox_that_cannot_be_read_or_set_stops_no_other(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    for owner in ("anna", "eve", "zoe"):
        put(store, owner, 100)
        for shelf in ("new", "tmp"):
            (store.store / "primary" / owner / shelf).mkdir()
    os.mkfifo(store.store / "primary" / "eve" / "maildirsize")
    calls: list[Callable[[], None]] = [
        lambda: quota(instance=store.root, as_json=True),
        lambda: quota("*", instance=store.root, limits="1M,5", as_json=True),
        lambda: list_(instance=store.root, as_json=True),
    ]
    for call in calls:
        with pytest.raises(SystemExit) as ended:
            call()
        assert ended.value.code == 74
        told = capsys.readouterr()
        assert [one["owner"] for one in json.loads(told.out)] == ["anna", "zoe"]
        assert told.err.startswith("posthouse store: eve: ")
    quota("anna", "zoe", instance=store.root, as_json=True)
    assert [one["limits"]["messages"] for one in answer(capsys)] == [5, 5]


def test_a_locked_mailbox_keeps_its_limits_and_the_others_get_theirs(
    store: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    for owner in ("anna", "eve", "zoe"):
        create(owner, instance=store.root)
    (store.store / "primary" / "eve" / ".admin-lock").touch()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        quota("*", instance=store.root, limits="1M,5", as_json=True)
    assert ended.value.code == 75
    told = capsys.readouterr()
    assert [one["owner"] for one in json.loads(told.out)] == ["anna", "zoe"]
    assert "eve" in told.err
