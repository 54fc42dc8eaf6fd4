"""`posthouse store dovecot-config`: a configuration for Dovecot 2.3 or 2.4, for the mailboxes of this store or for a front end.

    ... > /etc/dovecot/dovecot.conf                                  users in a passwd-file
    ... --ldap URI --base DN --write /etc/dovecot                    users in the directory: two files
    ... and, when mailboxes stand in several partitions, `dovecot-mailboxes`: one line for each that is not in the default one
    ... and, for 2.4, `dovecot-limits`: a script that tells each session the limits of its mailbox
    ... --ldap URI --base DN --proxy --write /etc/dovecot            a front end that sends each user to his mailHost

The first file goes to stdout; `--file NAME` prints another one, `--write DIR` writes all of them (0600, the list
of mailboxes 0644, the script 0755; nothing is written over without --force). The version is that of the Dovecot that is
installed, or the one `--dovecot` names. What the users' mailboxes belong to is the owner of `data/store`.
docs/dovecot.md explains.
Exit 64 on wrong usage, 66 when the password file cannot be read, 73 when a file cannot be written.
"""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.loading import load_or_exit
from posthouse.cli.store.dovecot_files import (
    ELSEWHERE,
    directory_lookups,
    filled,
    ldap_files,
    limits_script,
    mailbox_lines,
    password_file_lookup,
    put_in,
)
from posthouse.cli.store.dovecot_options import (
    back_ends_of,
    believed_ca,
    check_port,
    directory_of,
    listeners,
    mailboxes_elsewhere,
    owner_of,
    trusted,
    version_of,
)
from posthouse.cli.store.dovecot_versions import VERSIONS, Version
from posthouse.cli.store.opening import CANNOT_CREATE, USAGE, end, say
from posthouse.config.instance import Instance
from posthouse.config.store_conf import StoreConf
from posthouse.store.quota.limits import Limits

MAIN = "dovecot.conf"
_PLACE = "/etc/dovecot"
_MODES = {ELSEWHERE: 0o644, **{version.limits: 0o755 for version in VERSIONS.values() if version.limits}}
"""files without a password in them: the one is read by Dovecot's user `dovecot`, the other run as the store's"""
Flag = Parameter(negative=())
Several = Parameter(consume_multiple=False, negative=())


def dovecot_config(
    *,
    instance: InstanceOption = None,
    dovecot: str = "",
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
    """Print a configuration for Dovecot 2.3 or 2.4.

    Args:
        instance: the store's folder.
        dovecot: version, 2.3 or 2.4; by default that of the Dovecot on this machine.
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
    version = version_of(dovecot)
    directory = directory_of(ldap, base, domain, bind_dn, bind_password_file, conf)
    check_port(backend_port)
    back_ends = back_ends_of(backend_port, directory, tls=backend_tls or backend_ca is not None) if proxy else None
    owner = owner_of(place, conf, proxy=proxy)
    folder = str(write.absolute()) if write is not None else _PLACE
    users = str(passwd_file.absolute())
    if directory is None:
        files, auth = {}, password_file_lookup(version, users)
    else:
        files = ldap_files(version, directory, mail_host or conf.hostname, back_ends)
        auth = directory_lookups(version, directory, folder, proxy=proxy)
    if not proxy:
        files |= _of_mailboxes(version, place, conf, owner["store"])
    if ELSEWHERE in files:
        auth = put_in(version.elsewhere, {"path": f"{folder}/{ELSEWHERE}"}) + auth
    words = {
        "host": conf.hostname, "instance": str(place.root), "auth": auth, "limits": f"{folder}/{version.limits}",
        "files": ", ".join([*([] if directory else [users]), *(f"{folder}/{name}" for name in files)]),
        "run": f"base_dir = {run}\nstate_dir = {run}\n" if run else "", "log": f"log_path = {log}\n" if log else "",
        **listeners(version, imap, imaps, tls_cert, tls_key), "trust": trusted(trust),
        "backend_tls": put_in(version.believed, {"ca": believed_ca(backend_ca)}) if back_ends and back_ends.tls else "",
        "username": put_in(version.bare, {"domain": conf.defaultdomain}) if conf.defaultdomain else version.lower,
        "listescape": version.listescape if conf.listescape else "", **owner,
    }  # fmt: skip
    files = {MAIN: filled(version, "proxy.conf" if proxy else "store.conf", words), **files}
    _deliver(files, file, write, force=force, as_json=as_json)


def _of_mailboxes(version: Version, place: Instance, conf: StoreConf, store: str) -> dict[str, str]:
    """Files that say something of single mailboxes: where they are, which limits they have."""
    files = {}
    if elsewhere := mailboxes_elsewhere(place, conf):
        files[ELSEWHERE] = mailbox_lines(version, place, elsewhere)
    if version.limits:
        files[version.limits] = limits_script(version, store, Limits(conf.defaultmailboxquota, conf.defaultmessagequota))
    return files


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
            if name in _MODES:
                partly.chmod(_MODES[name])
            partly.rename(write / name)
            say(f"wrote {write / name}")
    except OSError as error:
        raise end(f"{error.filename}: {error.strerror}", CANNOT_CREATE) from None
