"""`posthouse init relay|store|full DIR`: makes an instance folder with the chapter's files, commented.

    relay   SMTP in, a queue, LMTP (or --deliver-by smtp) to the stores
    store   LMTP in, mailboxes
    full    a whole MTA with a store below it, channel ims-ms; --lmtp puts the LMTP service beside it (docs/deployments.md)

    DIR/config/   imta.cnf option.dat mappings dispatcher.cnf job_controller.cnf imta_tailor, with mailboxes store.conf,
                  with a queue aliases, hosts where --resolve was given, general.txt where --lmtp-store was
    DIR/data/{queue,journal,store}  DIR/log  DIR/run
    with --native the folder of the UNIX mailboxes too, where it is missing

A folder that is not empty is refused (73) unless --force is given; then the configuration is written over and everything
below data/ is left as it is. Bad arguments end with 64, files that are missing with 66, and write nothing.
"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

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
from posthouse.cli.init_native import NATIVE_CLAUSES, native_of, native_words
from posthouse.cli.init_route import Route, route_words
from posthouse.cli.init_stores import WayToStores, lmtp_service, relays_only, store_channels
from posthouse.cli.instance_files import FILES, Plan, write_instance

app = App(name="init", help="Make an instance folder.")


def _clients(
    submission: str | None, smtp: Listener, internal: list[str], certificate: Path | None, key: Path | None,
    store_port: int | None,
) -> dict[str, str]:  # fmt: skip
    for option, path in (("--tls-certificate", certificate), ("--tls-key", key)):
        if path is not None and not path.is_file():
            raise refuse(f"{option} {path}: no such file", NO_INPUT)
    if key is not None and certificate is None:
        raise refuse("--tls-key needs --tls-certificate FILE")
    ports: tuple[str, ...] = ()
    if submission is not None:
        listener = listener_of(submission, "--submission")
        if listener.port == smtp.port and (listener.address == smtp.address or not listener.address or not smtp.address):
            raise refuse(f"--submission {submission}: --smtp has this port")
        ports = (f"PORT={listener.port}", interface_line(listener))
    return Clients(certificate, key, ports, [address_pattern(text, "--internal") for text in internal], store_port).words()


def _routes(texts: list[str]) -> dict[str, str]:
    found = []
    for text in texts:
        try:
            found.append(Route.parse(text))
        except ValueError as error:
            raise refuse(f"--route {text}: {error}") from None
    return route_words(found)


@app.command
def store(
    folder: Path,
    /,
    *,
    lmtp: str,
    host: str,
    default_domain: str,
    allow: Annotated[list[str], Parameter(negative=())],
    native: str | None = None,
    native_spool: Path | None = None,
    native_passwd: Path | None = None,
    native_files: Path | None = None,
    user: str | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make a store: LMTP in, mailboxes.

    Args:
        folder: the instance folder.
        lmtp: ADDRESS:PORT to listen on.
        host: this machine's name.
        default_domain: users of this domain have the bare name `uid`.
        allow: address or block of a relay that may connect; may be repeated.
        native: ADDRESS:PORT of the native service, which appends to UNIX mailboxes; without it there is none.
        native_spool: folder of those mailboxes, one file for each user, made when it is missing; /var/mail by default.
        native_passwd: whom mail is for, in the form of passwd(5); the system's users by default.
        native_files: the only folder below which delivery option `file` appends, made when it is missing; none by default.
        user: user the processes run as when started as root.
        force: write into a folder that is not empty.
    """
    listener = listener_of(lmtp, "--lmtp")
    service = native_of(native, listener, native_spool, native_passwd, native_files)
    ports = [listener.port, *([service.listener.port] if service else [])]
    entries = [f"  TCP|*|{port}|{address_pattern(relay)}|*      $Y" for relay in allow for port in ports]
    words = {
        **native_words(service),
        "host": host_name(host, "--host"),
        "default_domain": host_name(default_domain, "--default-domain"),
        "port": str(listener.port),
        "interface": interface_line(listener),
        "allow": "\n".join(entries),
    }
    folders = service.folders if service else ()
    files = tuple(f"store/{each}" for each in (*FILES, "store.conf"))
    write_instance(Plan(folder, words, files, user=user, folders=folders), force=force)


