"""The options of `posthouse init`, in the groups that kinds of instance share; on the command line each stands for itself.

Every instance has those of Machine; relay and full MTA have Mta (SMTP, directory, clients) and Way (to the stores); store and
full MTA have Unix (the native service).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from posthouse.cli.init_arguments import (
    NO_INPUT,
    Listener,
    address_pattern,
    directory_lines,
    host_name,
    hosts_text,
    interface_line,
    listener_of,
    postmaster_line,
    refuse,
)
from posthouse.cli.init_clients import Clients
from posthouse.cli.init_native import NATIVE_CLAUSES, Native, native_of
from posthouse.cli.init_route import Route, route_words
from posthouse.cli.init_stores import WayToStores

Several: TypeAlias = Annotated[list[str] | None, Parameter(negative=())]
Switch: TypeAlias = Annotated[bool, Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What every instance is told.

    Args:
        host: this machine's name; the mailHost of its users where it has any.
        default_domain: the primary domain; its users have the bare name `uid`.
        user: user the processes run as when started as root.
        force: write into a folder that is not empty.
    """

    host: str
    default_domain: str
    user: str | None = None
    force: Switch = False

    def words(self) -> dict[str, str]:
        """What the templates have for it."""
        return {
            "host": host_name(self.host, "--host"),
            "default_domain": host_name(self.default_domain, "--default-domain"),
        }


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Mta:
    """What an instance with SMTP and a queue is told.

    Args:
        smtp: ADDRESS:PORT to listen on.
        ldif: directory as an LDIF file; it is read again when it changes.
        ldap: one or more URIs of directory servers, tried in order.
        base: where users and domains are, e.g. o=usergroup (with --ldap).
        schema: 1 (DC tree) or 2 (native).
        bind_dn: bind as this entry instead of anonymously.
        bind_password_file: file whose first line is its password.
        postmaster: address that gets the postmaster's mail.
        resolve: NAME=ADDRESS, asked before the system's resolver; may be repeated.
        route: DOMAIN=HOST:PORT, where mail for a domain goes whatever the DNS says; may be repeated.
        submission: ADDRESS:PORT where users' mail programs hand in mail, after a login.
        internal: address or block of our own machines, which may send anywhere; may be repeated.
        tls_certificate: PEM file with the certificate and its chain: STARTTLS is offered.
        tls_key: PEM file with its key, where that is not in the same file.
    """

    smtp: str
    ldif: Path | None = None
    ldap: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None
    base: str | None = None
    schema: int = 2
    bind_dn: str | None = None
    bind_password_file: Path | None = None
    postmaster: str | None = None
    resolve: Several = None
    route: Several = None
    submission: str | None = None
    internal: Several = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None

    @property
    def listener(self) -> Listener:
        """Where SMTP is heard."""
        return listener_of(self.smtp, "--smtp")

    @property
    def listeners(self) -> list[tuple[str, Listener | None]]:
        """Each option that names one, and what it names."""
        more = listener_of(self.submission, "--submission") if self.submission is not None else None
        return [("--smtp", self.listener), ("--submission", more)]

    @property
    def hosts(self) -> str:
        """The file of hosts."""
        return hosts_text(self.resolve or [])

    def words(self, machine: Machine, store_port: int | None) -> dict[str, str]:
        """What the templates have for it."""
        listener, post = self.listener, self.postmaster
        return {
            "port": str(listener.port),
            "interface": interface_line(listener),
            "post": "copywarnpost copysendpost postheadonly " if post is not None else "",
            "postmaster": postmaster_line(post) if post is not None else f"! postmaster: somebody@{machine.default_domain}",
            **self._routes(),
            **self._clients(store_port).words(),
            "directory": directory_lines(
                self.ldif, self.ldap or [], self.base, self.schema, self.bind_dn, self.bind_password_file
            ),
        }

    def _routes(self) -> dict[str, str]:
        found = []
        for text in self.route or []:
            try:
                found.append(Route.parse(text))
            except ValueError as error:
                raise refuse(f"--route {text}: {error}") from None
        return route_words(found)

    def _clients(self, store_port: int | None) -> Clients:
        certificate, key = self.tls_certificate, self.tls_key
        for option, path in (("--tls-certificate", certificate), ("--tls-key", key)):
            if path is not None and not path.is_file():
                raise refuse(f"{option} {path}: no such file", NO_INPUT)
        if key is not None and certificate is None:
            raise refuse("--tls-key needs --tls-certificate FILE")
        ports: tuple[str, ...] = ()
        if self.submission is not None:
            listener = listener_of(self.submission, "--submission")
            ports = (f"PORT={listener.port}", interface_line(listener))
        internal = [address_pattern(text, "--internal") for text in self.internal or []]
        return Clients(certificate, key, ports, internal, store_port)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How mail gets to the stores, on a full MTA to the other ones.

    Args:
        deliver_by: how mail gets to the stores; smtp: each of them is a whole MTA that looks users up again. Where it is
            not given, and no --lmtp-store, a relay delivers by lmtp and a full MTA by smtp.
        lmtp_port: port of the stores' LMTP service, 225 by default.
        store_smtp_port: the stores are whole MTAs on this port: users with a program go there. 25 with --deliver-by smtp.
        lmtp_store: only this store takes LMTP, the others SMTP (general.txt); may be repeated.
        native_port: port of the stores' native service; delivers options native, unix and file. Without it nothing does.
    """

    deliver_by: Literal["lmtp", "smtp"] | None = None
    lmtp_port: int | None = None
    store_smtp_port: int | None = None
    lmtp_store: Several = None
    native_port: int | None = None

    def parse(self, host: str, *, otherwise: str) -> WayToStores:
        """Check the options; `otherwise` counts where --deliver-by was not given."""
        by = self.deliver_by or ("lmtp" if self.lmtp_store else otherwise)
        lmtp_port, smtp_port, native_port = self.lmtp_port, self.store_smtp_port, self.native_port
        for option, port in (("--lmtp-port", lmtp_port), ("--store-smtp-port", smtp_port), ("--native-port", native_port)):
            if port is not None and not 0 < port < 65536:
                raise refuse(f"{option} {port}: a port is a number from 1 to 65535")
        for option, given in (("--lmtp-port", lmtp_port), ("--native-port", native_port), ("--lmtp-store", self.lmtp_store)):
            if given and by == "smtp":
                raise refuse(f"{option} is for stores that are reached by LMTP: it goes with --deliver-by lmtp")
        stores = tuple(host_name(each, "--lmtp-store") for each in self.lmtp_store or [])
        if smtp_port is None and (by == "smtp" or stores):
            smtp_port = 25
        return WayToStores(host, by == "lmtp", lmtp_port or 225, smtp_port, stores, NATIVE_CLAUSES if native_port else ())

    def words(self) -> dict[str, str]:
        """What the templates have for the channel to native services."""
        on = self.native_port is not None
        shipped = "" if on else ", commented out as shipped"
        return {"native_off": "" if on else "! ", "native_port": str(self.native_port or 226), "native_shipped": shipped}


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Unix:
    """UNIX mailboxes of a machine.

    Args:
        native: ADDRESS:PORT of the native service, which appends to UNIX mailboxes; without it there is none.
        native_spool: folder of those mailboxes, one file for each user, made when it is missing; /var/mail by default.
        native_passwd: whom mail is for, in the form of passwd(5); the system's users by default.
        native_files: the only folder below which delivery option `file` appends, made when it is missing; none by default.
    """

    native: str | None = None
    native_spool: Path | None = None
    native_passwd: Path | None = None
    native_files: Path | None = None

    def service(self) -> Native | None:
        """The service that was asked for."""
        return native_of(self.native, self.native_spool, self.native_passwd, self.native_files)
