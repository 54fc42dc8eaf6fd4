"""Our LMTP client in front of Dovecot's LMTP server: no xquota, no xdflg, mail arrives as it was accepted."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.cli.store.dovecot_versions import installed_version
from support.jobs_relay import BODY, JobsRelay

CONFS = {
    "2.3": """
base_dir = {d}/run
state_dir = {d}/run
log_path = {d}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
first_valid_uid = 5000
mail_location = maildir:~/Maildir
protocol lmtp {{
  postmaster_address = postmaster@example.com
}}
namespace inbox {{
  inbox = yes
}}
passdb {{
  driver = passwd-file
  args = {d}/users
}}
userdb {{
  driver = passwd-file
  args = {d}/users
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
""",
    "2.4": """
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = {d}/run
state_dir = {d}/run
log_path = {d}/dovecot.log
protocols = lmtp
listen = 127.0.0.1
ssl = no
first_valid_uid = 5000
mail_driver = maildir
mail_path = ~/Maildir
protocol lmtp {{
  postmaster_address = postmaster@example.com
}}
namespace inbox {{
  inbox = yes
}}
passdb passwd-file {{
  passwd_file_path = {d}/users
}}
userdb passwd-file {{
  passwd_file_path = {d}/users
}}
service lmtp {{
  inet_listener lmtp {{
    listen = 127.0.0.1
    port = {port}
  }}
}}
""",
}


@pytest.fixture
def dovecot(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    if shutil.which("dovecot") is None or os.geteuid() != 0:
        pytest.skip("needs dovecot-lmtpd and root")
    folder = Path(f"/var/tmp/posthouse-dovecot-{os.getpid()}")  # Dovecot's sockets need a short path, its users a way in
    (folder / "mail").mkdir(parents=True)
    folder.chmod(0o755)
    os.chown(folder / "mail", 5000, 5000)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    (folder / "users").write_text("".join(f"{user}:{{plain}}x:5000:5000::{folder}/mail/{user}\n" for user in ("bob", "jane")))
    (folder / "dovecot.conf").write_text(CONFS[installed_version()].format(d=folder, port=port))
    server = subprocess.Popen(["dovecot", "-F", "-c", str(folder / "dovecot.conf")], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield port, folder / "mail"
    server.terminate()
    server.wait(10)
    shutil.rmtree(folder)


def mails(folder: Path, user: str) -> list[bytes]:
    return [path.read_bytes() for path in (folder / user / "Maildir" / "new").glob("*")]


async def test_dovecot_takes_what_we_send(dovecot: tuple[int, Path], tmp_path: Path) -> None:
    port, folder = dovecot
    relay = await JobsRelay(tmp_path / "relay", port).start()
    try:
        big = b"Subject: big\r\n\r\n" + b".dotted line\r\n" * 3000
        await relay.put("bob", "jane", body=BODY)
        await relay.put("bob", body=big)
        await relay.put("bob", "nobody", sender="")
        await relay.empty()
        assert sorted(len(mails(folder, user)) for user in ("bob", "jane")) == [1, 3]
        unix = BODY.replace(b"\r\n", b"\n")
        assert mails(folder, "jane")[0].replace(b"\r\n", b"\n").endswith(unix)
        assert any(octets.replace(b"\r\n", b"\n").endswith(big.replace(b"\r\n", b"\n")) for octets in mails(folder, "bob"))
        assert [record["od"] for record in relay.records("K")] == ["rfc822;nobody@example.com"]
    finally:
        await relay.close()