@app.command
def relay(
    folder: Path,
    /,
    *,
    smtp: str,
    host: str,
    default_domain: str,
    deliver_by: Literal["lmtp", "smtp"] = "lmtp",
    lmtp_port: int = 225,
    store_smtp_port: int | None = None,
    lmtp_store: Annotated[list[str] | None, Parameter(negative=())] = None,
    native_port: int | None = None,
    ldif: Path | None = None,
    ldap: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    base: str | None = None,
    schema: int = 2,
    bind_dn: str | None = None,
    bind_password_file: Path | None = None,
    postmaster: str | None = None,
    resolve: Annotated[list[str] | None, Parameter(negative=())] = None,
    route: Annotated[list[str] | None, Parameter(negative=())] = None,
    submission: str | None = None,
    internal: Annotated[list[str] | None, Parameter(negative=())] = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    user: str | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make a relay: SMTP in, a durable queue, LMTP out to the stores.

    Args:
        folder: the instance folder.
        smtp: ADDRESS:PORT to listen on.
        host: this machine's name.
        default_domain: the primary domain.
        deliver_by: how mail gets to the stores; smtp: each of them is a whole MTA that looks users up again.
        lmtp_port: port of the stores' LMTP service.
        store_smtp_port: the stores are whole MTAs on this port: users with a program go there. 25 with --deliver-by smtp.
        lmtp_store: only this store takes LMTP, the others SMTP (general.txt); may be repeated.
        native_port: port of the stores' native service; delivers options native, unix and file. Without it nothing does.
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
        user: user the processes run as when started as root.
        force: write into a folder that is not empty.
    """
    listener = listener_of(smtp, "--smtp")
    name = host_name(host, "--host")
    if native_port is not None and not 0 < native_port < 65536:
        raise refuse(f"--native-port {native_port}: a port is a number from 1 to 65535")
    stores = WayToStores.parse(
        name, deliver_by, lmtp_port, store_smtp_port, lmtp_store or [], NATIVE_CLAUSES if native_port else ()
    )
    words = {
        **_mta_words(name, default_domain, listener, postmaster, route),
        **stores.words(),
        **_clients(submission, listener, internal or [], tls_certificate, tls_key, stores.smtp_port),
        "kind": "relay",
        "native_shipped": "" if native_port else ", commented out as shipped",
        "native_off": "" if native_port else "! ",
        "native_port": str(native_port or 226),
        "directory": directory_lines(ldif, ldap or [], base, schema, bind_dn, bind_password_file),
        "store_channels": "",
        "lmtp_service": lmtp_service(None),
        "native_service": native_words(None)["native_service"],
        "port_access": "  TCP|*|*|*|*      $Y",
    }
    files = tuple(f"relay/{each}" for each in (*FILES, "aliases"))
    write_instance(Plan(folder, words, files, hosts_text(resolve or []), stores.general, user), force=force)


@app.command
def full(
    folder: Path,
    /,
    *,
    smtp: str,
    host: str,
    default_domain: str,
    lmtp: str | None = None,
    allow: Annotated[list[str] | None, Parameter(negative=())] = None,
    native: str | None = None,
    native_spool: Path | None = None,
    native_passwd: Path | None = None,
    native_files: Path | None = None,
    store_smtp_port: int = 25,
    ldif: Path | None = None,
    ldap: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    base: str | None = None,
    schema: int = 2,
    bind_dn: str | None = None,
    bind_password_file: Path | None = None,
    postmaster: str | None = None,
    resolve: Annotated[list[str] | None, Parameter(negative=())] = None,
    route: Annotated[list[str] | None, Parameter(negative=())] = None,
    submission: str | None = None,
    internal: Annotated[list[str] | None, Parameter(negative=())] = None,
    tls_certificate: Path | None = None,
    tls_key: Path | None = None,
    user: str | None = None,
    force: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make a whole MTA with a store of its own: SMTP in, a queue, channel ims-ms, mailboxes; LMTP beside it where wanted.

    Args:
        folder: the instance folder.
        smtp: ADDRESS:PORT to listen on.
        host: this machine's name, the mailHost of its users.
        default_domain: the primary domain; its users have the bare name `uid`.
        lmtp: ADDRESS:PORT of the LMTP service; without it mail comes by SMTP only.
        allow: address or block of a relay that may connect to it; may be repeated.
        native: ADDRESS:PORT of the native service, which appends to UNIX mailboxes; without it there is none.
        native_spool: folder of those mailboxes, one file for each user, made when it is missing; /var/mail by default.
        native_passwd: whom mail is for, in the form of passwd(5); the system's users by default.
        native_files: the only folder below which delivery option `file` appends, made when it is missing; none by default.
        store_smtp_port: port of other stores that are whole MTAs.
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
        user: user the processes run as when started as root.
        force: write into a folder that is not empty.
    """
    listener, name = listener_of(smtp, "--smtp"), host_name(host, "--host")
    lmtp_listener = listener_of(lmtp, "--lmtp") if lmtp is not None else None
    if (lmtp_listener is None and native is None) == bool(allow):
        raise refuse("--allow ADDRESS goes with --lmtp or --native: only relays may connect there")
    service = native_of(native, lmtp_listener or listener, native_spool, native_passwd, native_files)
    stores = WayToStores.parse(name, "smtp", 225, store_smtp_port, [], ())
    ports = [each.port for each in (lmtp_listener, service.listener if service else None) if each is not None]
    words = {
        **_mta_words(name, default_domain, listener, postmaster, route),
        **stores.words(),
        **_clients(submission, listener, internal or [], tls_certificate, tls_key, stores.smtp_port),
        **native_words(service),
        "kind": "full MTA",
        "native_off": "! ",
        "native_port": "226",
        "directory": directory_lines(ldif, ldap or [], base, schema, bind_dn, bind_password_file),
        "store_channels": store_channels(lmtp=lmtp_listener is not None, native=service is not None),
        "lmtp_service": lmtp_service(lmtp_listener),
        "port_access": relays_only([address_pattern(each) for each in allow or []], ports),
    }
    files = (*(f"relay/{each}" for each in (*FILES, "aliases")), "store/store.conf")
    folders = service.folders if service else ()
    write_instance(Plan(folder, words, files, hosts_text(resolve or []), "", user, folders), force=force)


def _mta_words(
    host: str, default_domain: str, listener: Listener, postmaster: str | None, route: list[str] | None
) -> dict[str, str]:
    return {
        "host": host,
        "default_domain": host_name(default_domain, "--default-domain"),
        "port": str(listener.port),
        "interface": interface_line(listener),
        "post": "copywarnpost copysendpost postheadonly " if postmaster is not None else "",
        "postmaster": postmaster_line(postmaster) if postmaster is not None else f"! postmaster: somebody@{default_domain}",
        **_routes(route or []),
    }
