"""A front end under TLS to its users and to the stores: real Dovecots, certificates of an authority of the test's own."""

import imaplib
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from journeys.test_imap_front_end import BASE, PEOPLE
from posthouse.testing.tiers import free_port
from support.imap_tier import PASSWORD, dovecot_of, readable, served_store
from support.interop_daemon import needs_root, open_folder
from support.slapd import Slapd
from support.store_alone import deliver

pytestmark = needs_root
STORE = "localhost"
"""jdoe's mailHost, and the name in the certificates"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder("front") as made:
        yield made


def certificate(folder: Path, name: str, ca: trustme.CA, host: str = STORE) -> tuple[str, ...]:
    """Options of `dovecot-config` for a certificate of this host."""
    issued = ca.issue_cert(host)
    with readable():
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
    return ("--tls-cert", str(folder / f"{name}.pem"), "--tls-key", str(folder / f"{name}.key"))


class Site:
    """One store and its directory; front ends believe `ca`."""

    def __init__(self, folder: Path, running: ExitStack) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.client = ssl.create_default_context(cadata=self.ca.cert_pem.bytes().decode())
        self._running = running
        (folder / "slapd").mkdir()
        with readable():
            self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        slapd = running.enter_context(Slapd(folder / "slapd", PEOPLE))
        self._look = ("--ldap", slapd.uri, "--base", BASE)
        self.store = running.enter_context(served_store(folder))

    def front_end(self, store_shows: tuple[str, ...]) -> tuple[int, int]:
        """The store's Dovecot with this certificate, a front end to it; the front end's ports, plain and TLS."""
        port, tls = free_port(), free_port()
        back = ("--imaps", f"127.0.0.1:{free_port()}", "--mail-host", STORE, *self._look, *store_shows)
        self._running.enter_context(dovecot_of(self.store, self.folder / "back", *back, port=port))
        front = (*self._look, "--proxy", "--backend-port", str(port), "--backend-ca", str(self.folder / "ca.pem"))
        shows = ("--imaps", f"127.0.0.1:{tls}", *certificate(self.folder, "front", self.ca))
        proxy = self._running.enter_context(dovecot_of(self.store, self.folder / "front", *front, *shows))
        return proxy.port, tls


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with ExitStack() as running:
        yield Site(folder, running)


def test_users_and_stores_meet_the_front_end_under_tls(site: Site) -> None:
    assert deliver(site.store, "jdoe", "for-jdoe") == [250]
    port, tls = site.front_end(certificate(site.folder, "store", site.ca))
    with imaplib.IMAP4(STORE, port, timeout=30) as upgraded:
        upgraded.starttls(site.client)
        upgraded.login("jdoe", PASSWORD)
        upgraded.select("INBOX")
        assert upgraded.search(None, "SUBJECT", "for-jdoe") == ("OK", [b"1"])
    with imaplib.IMAP4_SSL(STORE, tls, ssl_context=site.client, timeout=30) as direct:
        direct.login("john.doe@example.com", PASSWORD)
        assert direct.select("INBOX") == ("OK", [b"1"])


@pytest.mark.parametrize(("stranger", "host"), [(True, STORE), (False, "store9.example.com")])
def test_no_password_goes_to_a_store_that_cannot_show_who_it_is(site: Site, *, stranger: bool, host: str) -> None:
    _, tls = site.front_end(certificate(site.folder, "store", trustme.CA() if stranger else site.ca, host))
    with (
        imaplib.IMAP4_SSL(STORE, tls, ssl_context=site.client, timeout=30) as refused,
        pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"),
    ):
        refused.login("jdoe", PASSWORD)
    assert "Login: user=<jdoe>" not in (site.folder / "back" / "dovecot.log").read_text()
