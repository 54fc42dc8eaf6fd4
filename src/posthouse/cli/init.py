"""`posthouse init relay|store DIR`: makes an instance folder with the chapter's files, commented.

    DIR/config/   imta.cnf option.dat mappings dispatcher.cnf job_controller.cnf imta_tailor, on a store store.conf,
                  on a relay aliases, and hosts where --resolve was given
    DIR/data/{queue,journal,store}  DIR/log  DIR/run
    with --native the folder of the UNIX mailboxes too, where it is missing

A folder that is not empty is refused (73) unless --force is given; then the configuration is written over and everything
below data/ is left as it is. Bad arguments end with 64, files that are missing with 66, and write nothing.
"""

import contextlib
import ipaddress
import os
import pwd
import shutil
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.init_clients import Clients
from posthouse.cli.init_route import Route, route_words
from posthouse.mail.address import parse_address

app = App(name="init", help="Make an instance folder.")

_NATIVE_OPTIONS = """,\\
    #*native=@$X.LMTPN:$M+$2S@native-daemon,\\
    #*unix=@$X.LMTPN:$M@native-daemon,\\
    #&*file=@$X.LMTPN:+$F@native-daemon"""
"""clauses of DELIVERY_OPTIONS for UNIX mailboxes behind the stores' native service (imta-cnf 3.3)"""
_USAGE, _NO_INPUT, _NO_USER, _CANNOT_CREATE = 64, 66, 67, 73


@dataclass(frozen=True, slots=True)
class _Listener:
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written, once every argument was found good."""

    folder: Path
    tier: str
    words: dict[str, str]
    hosts: str = ""
    user: str | None = None
    folders: tuple[tuple[Path, bool], ...] = ()
    """others to make, and whether many users' mailboxes are in it"""
    files: tuple[str, ...] = field(
        default=("imta.cnf", "option.dat", "mappings", "dispatcher.cnf", "job_controller.cnf", "imta_tailor")
    )


def _refuse(text: str, code: int = _USAGE) -> SystemExit:
    sys.stderr.write(f"posthouse init: {text}\n")
    return SystemExit(code)


def _listener(text: str, option: str) -> _Listener:
    address, _, port = text.rpartition(":")
    address = address.strip("[]")
    try:
        if address:
            ipaddress.ip_address(address)
        number = int(port)
    except ValueError:
        raise _refuse(f"{option} {text}: give ADDRESS:PORT or PORT, e.g. 127.0.0.1:2225") from None
    if not 0 < number < 65536:
        raise _refuse(f"{option} {text}: a port is a number from 1 to 65535")
    return _Listener(address, number)


def _interface(listener: _Listener) -> str:
    return f"INTERFACE_ADDRESS={listener.address}" if listener.address else "!INTERFACE_ADDRESS="


def _block(text: str, option: str = "--allow") -> str:
    """An address or block as a mapping pattern (mappings.md 2)."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _refuse(f"{option} {text}: give an IP address or a block such as 192.0.2.0/24") from None
    if network.num_addresses == 1:
        return str(network.network_address)
    return f"${'(' if network.version == 4 else '{'}{network}{')' if network.version == 4 else '}'}"


def _resolved(pairs: list[str]) -> str:
    lines = []
    for pair in pairs:
        name, _, address = pair.partition("=")
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise _refuse(f"--resolve {pair}: give NAME=ADDRESS, e.g. store1.example.com=192.0.2.10") from None
        lines.append(f"{address}\t{_host(name, '--resolve')}\n")
    return "# asked before the system's resolver; the syntax of /etc/hosts\n" + "".join(lines) if lines else ""


def _clients(
    submission: str | None, smtp: _Listener, internal: list[str], certificate: Path | None, key: Path | None
) -> dict[str, str]:
    for option, path in (("--tls-certificate", certificate), ("--tls-key", key)):
        if path is not None and not path.is_file():
            raise _refuse(f"{option} {path}: no such file", _NO_INPUT)
    if key is not None and certificate is None:
        raise _refuse("--tls-key needs --tls-certificate FILE")
    ports: tuple[str, ...] = ()
    if submission is not None:
        listener = _listener(submission, "--submission")
        if listener.port == smtp.port and (listener.address == smtp.address or not listener.address or not smtp.address):
            raise _refuse(f"--submission {submission}: --smtp has this port")
        ports = (f"PORT={listener.port}", _interface(listener))
    return Clients(certificate, key, ports, [_block(text, "--internal") for text in internal]).words()


def _routes(texts: list[str]) -> dict[str, str]:
    found = []
    for text in texts:
        try:
            found.append(Route.parse(text))
        except ValueError as error:
            raise _refuse(f"--route {text}: {error}") from None
    return route_words(found)


def _host(text: str, option: str) -> str:
    labels = text.rstrip(".").split(".")
    if not all(label and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise _refuse(f"{option} {text}: not a host or domain name")
    return text.rstrip(".").lower()


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
    listener = _listener(lmtp, "--lmtp")
    service = _native(native, listener, native_spool, native_passwd, native_files)
    ports = [listener.port, *([service.listener.port] if service else [])]
    entries = [f"  TCP|*|{port}|{_block(relay)}|*      $Y" for relay in allow for port in ports]
    words = {
        **_native_words(service),
        "host": _host(host, "--host"),
        "default_domain": _host(default_domain, "--default-domain"),
        "port": str(listener.port),
        "interface": _interface(listener),
        "allow": "\n".join(entries),
    }
    folders = service.folders if service else ()
    files = (*_Plan(folder, "", {}).files, "store.conf")
    _write(_Plan(folder, "store", words, user=user, files=files, folders=folders), force=force)


@dataclass(frozen=True, slots=True)
class _Native:
    """The native service of a store."""

    listener: _Listener
    spool: Path
    passwd: Path | None
    files: Path | None

    @property
    def folders(self) -> tuple[tuple[Path, bool], ...]:
        """Folders to make where they are missing, and whether all users' mailboxes are in it."""
        return ((self.spool, True), *(((self.files, False),) if self.files else ()))


