"""STARTTLS and AUTH on the way out: opportunistic, insisted on, injected into; credentials in a file."""

import ssl
from pathlib import Path

import pytest
import trustme

from support.jobs_relay import BODY, until
from support.smtp_out import StartOut, own_status, put
from support.smtp_sink import SmtpSink


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.mark.parametrize("keyword", ["maytls", "musttls", "maytlsclient", "musttlsclient"])
async def test_mail_goes_by_tls_where_it_is_offered(out: StartOut, world: SmtpSink, authority: trustme.CA, keyword: str) -> None:
    world.script.tls = server(authority, "whoever.test")
    relay = await out(keywords=f"nomx {keyword}")
    body = b"Subject: big\r\n\r\n" + b"a line\r\n" * 100_000
    await put(relay, "bob@remote.test")
    await put(relay, "bob@remote.test", body=body)
    await relay.empty()
    assert sorted(world.bodies, key=len) == [BODY, body]
    assert world.in_clear == ["EHLO relay1.example.com", "STARTTLS"] * world.connections
    assert {record["mo"] for record in relay.records("D")} == {"ES"}


async def test_without_a_keyword_nothing_is_said_of_tls(out: StartOut, world: SmtpSink, authority: trustme.CA) -> None:
    world.script.tls = server(authority, "remote.test")
    relay = await out()
    await put(relay, "bob@remote.test")
    await relay.empty()
    assert world.secured == 0


async def test_musttls_waits_for_a_server_that_offers_it(out: StartOut, world: SmtpSink, authority: trustme.CA) -> None:
    relay = await out(keywords="nomx musttls")
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.7.4"}
    world.script.tls = server(authority, "remote.test")
    await relay.retry()
    await relay.empty()
    assert not any(line.startswith("MAIL") for line in world.in_clear)


async def test_maytls_after_a_broken_handshake_goes_on_in_clear(out: StartOut, world: SmtpSink) -> None:
    world.script.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # it has no certificate
    relay = await out(keywords="nomx maytls")
    await put(relay, "bob@remote.test")
    await put(relay, "bob@remote.test")
    await relay.empty()
    assert len(world.taken) == 2
    assert world.commands.count("STARTTLS") == 1, "the same server is not asked again at once"


async def test_musttls_never_goes_on_in_clear(out: StartOut, world: SmtpSink) -> None:
    world.script.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    relay = await out(keywords="nomx musttls")
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.7.5"}
    assert not any(line.startswith("MAIL") for line in world.commands)


@pytest.mark.parametrize("keyword", ["maytls", "musttls"])
async def test_octets_injected_behind_starttls_are_never_believed(
    out: StartOut, world: SmtpSink, authority: trustme.CA, keyword: str
) -> None:
    world.script.tls = server(authority, "remote.test")
    world.script.injected = b"250-remote.test\r\n250 PIPELINING\r\n250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 go\r\n250 2.0.0 taken\r\n"
    relay = await out(keywords=f"nomx {keyword}")
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.5.0"}
    assert relay.records("D") == []
    assert world.taken == []


@pytest.mark.parametrize(("names", "good"), [(["remote.test"], True), (["other.test"], False)])
async def test_a_certificate_is_verified_where_that_is_configured(
    out: StartOut, world: SmtpSink, authority: trustme.CA, ca_file: Path, names: list[str], *, good: bool
) -> None:
    world.script.tls = server(authority, *names)
    relay = await out(keywords="nomx musttls", option=f"TLS_CA_FILE={ca_file}\n")
    await put(relay, "bob@remote.test")
    if good:
        await relay.empty()
        return
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.7.5"}
    assert world.taken == []


async def test_a_certificate_of_strangers(out: StartOut, world: SmtpSink, ca_file: Path) -> None:
    world.script.tls = server(trustme.CA(), "remote.test")
    relay = await out(keywords="nomx musttls", option=f"TLS_CA_FILE={ca_file}\n")
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(own_status)
    assert "certificate" in copies[0]["recipients"][0]["status"]["text"]
    assert world.taken == []


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN", "CRAM-MD5 PLAIN"])
async def test_a_smart_host_is_signed_in_to(
    out: StartOut, world: SmtpSink, authority: trustme.CA, ca_file: Path, tmp_path: Path, mechanisms: str
) -> None:
    world.script.tls = server(authority, "smart.example.com")
    world.script.users, world.script.mechanisms = {"relay1": "geheim"}, mechanisms
    (tmp_path / "password").write_text("geheim\n")
    relay = await out(
        keywords="daemon smart.example.com nodns musttls",
        option=f"TLS_CA_FILE={ca_file}\nAUTH_USERNAME=relay1\nAUTH_PASSWORD_FILE={tmp_path / 'password'}\n",
        hosts="127.0.0.1 smart.example.com\n",
    )
    await put(relay, "bob@remote.test")
    await relay.empty()
    assert world.signed_in == ["relay1"]
    assert relay.records("D")[0]["mo"] == "ESA"
    assert not any(line.startswith("AUTH") for line in world.in_clear)


async def test_refused_credentials_delay_and_never_return_mail(out: StartOut, world: SmtpSink, authority: trustme.CA) -> None:
    world.script.tls, world.script.users = server(authority, "x"), {"relay1": "other"}
    relay = await out(
        keywords="daemon smart.example.com nodns maytls",
        option="AUTH_USERNAME=relay1\nAUTH_PASSWORD=geheim\n",
        hosts="127.0.0.1 smart.example.com\n",
    )
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "454 4.7.8"}
    assert "credentials" in relay.stderr()
    assert "geheim" not in relay.stderr()


async def test_a_password_is_not_sent_in_clear(out: StartOut, world: SmtpSink) -> None:
    world.script.users = {"relay1": "geheim"}
    relay = await out(keywords="nomx maytls", option="AUTH_USERNAME=relay1\nAUTH_PASSWORD=geheim\n")
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.7.11"}
    assert not any(line.startswith("AUTH") for line in world.commands)


async def test_a_password_file_that_has_gone_is_an_alarm_and_mail_waits(
    out: StartOut, world: SmtpSink, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("geheim\n")
    relay = await out(option=f"AUTH_USERNAME=relay1\nAUTH_PASSWORD_FILE={file}\n")
    file.unlink()
    await put(relay, "bob@remote.test")
    copies = await relay.until_list(own_status)
    assert own_status(copies) == {"bob@remote.test": "451 4.3.5"}
    await until(lambda: str(file) in relay.stderr())
    assert world.connections == 0
