"""LDAP servers that let in and refuse searches: mail waits, other servers are asked, and operators read it once."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from posthouse.dispatcher.trouble import Trouble
from posthouse.relay.directory.cache import Lifetimes
from posthouse.relay.directory.layout import read_layout
from posthouse.relay.directory.ldap_directory import LdapDirectory
from posthouse.relay.directory.ldap_options import read_ldap_options
from posthouse.relay.directory.password import Password
from posthouse.relay.directory.question import Absent, Domain, Found, NeedDomain, NeedEntry, Unknown
from posthouse.relay.smtp_server.troubles import Troubles
from posthouse.testing.directory import options
from support.refusing_directory import INSUFFICIENT_ACCESS, OPERATIONS_ERROR, OTHER, UNWILLING, RefusingDirectory
from support.slapd import Slapd

PEOPLE = (Path(__file__).parent.parent / "data" / "directory" / "people.ldif").read_text()
OURS = Domain("example.com", "example.com", "o=example.com,o=usergroup")
JOHN = NeedEntry("john.doe", OURS, "example.com")
WAYS = [(code, root) for code in (INSUFFICIENT_ACCESS, OPERATIONS_ERROR, UNWILLING) for root in (True, False)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("slapd"), PEOPLE) as server:
        yield server


@asynccontextmanager
async def opened(host: str) -> AsyncIterator[LdapDirectory]:
    quick = {"LDAP_TIMEOUT": "2.0", "LDAP_CONNECT_TIMEOUT": "0.5"}
    given = options(**{"LDAP_HOST": host, "LDAP_USER_ROOT": "o=usergroup", **quick})
    directory = LdapDirectory(read_layout(given), read_ldap_options(given, Path), Lifetimes(entry=0, domain=0))
    await directory.start()
    try:
        yield directory
    finally:
        await directory.close()


@pytest.mark.parametrize(("code", "root"), WAYS)
async def test_one_that_refuses_all_is_told_once_in_log_and_status_and_is_well_with_its_next_answer(
    code: int, root: bool, server: Slapd, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[Sequence[Trouble]] = []
    with RefusingDirectory(server.port, code, root=root) as refusing:
        async with opened(refusing.uri) as directory:
            troubles = Troubles(said.append)
            for number in range(40):
                answer = await directory.answer(NeedEntry(f"user{number}", OURS, "example.com"))
                assert isinstance(answer, Unknown), "nobody is said not to exist"
                assert refusing.uri in answer.reason
                troubles.look(directory, None)
                await asyncio.sleep(0.05)
            assert directory.health().startswith(f"down: {refusing.uri}: ")
            (trouble,) = said[-1]
            assert (trouble.what, said[-1], said[-2]) == ("directory", said[-2], said[-3])
            refusing.code = 0
            ends = time.monotonic() + 20
            while said[-1] and time.monotonic() < ends:  # nobody asks but the look
                troubles.look(directory, None)
                await asyncio.sleep(0.05)
            assert directory.health().startswith("ok: ")
            assert isinstance(await directory.answer(JOHN), Found)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2, told
    assert told[1] == f"directory: {refusing.uri} answers again"


@pytest.mark.parametrize(("code", "root"), WAYS)
async def test_another_server_answers_for_it(code: int, root: bool, server: Slapd) -> None:
    with RefusingDirectory(server.port, code, root=root) as refusing:
        async with opened(f"{refusing.uri} {server.uri}") as directory:
            for number in range(20):
                assert isinstance(await directory.answer(JOHN), Found), number
            assert directory.health().startswith(f"degraded: {refusing.uri}: ")
            assert refusing.refused < 10, "it rests"


async def test_a_part_of_the_tree_that_is_hidden_takes_nobody_elses_answers(
    server: Slapd, caplog: pytest.LogCaptureFixture
) -> None:
    with RefusingDirectory(server.port, INSUFFICIENT_ACCESS, root=True) as refusing:
        async with opened(refusing.uri) as directory:
            for _ in range(5):
                refusing.code = INSUFFICIENT_ACCESS
                for _ in range(5):
                    assert isinstance(await directory.answer(NeedDomain("hidden.example.com")), Unknown)
                refusing.code = 0
                assert isinstance(await directory.answer(JOHN), Found)
                assert directory.health().startswith("ok: ")
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 2


@pytest.mark.parametrize("code", [UNWILLING, OTHER])
async def test_a_login_of_which_the_server_does_not_say_keeps_nobody_from_it(code: int, server: Slapd) -> None:
    with RefusingDirectory(server.port, 0, root=True) as refusing:
        refusing.bind_code = code
        async with opened(refusing.uri) as directory:
            for _ in range(5):
                assert isinstance(await directory.check_password("uid=john.doe,o=usergroup", "word"), Unknown)
                assert isinstance(await directory.answer(JOHN), Found)
                assert directory.health().startswith("ok: ")


async def test_a_login_does_not_make_it_well(server: Slapd, caplog: pytest.LogCaptureFixture) -> None:
    with RefusingDirectory(server.port, INSUFFICIENT_ACCESS, root=True) as refusing:
        async with opened(refusing.uri) as directory:
            for number in range(5):
                assert isinstance(await directory.answer(NeedEntry(f"user{number}", OURS, "example.com")), Unknown)
                assert await directory.check_password("uid=nobody,o=usergroup", "wrong") is Password.WRONG
            assert directory.health().startswith("down: ")
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == [f"directory: {refusing.uri} refuses searches: Insufficient access"]


async def test_a_question_that_cannot_be_sent_takes_nobody_elses_answer(server: Slapd) -> None:
    """An octet that is no UTF-8: whoever asks should have seen to it."""
    names = ("john.doe", "j\udcff", "jd", "nobody", "j\udcfe")
    async with opened(server.uri) as directory:
        assert isinstance(await directory.answer(JOHN), Found)
        began = time.monotonic()
        answers = await asyncio.gather(*(directory.answer(NeedEntry(name, OURS, "example.com")) for name in names))
        assert time.monotonic() - began < 1.0
    assert [type(answer) for answer in answers] == [Found, Unknown, Found, Absent, Unknown]