def _native(
    text: str | None, listener: _Listener, spool: Path | None, passwd: Path | None, files: Path | None
) -> _Native | None:
    if text is None:
        if spool or passwd or files:
            raise _refuse("--native-spool, --native-passwd and --native-files need --native ADDRESS:PORT")
        return None
    native = _listener(text, "--native")
    if native.port == listener.port and (native.address == listener.address or not native.address or not listener.address):
        raise _refuse(f"--native {text}: --lmtp has this port")
    if passwd is not None and not passwd.is_file():
        raise _refuse(f"--native-passwd {passwd}: no such file", _NO_INPUT)
    spool = (spool or Path("/var/mail")).absolute()
    return _Native(native, spool, passwd.absolute() if passwd else None, files.absolute() if files else None)


def _native_words(service: _Native | None) -> dict[str, str]:
    """What the templates say about the native service; commented out where there is none."""
    off = "" if service else "!"
    section = (
        "[SERVICE=LMTPSN]",
        f"PORT={service.listener.port if service else 226}",
        "IMAGE=IMTA_BIN:tcp_lmtpn_server",
        "LOGFILE=IMTA_LOG:tcp_lmtpsn_server.log",
        "PARAMETER=CHANNEL=tcp_lmtpsn",
        "STACKSIZE=2048000",
        *([_interface(service.listener)] if service else []),
    )
    files = f"native.files = {service.files}" if service and service.files else "! native.files = /var/spool/mailfiles"
    passwd = f"native.passwd = {service.passwd}" if service and service.passwd else "! native.passwd = /etc/passwd"
    return {
        "native_shipped": "" if service else ": commented out as shipped",
        "native_service": "\n".join(off + line for line in section),
        "native_channel": f"{off}tcp_lmtpsn lmtp flagtransfer logging\n{off}tcp_lmtpsn-daemon",
        "native_spool": f"native.spool = {service.spool}" if service else "! native.spool = /var/mail",
        "native_passwd": passwd,
        "native_files": files,
    }


