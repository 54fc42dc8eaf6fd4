"""LDAP servers that stop, hang, lie or come back: the answer is Unknown in bounded time and the loop never waits."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from posthouse.relay.directory.cache import Lifetimes
from posthouse.relay.directory.layout import read_layout
from posthouse.relay.directory.ldap_directory import LdapDirectory
from posthouse.relay.directory.ldap_options import read_ldap_options
from posthouse.relay.directory.question import Absent, Answer, Domain, Entry, Found, NeedDomain, NeedEntry, Unknown
from posthouse.testing.directory import options
from posthouse.testing.tiers import free_port
from support.black_hole import BlackHole, EverySecondSilent, HalfAnswers
from support.slapd import MANAGER_PASSWORD, Certificates, Slapd, many_people
from support.slow_directory import SlowDirectory

PEOPLE = (Path(__file__).parent.parent / "data" / "directory" / "people.ldif").read_text()
EXAMPLE = NeedDomain("example.com")
OURS = Domain("example.com", "example.com", "o=example.com,o=usergroup")
JOHN = NeedEntry("john.doe", OURS, "example.com")
NO_CACHE = Lifetimes(entry=0, domain=0)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certificates(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    issued = authority.issue_cert("127.0.0.1")
    found = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(str(found.ca))
    issued.cert_chain_pems[0].write_to_path(str(found.certificate))
    issued.private_key_pem.write_to_path(str(found.key))
    return found


@pytest.fixture(scope="module")
def kept_server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Slapd:
    return Slapd(tmp_path_factory.mktemp("slapd"), PEOPLE, certificates)


@pytest.fixture
def server(kept_server: Slapd) -> Iterator[Slapd]:
    with kept_server:
        yield kept_server


@asynccontextmanager
async def opened(host: str, lifetimes: Lifetimes = NO_CACHE, **more: str) -> AsyncIterator[LdapDirectory]:
    quick = {"LDAP_TIMEOUT": "2.0", "LDAP_CONNECT_TIMEOUT": "0.5"}
    given = options(**{"LDAP_HOST": host, "LDAP_USER_ROOT": "o=usergroup", **quick, **more})
    directory = LdapDirectory(read_layout(given), read_ldap_options(given, Path), lifetimes)
    await directory.start()
    try:
        yield directory
    finally:
        await directory.close()


def user(number: int) -> NeedEntry:
    return NeedEntry(f"user{number}", OURS, "example.com")


async def answers_within(directory: LdapDirectory, seconds: float) -> Answer:
    """Ask again and again until the answer is Found or time is up."""
    ends = time.monotonic() + seconds
    answer: Answer = Unknown("not asked")
    while time.monotonic() < ends and not isinstance(answer, Found):
        answer = await directory.answer(EXAMPLE)
        await asyncio.sleep(0.05)
    return answer


async def longest_stall(directory: LdapDirectory) -> tuple[Answer, float]:
    """The answer, and the longest time for which the loop ran nothing else meanwhile."""
    longest, last = 0.0, time.monotonic()
    task = asyncio.ensure_future(directory.answer(EXAMPLE))
    while not task.done():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return task.result(), longest


async def test_a_server_that_is_not_there_is_unknown_at_once() -> None:
    async with opened(f"ldap://127.0.0.1:{free_port()}") as directory:
        began = time.monotonic()
        answer = await directory.answer(EXAMPLE)
        assert isinstance(answer, Unknown)
        assert time.monotonic() - began < 1
        assert directory.health().startswith("down: ldap://127.0.0.1:")


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_a_black_hole_is_unknown_in_bounded_time_and_the_loop_goes_on(scheme: str) -> None:
    with BlackHole() as hole:
        async with opened(f"{scheme}://localhost:{hole.port}") as directory:
            began = time.monotonic()
            answer, stall = await longest_stall(directory)
            assert isinstance(answer, Unknown)
            assert time.monotonic() - began < 2.5
            assert stall < 0.4
            assert directory.health().startswith("down: ")
            assert hole.connections > 0


async def test_while_all_servers_rest_questions_fail_at_once_and_make_no_connections() -> None:
    with BlackHole() as hole:
        async with opened(f"ldap://127.0.0.1:{hole.port}") as directory:
            await directory.answer(EXAMPLE)
            before, began = hole.connections, time.monotonic()
            answers = await asyncio.gather(*(directory.answer(NeedDomain(f"d{number}.test")) for number in range(50)))
            assert all(isinstance(answer, Unknown) for answer in answers)
            assert time.monotonic() - began < 0.4
            assert hole.connections == before


@pytest.mark.parametrize("first", ["absent", "black hole"])
async def test_the_next_server_is_asked(first: str, server: Slapd) -> None:
    with BlackHole() as hole:
        bad = hole.port if first == "black hole" else free_port()
        async with opened(f"127.0.0.1:{bad} {server.uri}") as directory:
            assert isinstance(await directory.answer(EXAMPLE), Found)
            assert directory.health().startswith("degraded: ")
            began = time.monotonic()
            assert isinstance(await directory.answer(JOHN), Found)
            assert time.monotonic() - began < 0.5


async def test_a_server_that_hangs_in_the_middle_is_unknown_then_found_again(server: Slapd) -> None:
    async with opened(server.uri) as directory:
        assert isinstance(await directory.answer(EXAMPLE), Found)
        server.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            answer, stall = await longest_stall(directory)
            assert isinstance(answer, Unknown)
            assert time.monotonic() - began < 2.5
            assert stall < 0.4
        finally:
            server.signal(signal.SIGCONT)
        assert isinstance(await answers_within(directory, 8), Found)
        assert directory.health().startswith("ok: ")


@pytest.mark.parametrize("octets", [7, 15, 40, 200])
async def test_half_an_answer_holds_nobody(server: Slapd, octets: int) -> None:
    with HalfAnswers(server.port, octets) as half:
        async with opened(f"ldap://127.0.0.1:{half.port} {server.uri}") as directory:
            answer, stall = await longest_stall(directory)
            assert isinstance(answer, Found)
            assert stall < 0.4
            assert directory.health().startswith("degraded: ")


async def test_half_an_answer_to_the_bind_is_the_end_of_one_try(server: Slapd) -> None:
    with HalfAnswers(server.port, 7) as half:
        async with opened(f"ldap://127.0.0.1:{half.port}") as directory:
            assert isinstance(await directory.answer(EXAMPLE), Unknown)
            half.octets = 1 << 30
            assert isinstance(await answers_within(directory, 20), Found)
            assert directory.health().startswith("ok: ")


async def test_a_handshake_that_never_ends_is_the_end_of_one_try(server: Slapd, certificates: Certificates) -> None:
    with EverySecondSilent(server.tls_port) as proxy:
        async with opened(f"ldaps://127.0.0.1:{proxy.port} {server.uri}", LDAP_CA_FILE=str(certificates.ca)) as directory:
            assert isinstance(await answers_within(directory, 20), Found)
            assert directory.health().startswith("degraded: ")


async def test_many_questions_share_one_connection(server: Slapd) -> None:
    async with opened(server.uri) as directory:
        questions = [NeedEntry(f"{name}{number}", OURS, "example.com") for number in range(300) for name in ("x", "y")]
        answers = await asyncio.gather(directory.answer(JOHN), *(directory.answer(question) for question in questions))
        assert isinstance(answers[0], Found)
        assert set(answers[1:]) == {Absent()}
        assert len(directory._links) == 1


async def test_a_server_that_was_restarted_in_between_is_not_noticed(server: Slapd) -> None:
    async with opened(server.uri) as directory:
        assert isinstance(await directory.answer(EXAMPLE), Found)
        server.stop()
        server.start()
        assert isinstance(await directory.answer(EXAMPLE), Found)
        assert isinstance(await directory.answer(JOHN), Found)


async def test_a_server_that_was_stopped_is_used_again_when_it_is_back(server: Slapd, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(server.uri) as directory:
        assert isinstance(await directory.answer(EXAMPLE), Found)
        server.stop()
        assert isinstance(await directory.answer(EXAMPLE), Unknown)
        server.start()
        assert isinstance(await answers_within(directory, 8), Found)
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2, told
    assert "does not answer" in told[0]
    assert "answers again" in told[1]


async def test_what_was_found_stays_found_while_the_server_is_down(server: Slapd) -> None:
    lifetimes = Lifetimes(entry=0.01, domain=0.01, entry_absent=0.01)
    nobody = NeedEntry("nobody", OURS, "example.com")
    async with opened(server.uri, lifetimes) as directory:
        found = await directory.answer(JOHN)
        await directory.answer(nobody)
        server.stop()
        await asyncio.sleep(0.02)
        assert directory.cached(JOHN) is None
        assert isinstance(found, Found)
        assert await directory.answer(JOHN) == found
        assert isinstance(await directory.answer(nobody), Unknown)


async def test_equal_questions_at_once_cost_one_search(server: Slapd) -> None:
    async with opened(server.uri, Lifetimes()) as directory:
        answers = await asyncio.gather(*(directory.answer(JOHN) for _ in range(40)))
        assert isinstance(answers[0], Found)
        assert isinstance(answers[0].value, Entry)
        assert len({id(answer) for answer in answers}) == 1


async def test_one_asker_giving_up_does_not_stop_the_others(server: Slapd) -> None:
    async with opened(server.uri, Lifetimes()) as directory:
        first = asyncio.ensure_future(directory.answer(JOHN))
        second = asyncio.ensure_future(directory.answer(JOHN))
        await asyncio.sleep(0)
        first.cancel()
        assert isinstance(await second, Found)


async def test_ldaps_and_starttls_with_the_right_authority(server: Slapd, certificates: Certificates) -> None:
    ca = str(certificates.ca)
    async with opened(server.tls_uri, LDAP_CA_FILE=ca) as directory:
        assert isinstance(await directory.answer(EXAMPLE), Found)
    async with opened(server.uri, LDAP_CA_FILE=ca, LDAP_TLS="starttls") as directory:
        assert isinstance(await directory.answer(EXAMPLE), Found)
    async with opened(f"127.0.0.1:{server.tls_port}", LDAP_CA_FILE=ca, LDAP_TLS="ldaps") as directory:
        assert isinstance(await directory.answer(EXAMPLE), Found)


async def test_a_certificate_of_another_authority_or_name_is_refused(
    server: Slapd, certificates: Certificates, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.pem"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    for host, ca in (
        (server.tls_uri, stranger),
        (f"ldaps://localhost:{server.tls_port}", certificates.ca),
    ):
        async with opened(host, LDAP_CA_FILE=str(ca)) as directory:
            assert isinstance(await directory.answer(EXAMPLE), Unknown)
    async with opened(server.uri, LDAP_CA_FILE=str(stranger), LDAP_TLS="starttls") as directory:
        assert isinstance(await directory.answer(EXAMPLE), Unknown)


async def test_bound_with_the_password_of_a_file(server: Slapd, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(MANAGER_PASSWORD + "\n")
    async with opened(server.uri, LDAP_USERNAME=server.manager(), LDAP_PASSWORD_FILE=str(secret)) as directory:
        assert isinstance(await directory.answer(EXAMPLE), Found)


async def test_a_wrong_password_is_unknown(server: Slapd) -> None:
    async with opened(server.uri, LDAP_USERNAME=server.manager(), LDAP_PASSWORD="no") as directory:
        answer = await directory.answer(EXAMPLE)
        assert isinstance(answer, Unknown)
        assert "Invalid credentials" in answer.reason
        assert MANAGER_PASSWORD not in answer.reason


async def test_closing_answers_those_who_wait() -> None:
    with BlackHole() as hole:
        async with opened(f"ldap://127.0.0.1:{hole.port}") as directory:
            waiting = asyncio.ensure_future(directory.answer(EXAMPLE))
            await asyncio.sleep(0)
        assert isinstance(await waiting, Unknown)


async def test_of_a_slow_directory_what_it_can_do_comes_in_time(tmp_path: Path) -> None:
    """Twice as much is asked as it can do, from a window filled before: answers go on, and nobody waits longer than he may."""
    with Slapd(tmp_path / "many", many_people(1600)) as server, SlowDirectory(server.port, seconds=0.0) as slow:
        async with opened(slow.uri, Lifetimes(entries=5000)) as directory:
            people = iter(range(1600))
            await asyncio.gather(*(directory.answer(user(next(people))) for _ in range(200)))
            slow.seconds = 0.4  # 5 searches in LDAP_TIMEOUT, each of 16 at the most
            found: list[float] = []
            waits: list[float] = []

            async def one() -> None:
                began = time.monotonic()
                answer = await directory.answer(user(next(people)))
                waits.append(time.monotonic() - began)
                if isinstance(answer, Found):
                    found.append(time.monotonic())

            tasks, longest, began = [], 0.0, time.monotonic()
            last = began
            while (now := time.monotonic()) < began + 16:
                longest, last = max(longest, now - last), now
                tasks.append(asyncio.ensure_future(one()))
                await asyncio.sleep(0.0125)
            await asyncio.gather(*tasks)
            assert max(waits) < 8
            assert longest < 2
            parts = [sum(1 for at in found if began + at_least <= at < began + at_least + 4) for at_least in (0, 4, 8, 12)]
            # what was on the way already is late; where the number stays the same that goes on, and some two are answered in time
            assert parts[-1] >= 12, f"{parts} of 160 possible in four seconds each"
            assert directory.health().startswith("ok")


async def test_a_search_that_is_late_is_remembered_when_it_is_answered(tmp_path: Path) -> None:
    with Slapd(tmp_path / "few", many_people(40)) as server, SlowDirectory(server.port, seconds=0.0) as slow:
        async with opened(slow.uri, Lifetimes()) as directory:
            await directory.answer(user(0))
            slow.seconds = 1.2
            asked = []
            for number in (1, 2, 3):
                asked.append(asyncio.ensure_future(directory.answer(user(number))))
                await asyncio.sleep(0.05)
            answers = await asyncio.gather(*asked)
            assert [isinstance(answer, Found) for answer in answers] == [True, False, False]
            assert directory.health().startswith("ok"), "it is slow, not silent"
            ends = time.monotonic() + 20
            while directory.cached(user(3)) is None and time.monotonic() < ends:
                await asyncio.sleep(0.02)
            assert isinstance(directory.cached(user(2)), Found)
            assert isinstance(directory.cached(user(3)), Found)


async def test_a_slow_server_is_left_for_one_that_is_well(server: Slapd) -> None:
    with SlowDirectory(server.port, seconds=0.0) as slow:
        async with opened(f"{slow.uri} {server.uri}") as directory:
            assert isinstance(await directory.answer(EXAMPLE), Found)
            slow.seconds = 0.7
            answers = await asyncio.gather(*(directory.answer(NeedDomain(f"d{number}.test")) for number in range(6)))
            assert all(isinstance(answer, Absent) for answer in answers)
            assert directory.health().startswith("degraded: ")
            began = time.monotonic()
            assert isinstance(await directory.answer(JOHN), Found)
            assert time.monotonic() - began < 0.6
