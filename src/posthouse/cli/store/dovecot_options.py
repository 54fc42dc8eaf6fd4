"""The options of `posthouse store dovecot-config`, checked and read: what they mean for this store."""

import contextlib
import ipaddress
import pwd
import re
from pathlib import Path
from typing import cast

from posthouse.cli.store.dovecot_files import BackEnds, Directory, put_in
from posthouse.cli.store.dovecot_versions import DOVECOT_2_3, VERSIONS, Version, installed_version
from posthouse.cli.store.opening import NO_INPUT, USAGE, end, say
from posthouse.config.instance import Instance
from posthouse.config.store_conf import StoreConf
from posthouse.journal.disk import Disk, LinuxDisk
from posthouse.store.administration.mailboxes import PRIMARY, Mailboxes

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def version_of(wanted: str) -> Version:
    """The version asked for, else the one that is installed; says which one it is when that is a guess."""
    if wanted:
        if wanted not in VERSIONS:
            raise end(f"dovecot-config: --dovecot {wanted}: give {' or '.join(VERSIONS)}", USAGE)
        return VERSIONS[wanted]
    installed = installed_version()
    if installed in VERSIONS:
        return VERSIONS[installed]
    why = f"Dovecot {installed} is installed" if installed else "no Dovecot is installed here"
    say(f"{why}: the configuration is for {DOVECOT_2_3.name}; --dovecot chooses another version, {' or '.join(VERSIONS)}")
    return DOVECOT_2_3


def listeners(version: Version, imap: str, imaps: str, cert: Path | None, key: Path | None) -> dict[str, str]:
    """What the main file says of who listens, and of TLS."""
    if (cert is None) != (key is None):
        raise end("dovecot-config: --tls-cert and --tls-key belong together", USAGE)
    address, port = _listener(imap)
    plain = {"imap_address": address, "imap_port": port}
    if cert is None:
        return {**plain, "imaps_address": "", "imaps_port": "0", "tls": "ssl = no\n"}
    address, port = _listener(imaps)
    tls = put_in(version.tls, {"cert": str(cert), "key": str(key)})
    return {**plain, "imaps_address": address, "imaps_port": port, "tls": tls}


def _listener(text: str) -> tuple[str, str]:
    address, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise end(f"dovecot-config: {text} is not PORT or ADDRESS:PORT", USAGE)
    return address or "*, ::", port


def trusted(networks: tuple[str, ...]) -> str:
    """Front ends that may log users in without TLS."""
    for text in networks:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise end(f"dovecot-config: --trust {text} is no address or block", USAGE) from None
    return " ".join(networks)


def back_ends_of(port: int, directory: Directory | None, *, tls: bool) -> BackEnds:
    """The stores of a front end."""
    if directory is None:
        raise end("dovecot-config: --proxy asks the directory for each user's mailHost: give --ldap and --base", USAGE)
    return BackEnds(port, tls)


def check_port(port: int) -> None:
    """End when it is none."""
    if not 0 < port < 65536:
        raise end(f"dovecot-config: --backend-port {port} is no port", USAGE)


def believed_ca(ca: Path | None) -> str:
    """The file with the certificates that sign the stores'."""
    return _CERTIFICATES if ca is None else str(ca.absolute())


def owner_of(place: Instance, conf: StoreConf, *, proxy: bool) -> dict[str, str]:
    """Whose the mailboxes are, and where."""
    store = place.store
    try:
        found = (store if store.is_dir() else place.data).stat()
    except OSError as error:
        raise end(f"{error.filename}: {error.strerror}", NO_INPUT) from None
    if not found.st_uid and not proxy:
        say(f"{store} belongs to root, and Dovecot serves no mailbox of root's: make the store with `init store --user NAME`")
    uid, user, group = found.st_uid, str(found.st_uid), found.st_gid
    with contextlib.suppress(KeyError):
        user, _, _, group, *_ = pwd.getpwuid(uid)  # the group of the store's processes; the folder's may be root's
    return {"uid": str(uid), "user": user, "gid": str(group), "store": str(store / conf.defaultpartition)}


def mailboxes_elsewhere(place: Instance, conf: StoreConf) -> dict[str, str]:
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


def directory_of(
    uris: tuple[str, ...], base: str, domains: tuple[str, ...], bind_dn: str, password_file: Path | None, conf: StoreConf
) -> Directory | None:
    """Where users are looked up; None: in a passwd-file."""
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
