"""docs/migration.md with real processes: files as the old product's relay has them, the page's own commands, then mail."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.journey_mail import Ledger, connect, reconcile, wait_delivered
from support.machines import Kind, Machines, drained, machines

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"

IMTA_CNF = r"""! VERSION=1.1
!
! part I : rewrite rules
!
$*	$A$E$F$U%$H$V$H@relay1.example.com
relay1.example.com	$U%$D@relay1.example.com
!
! lmtp
.lmtp	$E$F$U%$H.lmtp@lmtpcs-daemon
.lmtp	$B$F$U%$H@$H@lmtpcs-daemon
!
! Do mapping lookup for internal IP addresses
[]	$E$R${INTERNAL_IP,$L}$U%[$L]@tcp_intranet-daemon
.example.com	$U%$H.example.com@tcp_intranet-daemon
!
! bitbucket
bitbucket	$E$U%bitbucket.relay1.example.com@bitbucket-daemon
!
</opt/SUNWmsgsr/config/internet.rules
.	$U%$H@tcp-daemon

defaults logging notices 1 2 4 7 copywarnpost copysendpost postheadonly noswitchchannel immnonurgent maxjobs 7 \
 defaulthost example.com example.com

! the local channel
l subdirs 20 viaaliasrequired maxjobs 7 pool LOCAL_POOL
relay1.example.com

TCP_LOCAL smtp mx single_sys remotehost inner switchchannel identnonenumeric subdirs 20 maxjobs 7 pool SMTP_POOL \
 maytlsserver maysaslserver saslswitchchannel tcp_auth missingrecipientpolicy 0 slave_debug sourcespamfilter1optin spam
tcp-daemon

tcp_intranet smtp mx single_sys subdirs 20 noreverse maxjobs 7 pool SMTP_POOL maytlsserver allowswitchchannel
tcp_intranet-daemon

tcp_auth smtp mx single_sys mustsaslserver noswitchchannel missingrecipientpolicy 4
tcp_auth-daemon

tcp_lmtpcs defragment lmtp multigate connectcanonical \
 fileinto @$4O:$U+$S@$D \
 port {port} nodns single_sys \
 subdirs 20 maxjobs 7 pool SMTP_POOL dequeue_removeroute
lmtpcs-daemon

process
process-daemon

reprocess
reprocess-daemon

hold
hold-daemon

bitbucket
bitbucket-daemon
"""
RULES = "! Ascension Island\n.AC  $U%$H$D@TCP-DAEMON\n.net\t$U%$H$D@TCP-DAEMON\n"
OPTION_DAT = r"""! VERSION=1.1
ALIAS_URL0=ldap:///$V?*?sub?$R
REVERSE_URL=ldap:///$V?$N?sub?$R
USE_REVERSE_DATABASE=4
MAX_HEADER_BLOCK_USE=0.5
SPAMFILTER1_LIBRARY=/opt/SUNWmsgsr/lib/libspamass.so
SPAMFILTER1_CONFIG_FILE=/opt/SUNWmsgsr/config/spamassassin.opt
LOG_MESSAGE_ID=1
LOG_CONNECTION=3
DELIVERY_OPTIONS=\
    #*mailbox=@$X.LMTP:$M%$\$2I$_+$2S@lmtpcs-daemon,\
    #&members=*,\
    #&@members_offline=*,\
    #/hold=@hold-daemon:$A,\
    #program=$M%$P@pipe-daemon,\
    #forward=**,\
    #*^!autoreply=$M+$D@bitbucket
"""
MAPPINGS = """! VERSION=1.1
PORT_ACCESS

  *|*|*|*|*  $C$|INTERNAL_IP;$3|$Y$E
  TCP|*|25|*|*  $C$[IMTA_LIB:dns_verify.so,dns_verify_domain_port,$1,list.example.net,no]$N$E
  *  $YEXTERNAL

INTERNAL_IP

  $(192.0.2.0/24)  $Y
  127.0.0.1  $Y
  *  $N

ORIG_SEND_ACCESS

  tcp_local|*|tcp_local|*  $NRelaying$ not$ permitted
  tcp_*|*|hold|*  $N

CHARSET-CONVERSION

  IN-CHAN=*;OUT-CHAN=*;CONVERT  No
