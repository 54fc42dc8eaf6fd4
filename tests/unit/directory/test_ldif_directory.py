import asyncio
import os
from pathlib import Path

import pytest

from posthouse.config.fault import ConfigurationError
from posthouse.relay.directory.layout import read_layout
from posthouse.relay.directory.ldif_directory import LdifDirectory
from posthouse.relay.directory.question import Absent, Domain, Found, NeedDomain, NeedEntry, NeedUrl, Unknown
from posthouse.testing.directory import options

PEOPLE = (Path(__file__).parent.parent.parent / "data" / "directory" / "people.ldif").read_text()
OURS = Domain("example.com", "example.com", "o=example.com,o=usergroup")
JOHN = NeedEntry("john.doe", OURS, "example.com")
NEW = NeedEntry("new", OURS, "example.com")
NEW_USER = """
dn: uid=new,ou=People,o=example.com,o=usergroup
objectClass: inetMailUser
objectClass: inetLocalMailRecipient
uid: new
mail: new@example.com
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "people.ldif"
    path.write_text(PEOPLE)
    return path


async def opened(path: Path) -> LdifDirectory:
    directory = LdifDirectory(read_layout(options()), path, look_interval=0)
    await directory.start()
    return directory


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


async def test_every_answer_is_at_hand(path: Path) -> None:
    directory = await opened(path)
    for _ in range(2):
        assert isinstance(directory.cached(JOHN), Found)
        assert isinstance(directory.cached(NeedDomain("hosted.example.net")), Found)
        assert directory.cached(NeedDomain("remote.test")) == Absent()
        assert directory.cached(NEW) == Absent()


async def test_a_search_without_index_is_left_to_a_thread(path: Path) -> None:
    directory = await opened(path)
    question = NeedUrl("ldap:///o=usergroup?uid?sub?(sn=Miller)")
    assert directory.cached(question) is None
    assert await directory.answer(question) == Found("SMiller")
    assert directory.cached(question) == Found("SMiller")


async def test_a_changed_file_is_read_when_it_has_been_still_for_a_look(path: Path) -> None:
    directory = await opened(path)
    assert directory.cached(NEW) == Absent()
    replace(path, PEOPLE + NEW_USER)
    await directory.look()
    assert directory.cached(NEW) == Absent()
    await directory.look()
    assert isinstance(directory.cached(NEW), Found)


async def test_a_file_that_is_still_being_written_is_left_alone(path: Path) -> None:
    directory = await opened(path)
    text = ""
    for part in (PEOPLE[:300], PEOPLE[300:600], PEOPLE[600:] + NEW_USER):
        text += part
        path.write_text(text)
        await directory.look()
        assert isinstance(directory.cached(JOHN), Found)
    await directory.look()
    assert isinstance(directory.cached(NEW), Found)


async def test_bad_content_leaves_the_old_in_use(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = await opened(path)
    replace(path, PEOPLE + "\ndn: o=x\nnonsense\n")
    for _ in range(4):
        await directory.look()
    assert isinstance(directory.cached(JOHN), Found)
    line = PEOPLE.count("\n") + 3
    assert f"{path}:{line}: there is no colon" in directory.health()
    assert [record.getMessage() for record in caplog.records if f"{path}:{line}: " in record.getMessage()]
    assert len(caplog.records) == 1
    replace(path, PEOPLE + NEW_USER)
    await directory.look()
    await directory.look()
    assert isinstance(directory.cached(NEW), Found)
    assert directory.health().startswith("ok: ")


async def test_a_file_that_goes_away_leaves_the_old_in_use(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = await opened(path)
    kept = path.rename(path.with_suffix(".kept"))
    await directory.look()
    await directory.look()
    assert isinstance(directory.cached(JOHN), Found)
    entries = PEOPLE.count("dn: ")
    assert directory.health() == f"old content in use ({entries} entries): {path} is gone"
    assert len(caplog.records) == 1
    kept.rename(path)
    await directory.look()
    assert directory.health().startswith("ok: ")


async def test_what_cannot_be_read_is_named_without_a_line_and_many_faults_are_one(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await opened(path.with_name("nobody.ldif"))
    assert str(caught.value) == f"{path.with_name('nobody.ldif')}: No such file or directory"
    directory = await opened(path)
    replace(path, "dn: o=x\nnonsense\n\ndn: o=y\nnonsense\n\no: z\n")
    for _ in range(3):
        await directory.look()
    (record,) = caplog.records
    assert directory.health().endswith(f" entries): {path}:2: there is no colon in 'nonsense' (and 2 more)")
    assert "\n" not in record.getMessage()


async def test_a_file_of_equal_size_and_time_in_another_place_is_seen(path: Path) -> None:
    directory = await opened(path)
    before = path.stat()
    replace(path, PEOPLE.replace("john.doe@", "john.due@"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await directory.look()
    await directory.look()
    assert directory.cached(JOHN) == Absent()


async def test_the_file_is_watched(path: Path) -> None:
    directory = LdifDirectory(read_layout(options()), path, look_interval=0.01)
    await directory.start()
    replace(path, PEOPLE + NEW_USER)
    ends = asyncio.get_running_loop().time() + 5
    while not isinstance(directory.cached(NEW), Found) and asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(0.01)
    assert isinstance(directory.cached(NEW), Found)
    await directory.close()
    assert directory.cached(JOHN) is None
    assert isinstance(await directory.answer(JOHN), Unknown)


@pytest.mark.parametrize(("text", "line"), [(None, 0), ("nonsense\n", 1), ("dn: o=x\no: x\n\no: y\n", 4)])
async def test_a_missing_or_bad_file_stops_the_start(path: Path, text: str | None, line: int) -> None:
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError) as problem:
        await opened(path)
    assert [(fault.file, fault.line) for fault in problem.value.faults] == [(str(path), line)]


async def test_memory_for_answers_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthouse.relay.directory.ldif_directory._REMEMBERED", 10)
    directory = await opened(path)
    for number in range(100):
        assert directory.cached(NeedEntry(f"x{number}", OURS, "example.com")) == Absent()
    assert len(directory._answers) <= 10
    assert isinstance(directory.cached(JOHN), Found)
