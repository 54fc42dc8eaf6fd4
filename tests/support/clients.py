"""A relay that takes mail from users: certificate, submission port, passwords; and what clients of it need."""

import base64
import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme

from posthouse.testing.tiers import TwoTiers, free_port
from support.interop_tiers import PEOPLE

PASSWORD = "correct horse"
USER = "john.doe@example.com"


def people_with_passwords() -> str:
    """The demo's people; jdoe has a password."""

    stored = base64.b64encode(hashlib.sha1(PASSWORD.encode() + b"salt").digest() + b"salt").decode()
    return PEOPLE.read_text(encoding="utf-8").replace("\nuid: jdoe\n", f"\nuid: jdoe\nuserPassword: {{SSHA}}{stored}\n")


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority and what it issues, as files."""

    folder: Path
    authority: trustme.CA

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def server(self) -> Path:
        """Certificate, chain and key of `localhost` and relay1.example.com."""
        return self.folder / "server.pem"

    def issue(self, path: Path, *names: str) -> None:
        """Certificate, chain and key in one file."""
        path.unlink(missing_ok=True)
        self.authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)

    def trust(self) -> ssl.SSLContext:
        """A client's context."""
        return ssl.create_default_context(cafile=str(self.ca))


def certificates(folder: Path) -> Certificates:
    """A new authority, and a certificate for the relay."""
    found = Certificates(folder, trustme.CA())
    found.authority.cert_pem.write_to_path(str(found.ca))
    found.issue(found.server, "localhost", "127.0.0.1", "relay1.example.com")
    return found


def relay_for_users(root: Path, made: Certificates, directory: list[str], *, stores: int = 1) -> tuple[TwoTiers, int]:
    """Two tiers whose relay takes submissions, and the port for that."""
    port = free_port()
    options = ("--submission", f"127.0.0.1:{port}", "--tls-certificate", str(made.server), "--internal", "127.0.0.3")
    tiers = TwoTiers(root, directory, stores=stores, relay_options=options)
    services = tiers.relay.folder / "config" / "dispatcher.cnf"
    services.write_text(services.read_text().replace(f"PORT={port}\n", f"PORT={port}\nTLS_PORT={free_port()}\n"))
    return tiers, port


def tls_port(tiers: TwoTiers) -> int:
    """Where the submission service has TLS from the first octet."""
    text = (tiers.relay.folder / "config" / "dispatcher.cnf").read_text()
    return int(text.partition("\nTLS_PORT=")[2].partition("\n")[0])
