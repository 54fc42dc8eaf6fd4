"""The peers, each started by hand from a configuration written here, on loopback, and stopped by pid.

Dovecot's LMTP with maildir quota; Postfix as a relay with its users and routes in LDAP (`in_flow_delay=0`); slapd; and the
sink that takes what relays deliver (`sink.c`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import DOMAIN, Group, compiled, free_port, wait_port
from posthouse.cli.store.dovecot_versions import installed_version

UID = 5000
BASE = "o=usergroup"


class Missing(Exception):  # noqa: N818 -- says what was found
    """A peer is not installed; the text says what to install."""


def need(path: str, package: str) -> str:
    if not Path(path).exists() and shutil.which(path) is None:
        raise Missing(f"{path} is missing: apt-get install {package}")
    if os.geteuid() != 0:
        raise Missing(f"{path} must be started as root here")
    return path


class Server(ABC):
    """A peer in a folder of its own."""

    name = ""

    def __init__(self, root: Path) -> None:
        self.folder = root / self.name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.port = free_port()
        self.address = "127.0.0.1"
        self.group = Group(self.name)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
        return path

    def start(self) -> None:
        self.launch()
        wait_port(self.port)

    @abstractmethod
    def launch(self) -> None:
        """Write the configuration and start the process."""

    def stop(self) -> None:
        self.group.stop()


class Dovecot(Server):
    name = "dovecot"

    def launch(self) -> None:
        binary = need("/usr/sbin/dovecot", "dovecot-core dovecot-lmtpd")
        if (version := installed_version()) != "2.3":
            raise Missing(f"this is Dovecot {version}: it is measured with a configuration for 2.3 (Debian 12)")
        folder = self.folder
        mail = folder / "mail"
        mail.mkdir(exist_ok=True)
        os.chown(mail, UID, UID)
        conf = self.write(
            "dovecot.conf",
            f"""
