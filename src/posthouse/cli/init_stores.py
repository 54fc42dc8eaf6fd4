"""How mail gets from an instance of `posthouse init` to the stores, and what a machine has that is one itself.

lmtp    DELIVERY_OPTIONS of the LMTP chapter: `#*mailbox=@$X.LMTP:...`, channel tcp_lmtpcs
smtp    the default DELIVERY_OPTIONS: `@mailhost:user@domain` on channel tcp_intranet, looked up again on the store
both    LMTP, and SMTP for users with a program (no `#` on that clause) and for stores that general.txt does not name
"""

from collections.abc import Sequence
from dataclasses import dataclass

from posthouse.cli.init_arguments import Listener, interface_line
from posthouse.relay.routing.delivery_options import DEFAULT

_MAILBOX = "#*mailbox=@$X.LMTP:$M%$\\$2I$_+$2S@lmtpcs-daemon"
_OTHERS = ("#&members=*", "#&@members_offline=*", "#/hold=@hold-daemon:$A")
_LAST = ("#forward=**", "#*^!autoreply=$M+$D@bitbucket")
_AND_COMMENTED = ",\\\n!    "


@dataclass(frozen=True, slots=True)
class WayToStores:
    """What was asked for, checked."""

    host: str
    lmtp: bool
    lmtp_port: int
    smtp_port: int | None
    lmtp_stores: tuple[str, ...]
    native: tuple[str, ...]

    @property
    def general(self) -> str:
        """The file general.txt, empty for none."""
        if not self.lmtp_stores:
            return ""
        lines = "".join(f"lmtp|{name}     yes\n" for name in self.lmtp_stores)
        return f"! general.txt: stores that take LMTP; all others are sent mail by SMTP\n{lines}"

    def words(self, *, here: bool = False) -> dict[str, str]:
        """What the templates have for it; here: this machine has mailboxes too, which no LMTP leads to."""
        domain = self.host.partition(".")[2] or self.host
        rule = f"! Machines of ours: stores that are whole MTAs\n.{domain}   $U%$H.{domain}@tcp_intranet-daemon\n!\n"
        general = "!\n! general.txt says which stores take LMTP\nUSE_TEXT_DATABASES=1\n" if self.lmtp_stores else ""
        return {
            "lmtp_port": str(self.lmtp_port),
            "own_mailboxes": f"{self.host}.lmtp   $E$F$U%{self.host}.lmtp@ims-ms-daemon\n" if here and self.lmtp else "",
            "delivery_options": self._options() + "!\n" + general.removeprefix("!\n") if general else self._options(),
            "intranet_rule": rule if self.smtp_port is not None else "",
        }

    def _options(self) -> str:
        if not self.lmtp:
            return f"""\
! Where each delivery option sends mail: the default, which is this. A user's mailbox here by channel ims-ms; a user whose
! mailHost is another machine is sent there by SMTP, as @mailhost:user@domain, and looked up there.
!DELIVERY_OPTIONS=\\
!    {DEFAULT.replace(",", _AND_COMMENTED)}
"""
        program = "program=$M%$P@pipe-daemon" if self.smtp_port is not None else "#program=$M%$P@pipe-daemon"
        clauses = (_MAILBOX, *_OTHERS, program, *_LAST, *self.native)
        lines = ",\\\n    ".join(clauses)
        return f"""\
! Where each delivery option sends mail: mailboxes by LMTP to the user's mailHost.
! The blanks in front of each clause matter: a # in column 1 would be a comment.
DELIVERY_OPTIONS=\\
    {lines}
"""


def lmtp_service(listener: Listener | None) -> str:
    """The section of dispatcher.cnf; commented out, as shipped, where there is none."""
    off = "" if listener else "!"
    section = (
        "[SERVICE=LMTPSS]",
        f"PORT={listener.port if listener else 225}",
        "IMAGE=IMTA_BIN:tcp_lmtp_server",
        "LOGFILE=IMTA_LOG:tcp_lmtpss_server.log",
        "PARAMETER=CHANNEL=tcp_lmtpss",
        "STACKSIZE=2048000",
        *([interface_line(listener)] if listener else []),
    )
    return "\n".join(off + line for line in section)


def store_channels(*, lmtp: bool, native: bool) -> str:
    """Channel blocks of a machine with mailboxes."""
    blocks = """\
! ims-ms: mailboxes of this machine
ims-ms fileinto @$4O:$U+$S@$D subdirs 20 maxjobs 2 pool IMS_POOL dequeue_removeroute
ims-ms-daemon

"""
    if lmtp:
        blocks += "! tcp_lmtpss (LMTP server - store)\ntcp_lmtpss lmtp flagtransfer\ntcp_lmtpss-daemon\n\n"
    if native:
        blocks += "! tcp_lmtpsn (LMTP server - native)\ntcp_lmtpsn lmtp flagtransfer\ntcp_lmtpsn-daemon\n\n"
    return blocks


def relays_only(patterns: Sequence[str], ports: Sequence[int]) -> str:
    """Entries of PORT_ACCESS: anybody by SMTP, only the relays on these ports."""
    entries = [f"  TCP|*|{port}|{pattern}|*      $Y" for pattern in patterns for port in ports]
    entries += [f"  TCP|*|{port}|*|*      $N500$ Do$ not$ connect$ to$ this$ machine" for port in ports]
    return "\n".join([*entries, "  TCP|*|*|*|*      $Y"])
