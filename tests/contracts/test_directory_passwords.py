"""What every directory promises about passwords: in memory, LDIF file, binds on a real slapd."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.layout import read_layout
from posthouse.relay.directory.ldap_directory import LdapDirectory
from posthouse.relay.directory.ldap_options import read_ldap_options
from posthouse.relay.directory.password import Password
from posthouse.relay.directory.question import Unknown
from posthouse.testing.directory import options
from support.directories import Opened, Way, make
from support.slapd import Certificates, Slapd

PEOPLE = (Path(__file__).parent.parent / "data" / "directory" / "people.ldif").read_text()
JDOE, ANN = "uid=jdoe,ou=People,o=example.com,o=usergroup", "uid=asmith,ou=People,o=example.com,o=usergroup"
FIRST = "\nuid: jdoe\nuserPassword: {SSHA}Nk8LQnvTYMb4pX6XuTVgYVxhjPxzYWx0\nuserPassword: second\n"
TEXT = PEOPLE.replace("\nuid: jdoe\n", FIRST).replace(
    "\nuid: asmith\n", "\nuid: asmith\nuserPassword:: cMOkc3Mgd29yZA==\n"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with Slapd(tmp_path_factory.mktemp("passwords"), TEXT) as slapd:
        yield slapd


@pytest_asyncio.fixture(params=list(Way))
async def directory(request: pytest.FixtureRequest, server: Slapd, tmp_path: Path) -> Opened:
    made = make(request.param, TEXT, server.uri, tmp_path)
    await made.start()
    yield made
    await made.close()


@pytest.mark.parametrize(("dn", "password"), [(JDOE, "second"), (JDOE.upper(), "second"), (ANN, "päss word")])
async def test_the_right_password(directory: Directory, dn: str, password: str) -> None:
    assert await directory.check_password(dn, password) is Password.RIGHT


@pytest.mark.parametrize(
    ("dn", "password"),
    [(JDOE, "wrong"), (JDOE, ""), ("", ""), ("", "second"), (ANN, "second"), (ANN, ""), ("o=example.com,o=usergroup", "x"),
     ("uid=nobody,o=example.com,o=usergroup", "second"), ("uid=nobody,o=example.com,o=usergroup", ""), ("no name", "x")],
)  # fmt: skip
async def test_any_other(directory: Directory, dn: str, password: str) -> None:
    assert await directory.check_password(dn, password) is Password.WRONG


async def test_many_at_once(directory: Directory) -> None:
    answers = await asyncio.gather(*(directory.check_password(JDOE, ("second", "wrong")[n % 2]) for n in range(40)))
    assert answers == [Password.RIGHT, Password.WRONG] * 20


async def test_a_closed_directory_does_not_know(directory: Directory) -> None:
    await directory.close()
    assert isinstance(await directory.check_password(JDOE, "second"), Unknown)


async def opened(**given: str) -> LdapDirectory:
    values = options(LDAP_USER_ROOT="o=usergroup", **given)
    directory = LdapDirectory(read_layout(values), read_ldap_options(values, Path))
    await directory.start()
    return directory


async def test_servers_that_are_down_do_not_know_and_another_one_is_asked(server: Slapd) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"ldap://127.0.0.1:{taken.getsockname()[1]}"
        directory = await opened(LDAP_HOST=dead)
        assert isinstance(await directory.check_password(JDOE, "second"), Unknown)
        await directory.close()
        directory = await opened(LDAP_HOST=f"{dead} {server.uri}")
        assert await directory.check_password(JDOE, "second") is Password.RIGHT
        assert await directory.check_password(JDOE, "wrong") is Password.WRONG
        await directory.close()


async def test_a_silent_server_is_unknown_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
        directory = await opened(LDAP_HOST=uri, LDAP_TIMEOUT="1", LDAP_CONNECT_TIMEOUT="0.5")
        async with asyncio.timeout(5):
            assert isinstance(await directory.check_password(JDOE, "second"), Unknown)
        await directory.close()


async def test_the_password_goes_under_tls_where_that_is_asked_for(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = Certificates(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    authority.cert_pem.write_to_path(str(files.ca))
    issued.cert_chain_pems[0].write_to_path(str(files.certificate))
    issued.private_key_pem.write_to_path(str(files.key))
    with Slapd(tmp_path / "slapd", TEXT, certificates=files) as server:
        for given in ({"LDAP_HOST": server.uri, "LDAP_TLS": "starttls"}, {"LDAP_HOST": server.tls_uri}):
            directory = await opened(**given, LDAP_CA_FILE=str(files.ca))
            assert await directory.check_password(JDOE, "second") is Password.RIGHT
            assert await directory.check_password(JDOE, "wrong") is Password.WRONG
            await directory.close()
