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

import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, cast

from cyclopts import Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.loading import load_or_exit
from posthouse.cli.store.opening import CANNOT_CREATE, NO_INPUT, USAGE, end, say
from posthouse.config.instance import Instance
from posthouse.config.store_conf import StoreConf
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.mailboxes import PRIMARY, Mailboxes

MAIN = "dovecot.conf"
ELSEWHERE = "dovecot-mailboxes"
_PLACE = "/etc/dovecot"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_IMAPS = 993
"""TLS from the start on this port, STARTTLS on others"""
_INACTIVE = "".join(
    f"(!({attribute}={value}))"
    for attribute in ("inetUserStatus", "mailUserStatus")
    for value in ("inactive", "deleted", "removed", "disabled")
)
"""who has no mail service; a user who is held or over quota may still log in"""
Flag = Parameter(negative=())
Several = Parameter(consume_multiple=False, negative=())


@dataclass(frozen=True, slots=True)
class Directory:
    """Where users are looked up."""

    uris: str
    bases: tuple[tuple[str, str], ...]
    """(domain, base); the first one is the default domain's"""
    bind_dn: str
    password: str


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
    if (tls_cert is None) != (tls_key is None):
        raise end("dovecot-config: --tls-cert and --tls-key belong together", USAGE)
    if proxy and directory is None:
        raise end("dovecot-config: --proxy asks the directory for each user's mailHost: give --ldap and --base", USAGE)
    folder = str(write.absolute()) if write is not None else _PLACE
    imap_address, imap_port = _listener(imap)
    imaps_address, imaps_port = _listener(imaps) if tls_cert is not None else ("", "0")
    words = {
        "host": conf.hostname, "instance": str(place.root),
        "run": f"base_dir = {run}\nstate_dir = {run}\n" if run else "", "log": f"log_path = {log}\n" if log else "",
        "imap_address": imap_address, "imap_port": imap_port, "imaps_address": imaps_address, "imaps_port": imaps_port,
        "tls": f"ssl = required\nssl_cert = <{tls_cert}\nssl_key = <{tls_key}\n" if tls_cert is not None else "ssl = no\n",
        "backend_tls": _believed(backend_ca) if backend_tls or backend_ca is not None else "",
        "trust": " ".join(trust), "username": _username(conf.defaultdomain), **_owner(place, conf, proxy=proxy),
        "listescape": " listescape" if conf.listescape else "",
    }  # fmt: skip
    host = mail_host or conf.hostname
    tls = backend_tls or backend_ca is not None
    files = _ldap_files(directory, host, proxy=proxy, port=backend_port, tls=tls) if directory else {}
    elsewhere = {} if proxy else _elsewhere(place, conf)
    if directory is None:
        words["auth"] = _passwd_file(passwd_file)
        words["files"] = str(passwd_file)
    else:
        words["auth"] = _lookups(directory, folder, proxy=proxy)
        words["files"] = ", ".join(f"{folder}/{name}" for name in files)
    if elsewhere:
        files[ELSEWHERE] = _mailbox_lines(place, elsewhere)
        words["auth"] = _elsewhere_first(words["auth"], f"{folder}/{ELSEWHERE}")
        words["files"] += f", {folder}/{ELSEWHERE}"
    files = {MAIN: _filled("proxy.conf" if proxy else "store.conf", words), **files}
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


# --- what the options mean ----------------------------------------------------------------------------------------


def _listener(text: str) -> tuple[str, str]:
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise end(f"dovecot-config: {text} is not PORT or ADDRESS:PORT", USAGE)
    return address or "*, ::", port


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
    return {"uid": str(found.st_uid), "gid": str(found.st_gid), "store": str(store / conf.defaultpartition)}


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


# --- the files ----------------------------------------------------------------------------------------------------


def _filled(name: str, words: dict[str, str]) -> str:
    text = (resources.files("posthouse.cli") / "templates" / "dovecot" / name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


def _passwd_file(path: Path) -> str:
    return f"""# One line for each user, `owner:{{SCHEME}}hash`; `doveadm pw` makes the second part. Readable by the user dovecot.
passdb {{
  driver = passwd-file
  args = username_format=%u {path}
}}
userdb {{
  driver = static
  args = allow_all_users=yes
}}"""


def _mailbox_lines(place: Instance, elsewhere: dict[str, str]) -> str:
    folders = ((owner, place.store / partition) for owner, partition in sorted(elsewhere.items()))
    lines = [f"{owner}:::::::userdb_mail=maildir:{folder}/%Lu\n" for owner, folder in folders]
    head = f"# Mailboxes of {place.root} outside its default partition. Make it again when one is made or moved there.\n"
    return head + "".join(lines)


def _elsewhere_first(auth: str, path: str) -> str:
    """Where a mailbox is, for those not in the default partition; who is a user is still the others' business."""
    block = f"""userdb {{
  driver = passwd-file
  args = username_format=%Lu {path}
  result_success = continue
  result_failure = continue
}}
"""
    first = auth.index("userdb {")
    return auth[:first] + block + auth[first:]


def _ldap_name(number: int, domain: str) -> str:
    return f"dovecot-ldap{'-' + domain if number else ''}.conf.ext"


def _lookups(directory: Directory, folder: str, *, proxy: bool) -> str:
    blocks = []
    for kind in ("passdb",) if proxy else ("passdb", "userdb"):
        for number, (domain, _) in enumerate(directory.bases):
            blocks.append(f"{kind} {{\n  driver = ldap\n  args = {folder}/{_ldap_name(number, domain)}\n}}")
    return "\n".join(blocks)


def _ldap_files(directory: Directory, host: str, *, proxy: bool, port: int, tls: bool) -> dict[str, str]:
    bind = f"dn = {directory.bind_dn}\ndnpass = {directory.password}\n" if directory.bind_dn else ""
    files = {}
    for number, (domain, base) in enumerate(directory.bases):
        at = f"@{domain}" if number else ""
        fields = [f"=user=%{{ldap:uid}}{at}"]
        if proxy:
            fields += ["=proxy=y", "=host=%{ldap:mailHost}", f"=port={port}"]
        if proxy and tls:
            fields.append("=ssl=yes" if port == _IMAPS else "=starttls=yes")
        own = "(mailHost=*)" if proxy else f"(mailHost={_escaped(host)})"
        chosen = f"(objectClass=inetMailUser){own}{_INACTIVE}"
        # a name of another domain finds nobody here: every database is asked in turn, and `-` is no uid
        uid = f"%{{if;%Ld;eq;{domain if number else ''};%Ln;-}}"
        mail = f"{uid}@{domain}" if domain else uid
        names = f"(|(uid={uid})(mail={mail})(mailAlternateAddress={mail}))"
        name = _ldap_name(number, domain)
        userdb = "" if proxy else (
            f"user_filter = (&{chosen}{names})\nuser_attrs = {fields[0]}\n"
            f"iterate_filter = (&{chosen})\niterate_attrs = {fields[0]}"
        )  # fmt: skip
        files[name] = _filled("ldap.conf.ext", {
            "file": name, "domain": domain or "the default domain", "uri": directory.uris, "bind": bind, "base": base,
            "filter": chosen, "names": names, "pass_attrs": ", ".join(fields), "userdb": userdb,
        })  # fmt: skip
    return files


def _escaped(text: str) -> str:
    """A value in a filter (RFC 4515 3)."""
    return "".join(f"\\{ord(char):02x}" if char in "\\*()\0" else char for char in text)
