"""A real slapd of one's own: a folder, free loopback ports, the product's schema, entries from LDIF text.

    with Slapd(folder, ldif_text) as server:
        server.uri            ldap://127.0.0.1:NNNNN
        server.stop(); server.start()       same ports, same content

Entries that the text leaves out between a root and a leaf (`ou=People`) are made. With certificate files (for the address
127.0.0.1: libldap takes the name localhost for the machine's own) there is `server.tls_uri` as well, and StartTLS works.
"""

import base64
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from posthouse.relay.directory.ldif import RawEntry, read_ldif
from posthouse.testing.tiers import free_port

SCHEMAS = Path("/etc/ldap/schema")
MODULES = Path("/usr/lib/ldap")
OURS = Path(__file__).with_name("posthouse.schema")
MANAGER_PASSWORD = "manage the directory"
INDEXED = "mail,mailAlternateAddress,mailEquivalentAddress,uid,sunPreferredDomain,associatedDomain,msgVanityDomain,objectClass"
_STRUCTURES = {"ou": "organizationalUnit", "o": "organization", "dc": "domain", "cn": "organizationalRole"}


@dataclass(frozen=True)
class Certificates:
    """PEM files of a server's certificate."""

    ca: Path
    certificate: Path
    key: Path


def is_installed() -> bool:
    return Path("/usr/sbin/slapd").exists() or shutil.which("slapd") is not None


def many_people(count: int, *, domain: str = "example.com", stores: tuple[str, ...] = ("store1.example.com",)) -> str:
    """Schema 2 LDIF of one domain with users user0 ... : for journeys under load and the bench."""
    base = f"o={domain},o=usergroup"
    domain_classes = _classes("organization", "sunManagedOrganization", "mailDomain")
    parts = [
        "dn: o=usergroup\nobjectClass: organization\no: usergroup\n",
        f"dn: {base}\n{domain_classes}o: {domain}\nsunPreferredDomain: {domain}\n",
    ]
    classes = _classes("inetOrgPerson", "inetUser", "inetMailUser", "inetLocalMailRecipient")
    parts += (
        f"dn: uid=user{number},ou=People,{base}\n{classes}cn: User {number}\nsn: {number}\nuid: user{number}\n"
        f"mail: user{number}@{domain}\nmailHost: {stores[number % len(stores)]}\nmailDeliveryOption: mailbox\n"
        "mailUserStatus: active\ninetUserStatus: active\nmailQuota: 50M\nmailMsgQuota: 5000\n"
        for number in range(count)
    )
    return "\n".join(parts)


def _classes(*names: str) -> str:
    return "".join(f"objectClass: {name}\n" for name in names)


class Slapd:
    """One server.

    Args:
        folder: an empty or absent folder of its own.
        ldif: its content.
        certificates: for TLS.
        size_limit: entries one search may find, as slapd.conf has it.
    """

    def __init__(
        self, folder: Path, ldif: str, certificates: Certificates | None = None, *, size_limit: str = "unlimited"
    ) -> None:
        self.folder = folder
        self._size_limit = size_limit
        self.port = free_port()
        self.tls_port = free_port() if certificates else 0
        self.uri = f"ldap://127.0.0.1:{self.port}"
        self.tls_uri = f"ldaps://127.0.0.1:{self.tls_port}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        entries = _with_parents(read_ldif(ldif.encode()))
        roots = [name for name in entries if "," not in name]
        self._configure(roots, certificates)

        for number, root in enumerate(roots):
            # one database for each root: slapadd fills them one at a time, the records of its own tree only
            part = folder / f"content{number}.ldif"
            own = [entry for name, entry in entries.items() if name == root or name.endswith("," + root)]
            part.write_text("\n".join(_record(entry) for entry in own), encoding="utf-8")
            command = ["/usr/sbin/slapadd", "-q", "-f", str(folder / "slapd.conf"), "-b", root, "-l", str(part)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"slapadd: {done.stderr}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def manager(self, root: str = "o=usergroup") -> str:
        """The DN that may do anything; its password is MANAGER_PASSWORD."""
        return f"cn=manager,{root}"

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        urls = self.uri + (f" ldaps://127.0.0.1:{self.tls_port}" if self.tls_port else "")
        command = ["/usr/sbin/slapd", "-f", str(self.folder / "slapd.conf"), "-h", urls, "-d", "0"]
        with (self.folder / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.02)
            else:
                return
        raise RuntimeError(f"slapd did not start: {(self.folder / 'slapd.log').read_text()}")

    def stop(self) -> None:
        """Stop it; everything stays for the next start."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal, SIGSTOP for a server that hangs: that one is waited for."""
        os.kill(self.pid, number)
        ends = time.monotonic() + 5
        while number == signal.SIGSTOP and not self._is_stopped() and time.monotonic() < ends:
            time.sleep(0.01)

    def _is_stopped(self) -> bool:
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads)

    def _configure(self, roots: list[str], certificates: Certificates | None) -> None:
        lines = [f"include {SCHEMAS / name}.schema" for name in ("core", "cosine", "inetorgperson")]
        lines += [f"include {OURS}", f"pidfile {self.folder}/slapd.pid", f"argsfile {self.folder}/slapd.args"]
        lines += [f"modulepath {MODULES}", "moduleload back_mdb", f"sizelimit {self._size_limit}"]
        if certificates:
            lines += [f"TLSCACertificateFile {certificates.ca}", f"TLSCertificateFile {certificates.certificate}"]
            lines += [f"TLSCertificateKeyFile {certificates.key}"]
        for number, root in enumerate(roots):
            data = self.folder / f"data{number}"
            data.mkdir(exist_ok=True)
            lines += ["database mdb", f'suffix "{root}"', f'rootdn "{self.manager(root)}"', f'rootpw "{MANAGER_PASSWORD}"']
            lines += [f"directory {data}", "maxsize 268435456", f"index {INDEXED} eq", "dbnosync"]
        (self.folder / "slapd.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _with_parents(entries: dict[str, RawEntry]) -> dict[str, RawEntry]:
    """The entries from the roots down, missing ones between added."""
    whole = dict(entries)
    for name, entry in entries.items():
        above, dn = name, entry.dn
        while "," in above:
            above, dn = above.partition(",")[2], dn.partition(",")[2]
            if above not in whole:
                kind, _, value = dn.partition(",")[0].partition("=")
                structure = _STRUCTURES[kind.strip().lower()]
                whole[above] = RawEntry(dn, {"objectclass": (structure,), kind.strip().lower(): (value,)})
    return dict(sorted(whole.items(), key=lambda item: item[0].count(",")))


def _record(entry: RawEntry) -> str:
    def line(name: str, value: str) -> str:
        return f"{name}:: {base64.b64encode(value.encode()).decode()}\n"

    return line("dn", entry.dn) + "".join(line(name, value) for name, values in entry.attributes.items() for value in values)
