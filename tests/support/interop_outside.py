"""Servers of the world that are not ours, taking mail for remote.test by SMTP: Postfix, Exim, smtp-sink; and a relay of ours."""

import contextlib
import shutil
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trustme

from posthouse.testing.tiers import RunningInstance, free_port, posthouse
from support.interop_daemon import daemon, open_folder
from support.interop_exim import EXIM
from support.interop_foreign import SMTP_SINK
from support.interop_postfix import POSTFIX
from support.interop_tiers import PEOPLE, STORE_USER

_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.remote.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/conf/access
smtpd_recipient_limit = 20
virtual_mailbox_domains = remote.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_minimum_uid = 1
smtp_dns_support_level = disabled
smtpd_tls_security_level = {tls}
smtpd_tls_received_header = yes
smtpd_tls_chain_files = {folder}/server.pem
message_size_limit = 300000
{more}
"""
_MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
tlsmgr unix - - n 1000? 1 tlsmgr
"""
_EXIM = """
exim_user = {user}
exim_group = {user}
exim_path = {exim}
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
primary_hostname = mx.remote.test
host_lookup =
rfc1413_hosts =
keep_environment =
local_interfaces = 127.0.0.1
smtp_accept_queue_per_connection = 0
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
dsn_advertise_hosts =
accept_8bitmime = false
acl_smtp_rcpt = rcpt
acl_smtp_data = data
begin acl
rcpt:
  deny local_parts = gone
       message = no such mailbox
  defer local_parts = full
        message = mailbox is full
  accept domains = remote.test
  deny message = relay not permitted
data:
  accept
begin routers
inbox:
  driver = accept
  transport = inbox
begin transports
inbox:
  driver = appendfile
  directory = {folder}/mail/all
  maildir_format
  user = {user}
  create_directory
"""


@dataclass(frozen=True, slots=True)
class Outside:
    """A server that is running."""

    folder: Path
    port: int
    authority: Path
    """PEM file of who signed its certificate"""

    def mailbox(self) -> list[bytes]:
        """Every message it delivered."""
        new = self.folder / "mail" / "all" / "new"
        return [path.read_bytes() for path in new.iterdir()] if new.is_dir() else []

    def log(self) -> str:
        path = self.folder / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""


def _certificate(folder: Path) -> Path:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("mx.remote.test", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return folder / "ca.pem"


@contextlib.contextmanager
def postfix_outside(*, tls: str = "may", more: str = "") -> Iterator[Outside]:
    """Postfix takes mail for remote.test; full@ is put off, gone@ refused."""
    import pwd

    with open_folder("outside") as folder:
        for name in ("queue", "data", "conf", "mail"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        who = pwd.getpwnam(STORE_USER)
        shutil.chown(folder / "mail", who.pw_uid, who.pw_gid)
        authority, port = _certificate(folder), free_port()
        main = _MAIN.format(folder=folder, uid=who.pw_uid, gid=who.pw_gid, tls=tls, more=more)
        (folder / "conf" / "main.cf").write_text(main)
        (folder / "conf" / "access").write_text("full@remote.test 450 mailbox is full\ngone@remote.test 550 no such mailbox\n")
        (folder / "conf" / "master.cf").write_text(_MASTER.format(port=port))
        command: list[str | Path] = [POSTFIX, "-c", folder / "conf"]
        with daemon([*command, "start-fg"], folder / "said", port=port, stop=[*command, "stop"]):
            yield Outside(folder, port, authority)


@contextlib.contextmanager
def exim_outside() -> Iterator[Outside]:
    """Exim takes mail for remote.test, without 8BITMIME and DSN; full@ is put off, gone@ refused."""
    with open_folder("outside") as folder:
        for name in ("spool", "log", "mail"):
            (folder / name).mkdir()
            shutil.chown(folder / name, STORE_USER, STORE_USER)
        authority, port = _certificate(folder), free_port()
        shutil.chown(folder / "server.pem", STORE_USER, STORE_USER)
        (folder / "exim.conf").write_text(_EXIM.format(user=STORE_USER, exim=EXIM, folder=folder, port=port))
        with daemon([EXIM, "-C", folder / "exim.conf", "-bdf", "-q1h"], folder / "said", port=port):
            yield Outside(folder, port, authority)


@contextlib.contextmanager
def sink_outside(*options: str) -> Iterator[Outside]:
    """Postfix's smtp-sink, with the options that make it misbehave."""
    with open_folder("outside") as folder:
        new = folder / "mail" / "all" / "new"
        new.mkdir(parents=True)
        shutil.chown(new, "postfix")
        port = free_port()
        sink = [SMTP_SINK, *options, "-u", "postfix", "-d", f"{new}/%H%M%S.", f"127.0.0.1:{port}", "100"]
        with daemon(sink, folder / "said", port=port):
            yield Outside(folder, port, folder / "ca.pem")


@contextlib.contextmanager
def relay_towards(outside: Outside, *, keywords: str = "", option: str = "") -> Iterator[RunningInstance]:
    """A relay of ours made with --route; its clients may send to remote.test."""
    with open_folder("relay") as root:
        smtp = free_port()
        posthouse(
            "init", "relay", str(root / "relay1"), "--smtp", f"127.0.0.1:{smtp}", "--host", "relay1.example.com",
            "--default-domain", "example.com", "--ldif", str(PEOPLE), "--route", f"remote.test=127.0.0.1:{outside.port}",
        )  # fmt: skip
        config = root / "relay1" / "config"
        mappings = (config / "mappings").read_text()
        (config / "mappings").write_text(mappings.replace("  tcp_local|*|tcp_*|*          $NRelaying$ not$ permitted\n", ""))
        rules = (config / "imta.cnf").read_text()
        (config / "imta.cnf").write_text(rules.replace(" nodns subdirs", f" nodns {keywords} subdirs"))
        (config / "tcp_route1_option").write_text(option)
        relay = RunningInstance(root / "relay1", "127.0.0.1", smtp)
        relay.start()
        try:
            yield relay
        finally:
            relay.stop()


def client_of(relay: RunningInstance) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", relay.port, local_hostname="outside.test", timeout=30)
