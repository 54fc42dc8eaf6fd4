"""The native service of `posthouse init store|full --native`: UNIX mailboxes, and the clauses that lead there."""

from dataclasses import dataclass
from pathlib import Path

from posthouse.cli.init_arguments import NO_INPUT, Listener, interface_line, listener_of, refuse

NATIVE_CLAUSES = (
    "#*native=@$X.LMTPN:$M+$2S@native-daemon", "#*unix=@$X.LMTPN:$M@native-daemon", "#&*file=@$X.LMTPN:+$F@native-daemon"
)  # fmt: skip
"""clauses of DELIVERY_OPTIONS for UNIX mailboxes behind the stores' native service (imta-cnf 3.3)"""


@dataclass(frozen=True, slots=True)
class Native:
    """The native service of a store."""

    listener: Listener
    spool: Path
    passwd: Path | None
    files: Path | None

    @property
    def folders(self) -> tuple[tuple[Path, bool], ...]:
        """Folders to make where they are missing, and whether all users' mailboxes are in it."""
        return ((self.spool, True), *(((self.files, False),) if self.files else ()))


def native_of(text: str | None, spool: Path | None, passwd: Path | None, files: Path | None) -> Native | None:
    """The service that was asked for."""
    if text is None:
        if spool or passwd or files:
            raise refuse("--native-spool, --native-passwd and --native-files need --native ADDRESS:PORT")
        return None
    native = listener_of(text, "--native")
    if passwd is not None and not passwd.is_file():
        raise refuse(f"--native-passwd {passwd}: no such file", NO_INPUT)
    spool = (spool or Path("/var/mail")).absolute()
    return Native(native, spool, passwd.absolute() if passwd else None, files.absolute() if files else None)


def native_words(service: Native | None) -> dict[str, str]:
    """What the templates say about the native service; commented out where there is none."""
    off = "" if service else "!"
    section = (
        "[SERVICE=LMTPSN]",
        f"PORT={service.listener.port if service else 226}",
        "IMAGE=IMTA_BIN:tcp_lmtpn_server",
        "LOGFILE=IMTA_LOG:tcp_lmtpsn_server.log",
        "PARAMETER=CHANNEL=tcp_lmtpsn",
        "STACKSIZE=2048000",
        *([interface_line(service.listener)] if service else []),
    )
    files = f"native.files = {service.files}" if service and service.files else "! native.files = /var/spool/mailfiles"
    passwd = f"native.passwd = {service.passwd}" if service and service.passwd else "! native.passwd = /etc/passwd"
    return {
        "native_shipped": "" if service else ": commented out as shipped",
        "native_service": "\n".join(off + line for line in section),
        "native_channel": f"{off}tcp_lmtpsn lmtp flagtransfer logging\n{off}tcp_lmtpsn-daemon",
        "native_spool": f"native.spool = {service.spool}" if service else "! native.spool = /var/mail",
        "native_passwd": passwd,
        "native_files": files,
    }
