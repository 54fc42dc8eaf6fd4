"""Dovecot, configured by hand: LMTP and IMAP on mailboxes of its own; what its IMAP clients ask."""

import contextlib
import imaplib
import pwd
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from posthouse.cli.store.dovecot_versions import installed_version
from posthouse.testing.tiers import free_port
from support.interop_daemon import daemon, open_folder
from support.interop_tiers import STORE_USER

DOVECOT = shutil.which("dovecot") or "/usr/sbin/dovecot"
VERSION = installed_version()
_CONFS = {
    "2.3": """
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
first_valid_uid = {uid}
last_valid_uid = {uid}
first_valid_gid = {gid}
mail_location = maildir:~/Maildir
mail_plugins = quota
protocol imap {{
  mail_plugins = quota imap_quota
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/home/%Lu allow_all_users=yes
}}
plugin {{
  quota = maildir:User quota
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.com
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
""",
    "2.4": """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
auth_allow_cleartext = yes
auth_mechanisms = plain
first_valid_uid = {uid}
last_valid_uid = {uid}
first_valid_gid = {gid}
mail_driver = maildir
mail_path = ~/Maildir
mailbox_list_layout = maildir++
mail_plugins {{
  quota = yes
}}
protocol imap {{
  mail_plugins {{
    imap_quota = yes
  }}
}}
namespace inbox {{
  inbox = yes
  separator = /
}}
passdb static {{
  fields {{
    nopassword = y
  }}
}}
userdb static {{
  userdb_static_allow_all_users = yes
  fields {{
    uid = {uid}
    gid = {gid}
    home = {folder}/home/%{{user | lower}}
  }}
}}
quota "User quota" {{
  driver = maildir
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
protocol lmtp {{
  postmaster_address = postmaster@example.com
}}
service lmtp {{
  inet_listener lmtp {{
    listen = 127.0.0.1
    port = {lmtp}
  }}
}}
""",
}


@dataclass(frozen=True, slots=True)
class Dovecot:
    """A running one; any password is right."""

    port: int
    log: Path

    @contextlib.contextmanager
    def imap(self, user: str) -> Iterator[imaplib.IMAP4]:
        with imaplib.IMAP4("127.0.0.1", self.port, timeout=30) as client:
            client.login(user, "any")
            yield client


@contextlib.contextmanager
def dovecot(lmtp: int) -> Iterator[Dovecot]:
    """Hear LMTP on that port, serve IMAP on what came; the mailboxes belong to the stores' user."""
    who = pwd.getpwnam(STORE_USER)
    with open_folder("dovecot") as folder:
        (folder / "home").mkdir()
        shutil.chown(folder / "home", who.pw_uid, who.pw_gid)
        port, log = free_port(), folder / "dovecot.log"
        conf = folder / "dovecot.conf"
        conf.write_text(_CONFS[VERSION].format(folder=folder, uid=who.pw_uid, gid=who.pw_gid, imap=port, lmtp=lmtp))
        with daemon([DOVECOT, "-F", "-c", conf], log, port=port):
            yield Dovecot(port, log)


def fetch(client: imaplib.IMAP4, numbers: str, what: str) -> list[bytes]:
    """The answers' octets, literals with their heads."""
    kind, rows = client.fetch(numbers, what)
    assert kind == "OK", rows
    return [b"".join(row) if isinstance(row, tuple) else bytes(row or b"") for row in rows]


def found(client: imaplib.IMAP4, *criteria: str) -> list[str]:
    """The UIDs a search finds."""
    kind, rows = client.uid("SEARCH", *criteria)
    assert kind == "OK", rows
    return [] if rows[0] is None else rows[0].decode().split()


def move(client: imaplib.IMAP4, uids: str, folder: str) -> None:
    """Move messages as a mail program does: with MOVE where it is offered, else by a copy, and the originals away."""
    if b"MOVE" in client.capability()[1][0].split():
        assert client.uid("MOVE", uids, folder)[0] == "OK"
        return
    assert client.uid("COPY", uids, folder)[0] == "OK"
    client.uid("STORE", uids, "+FLAGS", r"(\Deleted)")
    client.uid("EXPUNGE", uids)


def body_of(client: imaplib.IMAP4, uid: str) -> bytes:
    """A whole message; it is seen from then on."""
    kind, rows = client.uid("FETCH", uid, "(BODY[])")
    assert kind == "OK", rows
    octets: bytes = rows[0][1]
    return octets
