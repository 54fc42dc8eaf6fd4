"""What `posthouse init relay` writes about clients: `--submission`, `--internal`, `--tls-certificate`, `--tls-key`.

    certificate    every service offers STARTTLS; on the SMTP service users may log in, their mail comes in on tcp_auth
    submission     the service SMTP_SUBMIT on channel tcp_submit: nothing without a login, missing header fields are added
    internal       clients with these addresses come in on tcp_intranet, through which they may send anywhere

Without them the words of the templates are empty or comments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Clients:
    """What was asked for, checked.

    Args:
        certificate: PEM file, or None.
        key: PEM file, or None where the certificate's has it.
        submission: lines for port and interface, or none.
        internal: patterns of addresses (mappings.md 2).
        store_port: where stores that are whole MTAs take SMTP, None where there are none.
    """

    certificate: Path | None
    key: Path | None
    submission: tuple[str, ...]
    internal: Sequence[str]
    store_port: int | None = None

    def words(self) -> dict[str, str]:
        """What the templates have for them."""
        secured = self.certificate is not None
        switches = "switchchannel" if self.internal else "noswitchchannel"
        login = " maytlsserver maysaslserver saslswitchchannel tcp_auth" if secured else ""
        return {
            "tls": self._certificate(),
            "submission_service": self._service(),
            "local_keywords": f"{switches}{login}",
            "client_channels": self._channels(login),
            "internal_rule": "[]      $E$R${INTERNAL_IP,$L}$U%[$L]@tcp_intranet-daemon\n" if self.internal else "",
            "internal_table": self._table(),
        }

    def _certificate(self) -> str:
        if self.certificate is None:
            return "!TLS_CERTIFICATE=relay.pem"
        key = f"\nTLS_KEY={self.key.absolute()}" if self.key is not None else ""
        return f"TLS_CERTIFICATE={self.certificate.absolute()}{key}"

    def _service(self) -> str:
        off = "" if self.submission else "!"
        lines = (
            "[SERVICE=SMTP_SUBMIT]",
            *(self.submission or ("PORT=587",)),
            "IMAGE=IMTA_BIN:tcp_smtp_server",
            "LOGFILE=IMTA_LOG:tcp_submit_server.log",
            "PARAMETER=CHANNEL=tcp_submit",
            "STACKSIZE=2048000",
        )
        return "\n".join(off + line for line in lines)

    def _channels(self, login: str) -> str:
        blocks = []
        if self.internal or self.store_port is not None:
            to = f"nodns port {self.store_port}" if self.store_port is not None else "mx"
            why = ["mail to stores that are whole MTAs"] if self.store_port is not None else []
            why += ["mail from our own machines (INTERNAL_IP in mappings)"] if self.internal else []
            blocks.append(f"""\
! tcp_intranet: {", ".join(why)}
tcp_intranet smtp {to} single_sys allowswitchchannel{login} subdirs 20 maxjobs 7 pool SMTP_POOL
tcp_intranet-daemon
""")
        if login:
            blocks.append("""\
! tcp_auth: mail from users who have logged in on the SMTP port
tcp_auth smtp mx single_sys mustsaslserver subdirs 20 maxjobs 7 pool SMTP_POOL
tcp_auth-daemon
""")
        if self.submission:
            blocks.append("""\
! tcp_submit: users' mail programs
tcp_submit smtp mx single_sys submit maytlsserver mustsaslserver subdirs 20 maxjobs 7 pool SMTP_POOL
tcp_submit-daemon
""")
        return "".join(f"{block}\n" for block in blocks)

    def _table(self) -> str:
        if not self.internal:
            return ""
        entries = "".join(f"  {pattern}      $Y\n" for pattern in self.internal)
        why = "! Our own machines, by their addresses: mail of theirs comes in on tcp_intranet"
        return f"\n{why}\nINTERNAL_IP\n\n{entries}  *      $N\n"