base_dir = {folder}/run
state_dir = {folder}/run
instance_name = bench
log_path = {folder}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
auth_mechanisms = plain
first_valid_uid = {UID}
last_valid_uid = {UID}
mail_location = maildir:~/Maildir
mail_fsync = optimized
mail_plugins = quota
mail_log_prefix = "%s(%u): "
protocol lmtp {{
  mail_plugins = quota
  postmaster_address = postmaster@{DOMAIN}
}}
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={UID} gid={UID} home={folder}/mail/%n allow_all_users=yes
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage=4G
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
""",
        )
        self.group.popen([binary, "-F", "-c", str(conf)])


class Slapd(Server):
    name = "slapd"

    def __init__(self, root: Path, users: int, host: str, more: str = "") -> None:
        super().__init__(root)
        self._users = users
        self._host = host
        self._more = more
        self.store_port = free_port()

    @property
    def uri(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def store_uri(self) -> str:
        """The same directory at another port, where stores ask it: so that their searches can be told from the relay's."""
        return f"ldap://127.0.0.1:{self.store_port}"

    def asked(self) -> dict[str, int]:
        """Operations of the connections that are open now, by the port they were made to."""
        import ldap

        found = {"relay": 0, "store": 0}
        directory = ldap.initialize(self.uri)
        wanted = ["monitorConnectionListener", "monitorConnectionOpsCompleted", "monitorConnectionPeerAddress"]
        entries = directory.search_s("cn=Connections,cn=Monitor", ldap.SCOPE_SUBTREE, "(objectClass=monitorConnection)", wanted)
        for _, attributes in entries:
            if "monitorConnectionListener" in attributes:
                tier = "store" if str(self.store_port).encode() in attributes["monitorConnectionListener"][0] else "relay"
                found[tier] += int(attributes["monitorConnectionOpsCompleted"][0])
        directory.unbind_s()
        return found

    def launch(self) -> None:
        binary = need("/usr/sbin/slapd", "slapd")
        folder = self.folder
        database = folder / "db"
        schema = self.write("product.schema", _SCHEMA)
        conf = self.write(
            "slapd.conf",
            f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include {schema}
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
pidfile {folder}/slapd.pid
loglevel none
threads 4
database config
database mdb
suffix "{BASE}"
directory {database}
maxsize 268435456
index objectClass eq
index mail,mailAlternateAddress,mailEquivalentAddress,sunPreferredDomain,associatedDomain,uid eq
access to * by * read
database monitor
access to * by * read
""",
        )
        if not database.exists():
            database.mkdir()
            top = f"dn: {BASE}\nobjectClass: organization\no: usergroup\n\n"
            ldif = self.write("users.ldif", top + people(DOMAIN, self._users, [self._host]) + self._more)
            subprocess.run(
                ["/usr/sbin/slapadd", "-q", "-f", str(conf), "-b", BASE, "-l", str(ldif)], check=True, capture_output=True
            )
        self.group.popen([binary, "-d", "0", "-f", str(conf), "-h", f"{self.uri} {self.store_uri}"])


_SCHEMA = "".join(
    f"attributetype ( 1.3.6.1.4.1.99999.1.{number} NAME '{name}' EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )\n"
    for number, name in enumerate(
        ["mailHost", "mailAlternateAddress", "mailEquivalentAddress", "mailDeliveryOption", "mailQuota", "mailUserStatus",
         "inetUserStatus", "sunPreferredDomain", "mailRoutingAddress", "mailSieveRuleSource", "mgrpErrorsTo"], 1)
) + """
objectclass ( 1.3.6.1.4.1.99999.2.1 NAME 'inetMailUser' SUP top AUXILIARY
  MAY ( mailDeliveryOption $ mailQuota $ mailUserStatus $ mailSieveRuleSource ) )
objectclass ( 1.3.6.1.4.1.99999.2.2 NAME 'inetLocalMailRecipient' SUP top AUXILIARY
  MAY ( mail $ mailAlternateAddress $ mailEquivalentAddress $ mailHost $ mailRoutingAddress ) )
objectclass ( 1.3.6.1.4.1.99999.2.3 NAME 'sunManagedOrganization' SUP top AUXILIARY MAY ( sunPreferredDomain $ associatedDomain ) )
objectclass ( 1.3.6.1.4.1.99999.2.4 NAME 'inetMailGroup' SUP top AUXILIARY MAY ( mailDeliveryOption $ mgrpErrorsTo ) )
"""  # fmt: skip


def people(domain: str, users: int, hosts: Sequence[str], *more: str) -> str:
    """A domain and its users u00000 ..., on these hosts in turn, each with further lines."""
    parts = [
        f"dn: o={domain},{BASE}\nobjectClass: organization\nobjectClass: sunManagedOrganization\no: {domain}\n"
        f"sunPreferredDomain: {domain}\n",
    ]
    parts += [
        f"dn: uid=u{n:05d},o={domain},{BASE}\nobjectClass: inetOrgPerson\nobjectClass: inetMailUser\n"
        f"objectClass: inetLocalMailRecipient\nuid: u{n:05d}\ncn: User {n}\nsn: {n}\nmail: u{n:05d}@{domain}\n"
        f"mailHost: {hosts[n % len(hosts)]}\nmailQuota: 1G\n" + "".join(line + "\n" for line in more)
        for n in range(users)
    ]
    return "\n".join(parts) + "\n"


def mailing_list(name: str, domain: str, members: int) -> str:
    """A list of the domain's users."""
    return (
        f"dn: cn={name},o={domain},{BASE}\nobjectClass: groupOfUniqueNames\nobjectClass: inetMailGroup\n"
        f"objectClass: inetLocalMailRecipient\ncn: {name}\nmail: {name}@{domain}\nmailDeliveryOption: members\n"
        f"mgrpErrorsTo: u00000@{domain}\n" + "".join(f"uniqueMember: uid=u{n:05d},o={domain},{BASE}\n" for n in range(members)) + "\n"
    )


class Sink(Server):
    """What stands for the stores: one listener for each, on 127.0.0.1, 127.0.0.2 ..., all with the same port."""

    name = "sink"

    def __init__(self, root: Path, stores: int = 1) -> None:
        super().__init__(root)
        self.addresses = [f"127.0.0.{number + 1}" for number in range(stores)]

    def launch(self) -> None:
        listeners = [word for address in self.addresses for word in (address, str(self.port))]
        self._process = self.group.popen([compiled("sink.c"), *listeners], stdout=subprocess.PIPE)
        if self._lines.readline() != b"ready\n":
            raise RuntimeError("the sink did not start")

    @property
    def _lines(self) -> Any:
        return self._process.stdout

    def since(self) -> dict[str, Any]:
        """What has come since this was asked last."""
        self._process.send_signal(signal.SIGUSR1)
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found


_SERVICES = """\
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
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd"""
"""of master.cf, without the one that listens"""


class Postfix(Server):
    """A relay: users and routes from slapd, one query for the address, one for its mailHost. Or a store, which asks no route.

    Args:
        slapd: the directory; uri: where it is asked, its own by default.
        target: next hop for all mail, e.g. lmtp:inet:127.0.0.1:24, or `virtual`: Maildirs of its own.
        routed: whether the next hop comes from the directory.
    """

    name = "postfix"

    def __init__(self, root: Path, slapd: Slapd, target: str, *, name: str = "postfix", uri: str = "", routed: bool = True) -> None:
        self.name = name
        super().__init__(root)
        self._uri = uri or slapd.uri
        self._target = target
        self._routed = routed

    def launch(self) -> None:
        need("/usr/sbin/postfix", "postfix postfix-ldap")
        if not Path("/usr/lib/postfix/postfix-ldap.so").exists():
            raise Missing("postfix has no LDAP: apt-get install postfix-ldap")
        folder = self.folder
        for name in ("queue", "data", "log", "mail"):
            (folder / name).mkdir(exist_ok=True)
        os.chown(folder / "mail", UID, UID)
        subprocess.run(["chown", "postfix", str(folder / "data")], check=True)
        query = f"server_host = {self._uri}\nversion = 3\nsearch_base = {BASE}\nquery_filter = (mail=%s)\nbind = no\n"
        self.write("users.ldap.cf", query + "result_attribute = uid\nresult_format = %s/Maildir/\n")
        self.write(
            "route.ldap.cf", query + f"result_attribute = mailHost\nresult_format = {self._target}\n"
        )
        self.write(
            "conf/main.cf",
            f"""
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = relay.bench.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
in_flow_delay = 0
smtpd_peername_lookup = no
smtpd_relay_restrictions = reject_unauth_destination
smtpd_client_restrictions =
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = ldap:{folder}/users.ldap.cf
virtual_mailbox_base = {folder}/mail
virtual_mailbox_limit = 0
virtual_uid_maps = static:{UID}
virtual_gid_maps = static:{UID}
virtual_minimum_uid = 100
virtual_transport = {self._target}
{f"transport_maps = ldap:{folder}/route.ldap.cf" if self._routed else ""}
message_size_limit = 20971520
smtp_dns_support_level = disabled
smtp_host_lookup = native
lmtp_host_lookup = native
smtp_tls_security_level = none
lmtp_tls_security_level = none
smtpd_tls_security_level = none
notify_classes =
""",
        )
        self.write("conf/master.cf", f"127.0.0.1:{self.port} inet n - n - - smtpd\n{_SERVICES}\n")
        self.group.popen(["/usr/sbin/postfix", "-c", str(folder / "conf"), "start-fg"])

    def stop(self) -> None:
        """By its own command: the master leaves the process group it was started in."""
        subprocess.run(["/usr/sbin/postfix", "-c", str(self.folder / "conf"), "stop"], check=False, capture_output=True)
        super().stop()

    def drain(self, seconds: float = 180) -> None:
        """Wait until nothing is left to deliver."""
        end = time.monotonic() + seconds
        queues = [self.folder / "queue" / name for name in ("incoming", "active", "maildrop")]
        while any(files for queue in queues for _, _, files in os.walk(queue)):
            if time.monotonic() > end:
                raise RuntimeError("postfix has not delivered everything")
            time.sleep(0.01)
