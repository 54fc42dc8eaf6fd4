"""A relay without its SMTP side: an instance folder, a real job controller process, and an enqueuer in the test."""

import asyncio
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from posthouse.dialogue.stuffing import count_growth
from posthouse.journal.body_file import INLINE_LIMIT, BodyFile, BodyReference
from posthouse.journal.disk import LinuxDisk
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.relay.job_controller.client import Announcer, ControllerDown, request
from posthouse.relay.queue.enqueue import Enqueuer
from support.lmtp_sink import Sink
from support.transaction_log import log_records

RULES = r"""
$*      $A$E$F$U%$H$V$H@relay1.example.com
relay1.example.com   $U%$D@relay1.example.com
.lmtp   $E$F$U%$H.lmtp@lmtpcs-daemon
.lmtp   $B$F$U%$H@$H@lmtpcs-daemon
.       $U%$H@tcp-daemon

defaults logging notices {notices} backoff {backoff}

l
relay1.example.com

tcp_local smtp mx single_sys subdirs 20 maxjobs 7 pool SMTP_POOL
tcp-daemon

tcp_lmtpcs lmtp multigate connectcanonical port {port} nodns single_sys subdirs 20 maxjobs {maxjobs} pool SMTP_POOL \
    threaddepth {threaddepth} dequeue_removeroute {keywords}
lmtpcs-daemon

process subdirs 20
process-daemon

reprocess
reprocess-daemon

hold
hold-daemon

bitbucket
bitbucket
"""

OPTIONS = r"""
LDAP_LOCAL_HOST=relay1.example.com
LDAP_DEFAULT_DOMAIN=example.com
LDAP_USER_ROOT=o=usergroup
LDAP_DOMAIN_ROOT=o=usergroup
LDAP_LDIF_FILE=people.ldif
RETURN_UNITS={units}
DNS_SERVERS=127.0.0.1:9
LOG_FILENAME=1
LOG_MESSAGE_ID=1
LOG_CONNECTION=35
DELIVERY_OPTIONS=\
    #*mailbox=@$X.LMTP:$M%$\$2I$_+$2S@lmtpcs-daemon
"""

JOBS = """
[POOL=DEFAULT]
job_limit=10
[POOL=SMTP_POOL]
job_limit={job_limit}
[CHANNEL=process]
master_command=IMTA_BIN:reprocess
[CHANNEL=bitbucket]
master_command=IMTA_BIN:bitbucket
[CHANNEL=tcp_*]
master_command=IMTA_BIN:tcp_smtp_client
"""

LDIF = """
dn: o=usergroup
objectClass: organization
o: usergroup

dn: o=example.com,o=usergroup
objectClass: organization
objectClass: sunManagedOrganization
objectClass: sunNameSpace
o: example.com
sunPreferredDomain: example.com
inetDomainStatus: active
mailDomainStatus: active

dn: ou=People,o=example.com,o=usergroup
objectClass: organizationalUnit
ou: People

dn: uid=ann,ou=People,o=example.com,o=usergroup
objectClass: inetUser
objectClass: inetMailUser
objectClass: inetLocalMailRecipient
uid: ann
mail: ann@example.com
mailHost: store1.example.com
mailDeliveryOption: mailbox
inetUserStatus: active
mailUserStatus: active
"""

BODY = b"From: ann@example.com\r\nTo: bob@example.com\r\nSubject: hello\r\n\r\nHello\r\n.dot\r\n"
DISK = LinuxDisk()
NO_ROOM = "452 4.2.2 <{}> over quota"