@app.command
def relay(
    folder: Path,
    /,
    *,
    smtp: str,
    host: str,
    default_domain: str,
    lmtp_port: int = 225,
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
        lmtp_port: port of the stores' LMTP service.
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
    listener = _listener(smtp, "--smtp")
    for option, port in (("--lmtp-port", lmtp_port), ("--native-port", native_port)):
        if port is not None and not 0 < port < 65536:
            raise _refuse(f"{option} {port}: a port is a number from 1 to 65535")
    words = {
        "native_shipped": "" if native_port else ", commented out as shipped",
        "native_off": "" if native_port else "! ",
        "native_port": str(native_port or 226),
        "native_options": _NATIVE_OPTIONS if native_port else "",
        "host": _host(host, "--host"),
        "default_domain": _host(default_domain, "--default-domain"),
        "port": str(listener.port),
        "interface": _interface(listener),
        "lmtp_port": str(lmtp_port),
        "directory": _directory(ldif, ldap or [], base, schema, bind_dn, bind_password_file),
        **_routes(route or []),
        **_clients(submission, listener, internal or [], tls_certificate, tls_key),
        "postmaster": _postmaster(postmaster) if postmaster is not None else f"! postmaster: somebody@{default_domain}",
    }
    files = (*_Plan(folder, "", {}).files, "aliases")
    _write(_Plan(folder, "relay", words, _resolved(resolve or []), user, files=files), force=force)


def _directory(
    ldif: Path | None, ldap: list[str], base: str | None, schema: int, bind_dn: str | None, password_file: Path | None
) -> str:
    """The directory's lines of option.dat."""
    if (ldif is None) == (not ldap):
        raise _refuse("give the directory: either --ldif FILE or --ldap URI --base DN")
    if schema not in {1, 2}:
        raise _refuse(f"--schema {schema}: 1 or 2")
    if ldif is not None:
        if not ldif.is_file():
            raise _refuse(f"--ldif {ldif}: no such file", _NO_INPUT)
        lines = ["! an LDIF file, read again when it changes", f"LDAP_LDIF_FILE={ldif.resolve()}"]
        lines += [f"LDAP_USER_ROOT={base}"] if base else []
    else:
        if not base:
            raise _refuse("--ldap needs --base DN")
        if bad := [uri for uri in ldap if not uri.startswith(("ldap://", "ldaps://"))]:
            raise _refuse(f"--ldap {bad[0]}: give a URI, e.g. ldap://192.0.2.3:389")
        lines = ["! servers are tried in this order", f"LDAP_HOST={' '.join(ldap)}", f"LDAP_USER_ROOT={base}"]
    lines.append(f"LDAP_SCHEMALEVEL={schema}")
    if (bind_dn is None) != (password_file is None) or (bind_dn is not None and not ldap):
        raise _refuse("--bind-dn DN and --bind-password-file FILE go together, with --ldap")
    if bind_dn is not None and password_file is not None:
        if not password_file.is_file():
            raise _refuse(f"--bind-password-file {password_file}: no such file", _NO_INPUT)
        lines += [f"LDAP_USERNAME={bind_dn}", f"LDAP_PASSWORD_FILE={password_file.resolve()}"]
    return "\n".join(lines)


def _postmaster(address: str) -> str:
    try:
        parse_address(address)
    except ValueError as error:
        raise _refuse(f"--postmaster {address}: {error}") from None
    return f"postmaster: {address}"


def _write(plan: _Plan, *, force: bool) -> None:
    folder = plan.folder
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not force)):
        raise _refuse(f"{folder}: not an empty folder; --force writes the configuration over", _CANNOT_CREATE)
    if plan.user is not None:
        try:
            pwd.getpwnam(plan.user)
        except KeyError:
            raise _refuse(f"--user {plan.user}: no such user", _NO_USER) from None
    words = {**plan.words, "user": f"IMTA_USER={plan.user}" if plan.user else "! IMTA_USER=mailsrv"}
    templates = resources.files("posthouse.cli") / "templates" / plan.tier
    try:
        for name in ("config", "data/queue", "data/journal", "data/store", "log", "run"):
            (folder / name).mkdir(mode=0o755 if name == "config" else 0o700, parents=True, exist_ok=True)
        for name in plan.files:
            text = (templates / name).read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace("{{" + word + "}}", value)
            (folder / "config" / name).write_text(text, encoding="utf-8")
        for path, shared in plan.folders:
            _make_mail_folder(path, shared=shared, user=plan.user)
        if plan.hosts:
            (folder / "config" / "hosts").write_text(plan.hosts, encoding="utf-8")
        if plan.user is not None and os.geteuid() == 0:
            for path in (folder / "data", folder / "log", folder / "run", *(folder / "data").iterdir()):
                shutil.chown(path, plan.user)
            (folder / "data").chmod(0o700)
    except OSError as error:
        raise _refuse(f"{error.filename}: {error.strerror}", _CANNOT_CREATE) from None


def _make_mail_folder(path: Path, *, shared: bool, user: str | None) -> None:
    """A folder mail is appended in, as Debian has /var/mail; one that is there already is left as it is."""
    if path.is_dir():
        return
    path.mkdir(parents=True)
    if os.geteuid() != 0:
        return
    if shared:
        with contextlib.suppress(LookupError):
            shutil.chown(path, "root", "mail")
        path.chmod(0o2775)
    elif user is not None:
        shutil.chown(path, user)
