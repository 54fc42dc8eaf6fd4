"""Exim as a relay of its own: mail handed to its command line goes out by LMTP before the command ends."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.interop_daemon import open_folder, run
from support.interop_tiers import STORE_USER

EXIM = Path(__file__).parents[2] / ".deps-exim" / "usr" / "sbin" / "exim4"
_CONF = """
exim_user = {user}
exim_group = {user}
exim_path = {exim}
deliver_drop_privilege = true
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
log_selector = +smtp_confirmation
primary_hostname = relay.peer.test
local_interfaces = 127.0.0.1
host_lookup =
keep_environment =
begin routers
store:
  driver = accept
  domains = example.com
  transport = store
bounces:
  driver = redirect
  allow_fail
  data = :blackhole:
begin transports
store:
  driver = smtp
  protocol = lmtp
  hosts = {host}
  port = {port}
  allow_localhost
  hosts_override
  max_rcpt = 0
begin retry
* * F,1h,10m
"""


@dataclass(frozen=True, slots=True)
class Exim:
    """A folder of its own for queue and log."""

    folder: Path

    def _run(self, *words: str, given: bytes = b"") -> None:
        done = run([EXIM, "-C", self.folder / "exim.conf", *words], given=given)
        assert done.returncode == 0, done.stdout + done.stderr

    def send(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        """Take a message and try each recipient once."""
        self._run("-odf", "-oi", "-f", sender, "--", *recipients, given=message.replace(b"\r\n", b"\n"))

    def retry(self) -> None:
        """Try again what waits."""
        self._run("-qff")

    def outcome(self, recipient: str) -> list[str]:
        """Lines of its log on a recipient, from the mark on: `=>` and `->` delivered, `==` deferred, `**` failed."""
        found = []
        for line in (self.folder / "log" / "mainlog").read_text(errors="replace").splitlines():
            words = line.split(" ", 4)
            if len(words) == 5 and words[3] in {"=>", "->", "==", "**"} and words[4].startswith(recipient + " "):
                found.append(f"{words[3]} {words[4]}")
        return found


@contextlib.contextmanager
def exim(host: str, port: int) -> Iterator[Exim]:
    """One that delivers to this store."""
    with open_folder("exim") as folder:
        for name in ("spool", "log"):
            (folder / name).mkdir()
            shutil.chown(folder / name, STORE_USER, STORE_USER)
        (folder / "exim.conf").write_text(_CONF.format(user=STORE_USER, exim=EXIM, folder=folder, host=host, port=port))
        yield Exim(folder)