class JobsRelay:
    """The instance and its processes."""

    def __init__(
        self,
        root: Path,
        port: int,
        *,
        hosts: str = "127.0.0.1 store1.example.com\n",
        backoff: str = '"pt1h"',
        notices: str = "3 6 9 12",
        units: int = 0,
        maxjobs: int = 7,
        threaddepth: int = 10,
        job_limit: int = 10,
        keywords: str = "",
        channel_option: str = "",
        mappings: str = "PORT_ACCESS\n\n  *  $Y\n",
    ) -> None:
        self.root = root
        for name in ("config", "data", "data/journal", "data/queue", "log", "run"):
            (root / name).mkdir(parents=True, exist_ok=True)
        config = root / "config"
        values = {
            "port": port, "backoff": backoff, "notices": notices, "maxjobs": maxjobs, "threaddepth": threaddepth,
            "keywords": keywords,
        }  # fmt: skip
        (config / "imta.cnf").write_text(RULES.lstrip().format(**values))
        (config / "option.dat").write_text(OPTIONS.lstrip().format(units=units))
        (config / "job_controller.cnf").write_text(JOBS.lstrip().format(job_limit=job_limit))
        (config / "dispatcher.cnf").write_text("[SERVICE=SMTP]\nPORT=2525\nIMAGE=IMTA_BIN:tcp_smtp_server\n")
        (config / "mappings").write_text(mappings)
        (config / "hosts").write_text(hosts)
        (config / "people.ldif").write_text(LDIF.lstrip())
        if channel_option:
            (config / "tcp_lmtpcs_option").write_text(channel_option)
        self.socket = root / "run" / "job_controller.sock"
        self.process: subprocess.Popen[bytes] | None = None
        self._parent: socket.socket | None = None
        self._numbers = itertools.count(1)
        self._stamp = f"{time.time_ns():X}"[-10:]
        self.enqueuer: Enqueuer | None = None
        self.announcer: Announcer | None = None

    # processes

    async def start(self, *, writer: bool = True) -> "JobsRelay":
        self._parent, theirs = socket.socketpair()
        with (self.root / "log" / "stderr").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "posthouse.relay.job_controller", "--instance", str(self.root)],
                pass_fds=(theirs.fileno(),), env={**os.environ, "POSTHOUSE_PARENT_FD": str(theirs.fileno())}, stderr=log,
            )  # fmt: skip
        theirs.close()
        self._parent.setblocking(False)
        line = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._parent, 4096), 20)
        assert json.loads(line or b"{}").get("ready"), self.stderr()
        if writer and self.enqueuer is None:
            self.start_writer()
        return self

    def start_writer(self) -> None:
        self.announcer = Announcer(self.socket)
        self.enqueuer = Enqueuer(
            DISK, DISK.open_dir(str(self.root / "data" / "journal")), "smtp-1",
            call_soon=asyncio.get_running_loop().call_soon_threadsafe, announce=self.announcer.synced, segment_size=4 << 20,
        )  # fmt: skip
        self.enqueuer.start()

    async def stop_writer(self) -> None:
        if self.enqueuer is not None:
            await asyncio.to_thread(self.enqueuer.stop)
            self.enqueuer = None
        if self.announcer is not None:
            self.announcer.close()
            self.announcer = None

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(signal_number)

    async def strike(self, whom: str) -> None:
        """SIGKILL for the controller, which is started anew, or for its workers, which it starts itself."""
        if whom == "controller":
            self.kill()
            await self.ended()
            await self.start(writer=False)
        else:
            for pid in self.workers():
                os.kill(pid, signal.SIGKILL)

    async def ended(self) -> int:
        assert self.process is not None
        code = await asyncio.to_thread(self.process.wait, 40)
        if self._parent is not None:
            self._parent.close()
        return code

    async def close(self) -> None:
        await self.stop_writer()
        if self.process is not None and self.process.poll() is None:
            self.kill(signal.SIGTERM)
            assert await self.ended() == 0, self.stderr()

    def workers(self) -> list[int]:
        status = request(self.socket, "status")
        return [worker["pid"] for worker in status["workers"]]

    def stderr(self) -> str:
        return (self.root / "log" / "stderr").read_text()

    # mail

    async def put(
        self, *users: str, body: bytes = BODY, host: str = "store1.example.com", sender: str = "ann@example.com", **fields: Any
    ) -> str:
        """Accept a message for users of a store; its id."""
        recipients = tuple(
            Recipient(
                place, 0, "tcp_lmtpcs", f"@{host}.lmtp:{user}@lmtpcs-daemon", f"{user}@example.com", f"{host}.lmtp",
                quota="1000,10", flags=2, notify=fields.get("notify", ""), imap_flags=fields.get("imap_flags", ""),
            )
            for place, user in enumerate(users)
        )  # fmt: skip
        return await self.put_recipients(recipients, body=body, sender=sender, **fields)

    async def put_recipients(
        self, recipients: Sequence[Recipient], *, body: bytes = BODY, sender: str = "ann@example.com", **fields: Any
    ) -> str:
        fields.pop("notify", None)
        fields.pop("imap_flags", None)
        assert self.enqueuer is not None
        number = f"0T{self._stamp}{next(self._numbers):06d}"
        envelope = Envelope(
            number, sender, "tcp_local", "", fields.pop("enqueued", int(time.time() * 1000)), len(body), tuple(recipients),
            message_id=f"<{number}@example.org>", wire_growth=fields.pop("wire_growth", count_growth(body)), **fields,
        )  # fmt: skip
        done: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
        assert self.enqueuer.submit(envelope, self._stored(number, body), done.set_result)
        error = await done
        assert error is None
        return number

    def _stored(self, number: str, body: bytes) -> tuple[bytes] | BodyReference:
        if len(body) <= INLINE_LIMIT:
            return (body,)
        folder = self.root / "data" / "journal" / "body"
        folder.mkdir(exist_ok=True)
        file = BodyFile(DISK, DISK.open_dir(str(folder)), number)
        file.write(body)
        return file.finish()

    # looking

    async def copies(self) -> list[dict[str, Any]]:
        answer = await asyncio.to_thread(request, self.socket, "list")
        copies: list[dict[str, Any]] = answer["copies"]
        return copies

    async def retry(self) -> int:
        answer = await asyncio.to_thread(request, self.socket, "retry", all=True)
        count: int = answer["retried"]
        return count

    async def empty(self, seconds: float = 15.0) -> None:
        """Wait until nothing is queued."""
        await self.until_list(lambda copies: not copies, seconds)

    async def until_list(self, good: Callable[[list[dict[str, Any]]], object], seconds: float = 15.0) -> list[dict[str, Any]]:
        deadline = time.monotonic() + seconds
        copies: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            try:
                copies = await self.copies()
            except ControllerDown:
                copies = [{"down": True}]
            if good(copies):
                return copies
            await asyncio.sleep(0.02)
        raise AssertionError(f"not reached: {copies}\n{self.stderr()}")

    def records(self, action: str = "") -> list[dict[str, Any]]:
        return [record for record in log_records(self.root) if not action or record["ac"] == action]

    def files(self) -> list[str]:
        queue = self.root / "data" / "queue"
        found = (path for path in queue.rglob("*") if path.is_file() and path.name not in {"jobs.lock", ".barrier"})
        return sorted(str(path.relative_to(queue)) for path in found)

    def segments(self) -> list[str]:
        return sorted(path.name for path in (self.root / "data" / "journal").glob("*.seg"))


Start = Callable[..., Awaitable[JobsRelay]]
"""the fixture that starts a relay with options"""


async def until(good: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline, "not reached in time"
        await asyncio.sleep(0.02)


def command(relay: JobsRelay, *words: str, code: int = 0) -> Any:
    """`posthouse queue` with --json; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "posthouse.cli", "queue", *words, "--json", "--instance", str(relay.root)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout else done.stderr


def full(sink: Sink, *users: str) -> None:
    """These users' mail is put off."""
    sink.script.final = lambda address, _: (NO_ROOM if address in users else "250 2.5.0 <{}> OK").format(address)
