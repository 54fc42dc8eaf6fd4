"""`posthouse store dovecot-config`: a Dovecot 2.3 configuration for the mailboxes of this store, or for a front end.

    ... > /etc/dovecot/dovecot.conf                                  users in a passwd-file
    ... --ldap URI --base DN --write /etc/dovecot                    users in the directory: two files
    ... and, when mailboxes stand in several partitions, `dovecot-mailboxes`: one line for each that is not in the default one
    ... --ldap URI --base DN --proxy --write /etc/dovecot            a front end that sends each user to his mailHost

The first file goes to stdout; `--file NAME` prints another one, `--write DIR` writes all of them (0600, the list
of mailboxes 0644; nothing is written over without --force). What the users' mailboxes belong to is the owner of `data/store`.
docs/dovecot.md explains.
Exit 64 on wrong usage, 66 when the password file cannot be read, 73 when a file cannot be written.
"""

import ipaddress
import pwd
import re
import sys
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.loading import load_or_exit
from posthouse.cli.store.dovecot_files import (
    ELSEWHERE,
    Directory,
    directory_lookups,
    elsewhere_first,
    filled,
    ldap_files,
    mailbox_lines,
    password_file_lookup,
)
from posthouse.cli.store.opening import CANNOT_CREATE, NO_INPUT, USAGE, end, say
from posthouse.config.instance import Instance
from posthouse.config.store_conf import StoreConf
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.mailboxes import PRIMARY, Mailboxes

MAIN = "dovecot.conf"
_PLACE = "/etc/dovecot"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
Flag = Parameter(negative=())
Several = Parameter(consume_multiple=False, negative=())


def dovecot_config(
    *,
    instance: InstanceOption = None,
    imap: str = "143",
    imaps: str = "993",
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    trust: Annotated[tuple[str, ...], Several] = (),
    ldap: Annotated[tuple[str, ...], Several] = (),
    base: str = "",
    domain: Annotated[tuple[str, ...], Several] = (),
    bind_dn: str = "",
    bind_password_file: Path | None = None,
    mail_host: str = "",
    passwd_file: Path = Path(_PLACE, "users"),
    proxy: Annotated[bool, Flag] = False,
    backend_port: int = 143,
    backend_tls: Annotated[bool, Flag] = False,
    backend_ca: Path | None = None,
    run: Path | None = None,
    log: Path | None = None,
    file: str = MAIN,
    write: Path | None = None,
    force: Annotated[bool, Flag] = False,
    as_json: Json = False,
) -> None:
    """Print a configuration for Dovecot 2.3.

    Args:
        instance: the store's folder.
        imap: PORT or ADDRESS:PORT to listen on.
        imaps: the same for IMAP with TLS from the start; used with --tls-cert.
        tls_cert: file with the certificate; without it there is no TLS and passwords are taken from this machine only.
        tls_key: file with its key.
        trust: address or block of front ends that may log users in without TLS; may be repeated.
        ldap: URI of a directory server; may be repeated.
        base: where the users of the default domain are.
        domain: NAME=BASE of a hosted domain's users; may be repeated.
        bind_dn: search as this entry instead of anonymously.
        bind_password_file: file whose first line is its password.
        mail_host: the mailHost of this store's users, by default local.hostname.
        passwd_file: the users where there is no directory.
        proxy: a front end that sends users to their mailHost.
        backend_port: the stores' IMAP port, for the front end.
        backend_tls: the front end speaks TLS to the stores: from the start on port 993, else STARTTLS.
        backend_ca: file with the certificates that sign the stores', instead of the system's; means --backend-tls.
        run: Dovecot's folder for sockets.
        log: its log file instead of syslog.
        file: which file to print.
        write: write all files into this folder.
        force: write over files that are there.
        as_json: print a JSON object of file names and texts.
    """
    place = here(instance)
    conf = load_or_exit(place).store
    directory = _directory(ldap, base, domain, bind_dn, bind_password_file, conf)
    if proxy and directory is None:
        raise end("dovecot-config: --proxy asks the directory for each user's mailHost: give --ldap and --base", USAGE)
    if not 0 < backend_port < 65536:
        raise end(f"dovecot-config: --backend-port {backend_port} is no port", USAGE)
    for network in trust:
        _check_network(network)
    folder = str(write.absolute()) if write is not None else _PLACE
    tls = backend_tls or backend_ca is not None
    words = {
        "host": conf.hostname, "instance": str(place.root),
        "run": f"base_dir = {run}\nstate_dir = {run}\n" if run else "", "log": f"log_path = {log}\n" if log else "",
        **_listeners(imap, imaps, tls_cert, tls_key), "trust": " ".join(trust),
        "backend_tls": _believed(backend_ca) if tls else "",
        "username": _username(conf.defaultdomain), "listescape": " listescape" if conf.listescape else "",
        **_owner(place, conf, proxy=proxy),
    }  # fmt: skip
    if directory is None:
        files, words["auth"], words["files"] = {}, password_file_lookup(passwd_file.absolute()), str(passwd_file.absolute())
    else:
        files = ldap_files(directory, mail_host or conf.hostname, proxy=proxy, port=backend_port, tls=tls)
        words["auth"] = directory_lookups(directory, folder, proxy=proxy)
        words["files"] = ", ".join(f"{folder}/{name}" for name in files)
    if elsewhere := {} if proxy else _elsewhere(place, conf):
        files[ELSEWHERE] = mailbox_lines(place, elsewhere)
        words["auth"] = elsewhere_first(words["auth"], f"{folder}/{ELSEWHERE}")
        words["files"] += f", {folder}/{ELSEWHERE}"
    files = {MAIN: filled("proxy.conf" if proxy else "store.conf", words), **files}
    _deliver(files, file, write, force=force, as_json=as_json)


