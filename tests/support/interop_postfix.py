"""Postfix as a relay of its own: SMTP in, LMTP out, configured by hand in a temporary folder."""

import contextlib
import re
import shutil
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from posthouse.testing.tiers import free_port
from support.interop_daemon import daemon, open_folder, run

POSTFIX = shutil.which("postfix") or "/usr/sbin/postfix"
_MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.peer.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
virtual_mailbox_domains = example.com
virtual_transport = lmtp:inet:{store}
default_transport = discard:
smtp_dns_support_level = disabled
lmtp_host_lookup = native
lmtp_tls_security_level = none
smtpd_tls_security_level = none
notify_classes =
minimal_backoff_time = 600s
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
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
smtp unix - - n - - smtp
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Postfix:
    """A running one that takes mail for example.com."""

    folder: Path
    port: int

    def smtp(self) -> smtplib.SMTP:
        return smtplib.SMTP("127.0.0.1", self.port, local_hostname="outside.test", timeout=30)

    def outcomes(self, recipient: str) -> list[tuple[str, str]]:
        """What its LMTP client logged of a recipient, in order: (status, the reason in brackets)."""
        log = self.folder / "mail.log"
        text = log.read_text(errors="replace") if log.exists() else ""
        pattern = rf"postfix/[ls]mtp\[\d+\]: \w+: to=<{re.escape(recipient)}>,.* status=(\w+) \((.*)\)$"
        return re.findall(pattern, text, re.MULTILINE)

    def log(self) -> str:
        """Everything it has logged."""
        return (self.folder / "mail.log").read_text(errors="replace")

    def flush(self) -> None:
        """Try again what waits."""
        done = run([POSTFIX, "-c", self.folder / "conf", "flush"])
        assert done.returncode == 0, done.stderr


def _merged(text: str, more: str) -> str:
    names = {line.partition("=")[0].strip() for line in more.splitlines()}
    return "".join(f"{line}\n" for line in text.splitlines() if line.partition("=")[0].strip() not in names) + more


@contextlib.contextmanager
def postfix(store: str, more: str = "") -> Iterator[Postfix]:
    """Deliver to the store at ADDRESS:PORT; `more` are lines for main.cf, which count before ours."""
    with open_folder("postfix") as folder:
        for name in ("queue", "data", "conf"):
            (folder / name).mkdir()
        shutil.chown(folder / "data", "postfix")
        port = free_port()
        (folder / "conf" / "main.cf").write_text(_merged(_MAIN.format(folder=folder, store=store), more))
        (folder / "conf" / "master.cf").write_text(_MASTER.format(port=port))
        command: list[str | Path] = [POSTFIX, "-c", folder / "conf"]
        with daemon([*command, "start-fg"], folder / "said", port=port, stop=[*command, "stop"]):
            yield Postfix(folder, port)