"""
ALIASES = """! VERSION=1.1
postmaster@example.com: postmaster@relay1.example.com
postmaster: user1@example.com
both@example.com: user0@example.com, \\
user1@example.com
"""
JOB_CONTROLLER = """! VERSION=1.1
tcp_port=27442
secret=never mind
slave_command=NULL
max_life_age=3600
[POOL=DEFAULT]
job_limit=10
[POOL=LOCAL_POOL]
job_limit=10
[POOL=SMTP_POOL]
job_limit=10
[CHANNEL=l]
master_command=IMTA_BIN:l_master
[CHANNEL=process]
master_command=IMTA_BIN:reprocess
[CHANNEL=reprocess]
master_command=IMTA_BIN:reprocess
[CHANNEL=hold]
master_command=IMTA_BIN:reprocess
[CHANNEL=bitbucket]
master_command=IMTA_BIN:bitbucket
[CHANNEL=tcp_*]
anon_host=0
master_command=IMTA_BIN:tcp_smtp_client
[PERIODIC_JOB=return]
command=IMTA_BIN:return_job
time=00:30/24:00
"""
TOLD = [
    "imta.cnf: keyword sourcespamfilter1optin on tcp_local does nothing",
    "option.dat: SPAMFILTER1_LIBRARY=/opt/SUNWmsgsr/lib/libspamass.so: mail is not scanned",
    "job_controller.cnf: option ANON_HOST is not supported and does nothing",
    "dispatcher.cnf: service SMTP: nobody can log in: neither TLS_CERTIFICATE nor AUTH_IN_CLEAR=1",
    "mappings: table PORT_ACCESS: this entry never applies: site routine dns_verify.so dns_verify_domain_port is not built in",
    "mappings: table CHARSET-CONVERSION is not asked: messages go on as they came",
]


def commands(title: str) -> list[str]:
    """The lines of a chapter's commands, continued ones joined."""
    chapter = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = re.sub(r"\\\n\s*", "", "\n".join(line[4:] for line in chapter.splitlines() if line.startswith("    ")))
    return lines.splitlines()


def old_files(folder: Path, tiers: Machines) -> None:
    """What the administrator has: with the line ends of the machine it was copied through."""
    folder.mkdir()
    files = {
        "imta.cnf": IMTA_CNF.replace("{port}", str(tiers.lmtp_port)), "internet.rules": RULES, "option.dat": OPTION_DAT,
        "mappings": MAPPINGS, "aliases": ALIASES, "job_controller.cnf": JOB_CONTROLLER,
        "tcp_local_option": "ALLOW_TRANSACTIONS_PER_SESSION=20\nINITIAL_COMMAND=\nTRACE_LEVEL=2\n",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text, newline="\r\n")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with the command of this checkout."""
    command = tmp_path / "bin" / "posthouse"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m posthouse.cli "$@"\n')
    command.chmod(0o755)
    return f"{command.parent}:{os.environ['PATH']}"


def run(line: str, tiers: Machines, root: Path, path: str) -> subprocess.CompletedProcess[str]:
    here = {
        "/srv/relay1": str(tiers.relay.folder), "/srv/store1": str(tiers.store("store1").folder), "john.doe@": "user0@",
        "|225|192.0.2.1|": f"|{tiers.lmtp_port}|127.0.0.1|",
    }  # fmt: skip
    for there, instead in here.items():
        line = line.replace(there, instead)
    environment = {**os.environ, "PATH": path}
    return subprocess.run(["bash", "-c", line], cwd=root, env=environment, text=True, capture_output=True, check=False)


def test_a_relay_and_a_store_made_of_the_old_files(tmp_path: Path, path: str) -> None:
    with machines(tmp_path, {"store1": Kind.LMTP}, users=2, start=False) as tiers:
        old_files(tmp_path / "old", tiers)
        said = {}
        for line in (*commands("A relay"), *commands("A store")):
            if not line.startswith("posthouse init "):  # the instances are there
                said[line] = run(line, tiers, tmp_path, path)
        codes = {line: done.returncode for line, done in said.items()}
        assert {line: (code, said[line].stderr) for line, code in codes.items() if code and "example.net" not in line} == {}
        check = said["posthouse check --instance /srv/relay1"]
        assert check.stdout == ""
        told = [re.sub(r"^config/([\w.]+):\d+", r"\1", line) for line in check.stderr.splitlines() if "IMTA_USER" not in line]
        assert len(told) == len(TOLD)
        assert all(line.startswith(start) for line, start in zip(told, TOLD, strict=True))
        routed = {line.split()[2]: done.stdout for line, done in said.items() if line.startswith("posthouse route")}
        assert "tcp_lmtpcs  @store1.example.com.lmtp:user0@lmtpcs-daemon" in routed["john.doe@example.com"]
        assert routed["someone@example.net"].startswith("refuse: 550 5.7.1 Relaying not permitted")
        assert [done.stdout.splitlines()[-1] for line, done in said.items() if " mapping " in line] == ["Output flags: Y"] * 2

        tiers.start()
        ledger = Ledger()
        with connect(tiers.relay) as client:
            ledger.send(client, ["user0", "user1"])
        wait_delivered(ledger, list(tiers.stores.values()))
        drained(tiers)
        assert reconcile(ledger, tiers.stores.values()).check().duplicates == 0
        assert "refuse" not in tiers.relay.command("route", "both@example.com").stdout
        assert "user1@lmtpcs-daemon" in tiers.relay.command("route", "postmaster@example.com").stdout