def _deliver(files: dict[str, str], file: str, write: Path | None, *, force: bool, as_json: bool) -> None:
    if as_json:
        print_json({"files": files})
    if write is None:
        if file not in files:
            raise end(f"dovecot-config: no file {file}, only {', '.join(files)}", USAGE)
        if not as_json:
            sys.stdout.write(files[file])
        return
    for name in files:
        if (write / name).exists() and not force:
            raise end(f"{write / name} is there already: --force writes over it", CANNOT_CREATE)
    try:
        write.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            partly = write / f".{name}.tmp"
            partly.touch(0o600)
            partly.write_text(text, encoding="utf-8")
            if name == ELSEWHERE:  # read by Dovecot's user `dovecot`; there is no password in it
                partly.chmod(0o644)
            partly.rename(write / name)
            say(f"wrote {write / name}")
    except OSError as error:
        raise end(f"{error.filename}: {error.strerror}", CANNOT_CREATE) from None


def _listeners(imap: str, imaps: str, cert: Path | None, key: Path | None) -> dict[str, str]:
    if (cert is None) != (key is None):
        raise end("dovecot-config: --tls-cert and --tls-key belong together", USAGE)
    address, port = _listener(imap)
    plain = {"imap_address": address, "imap_port": port}
    if cert is None:
        return {**plain, "imaps_address": "", "imaps_port": "0", "tls": "ssl = no\n"}
    address, port = _listener(imaps)
    tls = f"ssl = required\nssl_cert = <{cert}\nssl_key = <{key}\n"
    return {**plain, "imaps_address": address, "imaps_port": port, "tls": tls}


def _listener(text: str) -> tuple[str, str]:
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise end(f"dovecot-config: {text} is not PORT or ADDRESS:PORT", USAGE)
    return address or "*, ::", port


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise end(f"dovecot-config: --trust {text} is no address or block", USAGE) from None


def _believed(ca: Path | None) -> str:
    """Whose certificates the front end believes of the stores. Login processes of 2.3 do not read `ssl_client_ca_*`."""
    return f"ssl_ca = <{_CERTIFICATES if ca is None else ca.absolute()}\nssl_require_crl = no\n"


def _username(default_domain: str) -> str:
    """A user of the default domain, with or without it, is the bare uid."""
    return f"%{{if;%Ld;eq;{default_domain};%Ln;%Lu}}" if default_domain else "%Lu"


def _owner(place: Instance, conf: StoreConf, *, proxy: bool) -> dict[str, str]:
    store = place.store
    try:
        found = (store if store.is_dir() else place.data).stat()
    except OSError as error:
        raise end(f"{error.filename}: {error.strerror}", NO_INPUT) from None
    if not found.st_uid and not proxy:
        say(f"{store} belongs to root, and Dovecot serves no mailbox of root's: make the store with `init store --user NAME`")
    try:
        group = pwd.getpwuid(found.st_uid).pw_gid  # that of the store's processes; the folder's may be root's
    except KeyError:
        group = found.st_gid
    return {"uid": str(found.st_uid), "gid": str(group), "store": str(store / conf.defaultpartition)}


def _elsewhere(place: Instance, conf: StoreConf) -> dict[str, str]:
    """Owners whose mailbox is not, or will not be, in the default partition, and where it is."""
    if not place.store.is_dir():
        return {}
    stands: dict[str, str] = {}
    try:
        for partition, owner in Mailboxes(cast("Disk", LinuxDisk()), str(place.data)).all():
            if stands.get(owner) != PRIMARY:  # as deliveries look for it: primary first
                stands[owner] = partition
    except OSError as error:
        raise end(f"{error.filename or place.store}: {error.strerror}", NO_INPUT) from None
    places = {**conf.partitionof, **stands}
    found = {owner: partition for owner, partition in places.items() if partition != conf.defaultpartition}
    for owner in [each for each in found if ":" in each or each.startswith("#")]:
        say(f"{owner} is in the partition {found.pop(owner)}, which a passwd-file cannot say: this mailbox is not served")
    return found


def _directory(
    uris: tuple[str, ...], base: str, domains: tuple[str, ...], bind_dn: str, password_file: Path | None, conf: StoreConf
) -> Directory | None:
    if not uris:
        if base or domains or bind_dn or password_file:
            raise end("dovecot-config: --base, --domain and --bind-dn say where in a directory: give --ldap too", USAGE)
        return None
    for uri in uris:
        if not re.fullmatch(r"ldap(s|i)?://\S*", uri):
            raise end(f"dovecot-config: --ldap {uri}: give a URI, ldap://HOST", USAGE)
    if not base:
        raise end("dovecot-config: --ldap needs --base, where the users of the default domain are", USAGE)
    bases = [(conf.defaultdomain, base)]
    for text in domains:
        name, equals, where = text.partition("=")
        if not equals or not name or not where:
            raise end(f"dovecot-config: --domain {text}: give NAME=BASE", USAGE)
        bases.append((name.lower(), where))
    try:
        password = password_file.read_text().partition("\n")[0] if password_file is not None else ""
    except OSError as error:
        raise end(f"{password_file}: {error.strerror}", NO_INPUT) from None
    return Directory(" ".join(uris), tuple(bases), bind_dn, password)
