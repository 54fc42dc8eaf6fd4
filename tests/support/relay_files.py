"""A relay's configuration files as the chapter prints them, written to a folder and loaded."""

from collections.abc import Mapping
from pathlib import Path

from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.rules import compile as compile_rules

RULES = r"""
! rewrite rules of the relay
$*      $A$E$F$U%$H$V$H@relay1.example.com
relay1.example.com   $U%$D@relay1.example.com
! lmtp
.lmtp   $E$F$U%$H.lmtp@lmtpcs-daemon
.lmtp   $B$F$U%$H@$H@lmtpcs-daemon
.example.com   $U%$H.example.com@tcp_intranet-daemon
.       $U%$H@tcp-daemon
""".lstrip()

CHANNELS = r"""
defaults logging notices 1 2 4 7 copysendpost postheadonly

l
relay1.example.com

tcp_local smtp mx single_sys subdirs 20 maxjobs 7 pool SMTP_POOL
tcp-daemon

tcp_intranet smtp mx single_sys subdirs 20 maxjobs 7 pool SMTP_POOL
tcp_intranet-daemon

tcp_lmtpcs defragment lmtp multigate connectcanonical fileinto @$4O:$U+$S@$D \
    port 225 nodns single_sys subdirs 20 maxjobs 7 pool SMTP_POOL dequeue_removeroute
lmtpcs-daemon

ims-ms defragment subdirs 20
ims-ms-daemon

process
process-daemon

reprocess
reprocess-daemon

pipe
pipe-daemon

hold
hold-daemon

bitbucket
bitbucket
""".lstrip()

OPTIONS = r"""
LDAP_LOCAL_HOST=relay1.example.com
LDAP_DEFAULT_DOMAIN=example.com
LDAP_USER_ROOT=o=usergroup
! Modified DELIVERY_OPTIONS to activate LMTP
DELIVERY_OPTIONS=\
    #*mailbox=@$X.LMTP:$M%$\$2I$_+$2S@lmtpcs-daemon,\
    #&members=*,\
    #&@members_offline=*,\
    #/hold=@hold-daemon:$A,\
    #program=$M%$P@pipe-daemon,\
    #forward=**,\
    #*^!autoreply=$M+$D@bitbucket
""".lstrip()

MAPPINGS = """
ORIG_SEND_ACCESS

! outside to outside
  tcp_local|*|tcp_local|*      $NRelaying$ not$ permitted
! nobody may name the delivery channels directly
  tcp_*|*|native|*             $N
  tcp_*|*|hold|*               $N
  tcp_*|*|pipe|*               $N
  tcp_*|*|ims-ms|*             $N
! ours
  tcp_*|*|tcp_lmtp*|*          $NRelaying$ not$ permitted
""".lstrip()

DISPATCHER = """
[SERVICE=SMTP]
PORT=2525
IMAGE=IMTA_BIN:tcp_smtp_server
LOGFILE=IMTA_LOG:tcp_smtp_server.log
PARAMETER=CHANNEL=tcp_local
""".lstrip()


def relay_configuration(
    folder: Path,
    *,
    rules: str = RULES,
    channels: str = CHANNELS,
    options: str = OPTIONS,
    mappings: str = MAPPINGS,
    more: Mapping[str, str] | None = None,
) -> Configuration:
    """Write the files below the folder and load them."""
    config = folder / "config"
    config.mkdir(parents=True, exist_ok=True)
    files = {
        "imta.cnf": f"{rules}\n{channels}",
        "option.dat": options,
        "mappings": mappings,
        "dispatcher.cnf": DISPATCHER,
        **(more or {}),
    }
    for name, text in files.items():
        (config / name).write_text(text)
    return load(Instance(folder))


def relay_rules(folder: Path, **files: str) -> Rules:
    """Rules of such a relay. Keywords as for relay_configuration; `aliases`, `general` are files of their own."""
    apart = {"aliases": "aliases", "general": "general.txt"}
    more: dict[str, str] = {file: files.pop(name) for name, file in apart.items() if name in files}
    return compile_rules(relay_configuration(folder, more=more, **files), chance=lambda: 0.0, clock=lambda: 0.0)
