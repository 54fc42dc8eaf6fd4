"""Programs as real processes: what they are given, what their end means, and that none of them harms other mail."""

import os
import pwd
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from posthouse.mail.status import Status
from support.jobs_relay import BODY, JobsRelay, until
from support.pipe import pipe_relay, program, register, to

Make = Callable[..., JobsRelay]
NOT_ROOT = "user nobody" if os.geteuid() == 0 else ""
UID = str(pwd.getpwnam("nobody").pw_uid if NOT_ROOT else os.getuid())
YES = " ".join("y" * 100)
SHOW = """
cat >{out}/body
for word in "$@"; do echo "<$word>"; done >{out}/words
/usr/bin/env >{out}/env
ls -l /proc/self/fd >{out}/fds
(pwd; umask; id -u) >{out}/rest
"""


@pytest.fixture
def shared(open_folder: Path) -> Path:
    """A folder programs may write to, whoever runs them."""
    open_folder.chmod(0o777)
    return open_folder


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    relays: list[JobsRelay] = []

    def new(keywords: str = NOT_ROOT, **options: str) -> JobsRelay:
        relays.append(pipe_relay(tmp_path / "relay", keywords=keywords, **options))
        return relays[-1]

    yield new
    for relay in relays:
        await relay.close()


async def waits(relay: JobsRelay) -> str:
    """The reply that the only copy waits with."""
    (copy,) = await relay.until_list(lambda copies: len(copies) == 1 and copies[0]["attempts"] == 1)
    assert copy["channel"] == "pipe"
    return said(copy["recipients"][0])


def said(recipient: dict[str, Any]) -> str:
    """Its last reply."""
    status = recipient["status"]
    return f"{status['code']} {status['enhanced']} {status['text']}"


async def test_a_program_gets_its_words_and_the_message_and_nothing_else(make: Make, shared: Path) -> None:
    out = shared
    script = program(shared, "show", SHOW.format(out=out))
    relay = make()
    register(relay, show=f"{script} -f $S '$A x' $U")
    await relay.start()
    await relay.put_recipients([to("show")], sender='"; touch /tmp/x; "@example.com')
    await relay.empty()
    assert (out / "body").read_bytes() == b'Return-Path: <"; touch /tmp/x; "@example.com>\n' + BODY.replace(b"\r\n", b"\n")
    words = (out / "words").read_text().splitlines()
    assert words == ["<-f>", '<"; touch /tmp/x; "@example.com>', "<jdoe@example.com x>", "<jdoe>"]
    names = {line.partition("=")[0] for line in (out / "env").read_text().splitlines()}
    assert names <= {"PATH", "LANG", "SHELL", "HOME", "TZ", "PWD", "OLDPWD", "SHLVL", "_"}
    open_files = [line for line in (out / "fds").read_text().splitlines() if "->" in line]
    assert not any(".seg" in line or "lock" in line or "socket" in line for line in open_files)
    assert (out / "rest").read_text().split() == ["/", "0077", UID]
    (record,) = relay.records("D")
    assert (record["sc"], record["tx"]) == ("pipe", "delivered to program show")


async def test_exit_codes_decide(make: Make, shared: Path) -> None:
    relay = make(backoff='"pt1h"')
    for code in (67, 75, 1):
        register(relay, **{f"end{code}": str(program(shared, f"end{code}", f"echo reason {code}; exit {code}"))})
    await relay.start()
    await relay.put_recipients([to("end67", "u67"), to("end75", "u75", 1), to("end1", "u1", 2), to("missing", "u0", 3)])
    copies = await relay.until_list(lambda copies: [each for each in copies if each["attempts"] == 1])
    left = {each["original"]: said(each) for each in next(each for each in copies if each["attempts"])["recipients"]}
    assert left == {
        "u75@example.com": "451 4.3.0 program end75: temporary failure: reason 75",
        "u1@example.com": "451 4.3.0 program end1: exit status 1 is none of sysexits: reason 1",
        "u0@example.com": "450 4.3.5 this program is not available",
    }
    (bounce,) = relay.records("R")
    assert (bounce["od"], bounce["tx"]) == ("rfc822;u67@example.com", "program end67: reason 67")
    assert "program 'missing' is not registered" in relay.stderr()


@pytest.mark.parametrize(
    ("script", "option", "status"),
    [
        ("sleep 1000", "TIMEOUT=1", Status(451, "4.3.0", "program bad was ended after 1 seconds")),
        ("trap '' TERM; echo stubborn; while :; do :; done", "TIMEOUT=1",
         Status(451, "4.3.0", "program bad was ended after 1 seconds: stubborn")),
        ("yes", "OUTPUT_LIMIT=5000", Status(451, "4.3.0", f"program bad was ended: over 5000 octets of output: {YES}")),
        ("kill -SEGV $$", "TIMEOUT=9", Status(451, "4.3.0", "program bad was ended by signal 11")),
    ],
)  # fmt: skip
async def test_programs_that_do_not_behave_are_ended_and_tried_again(
    make: Make, shared: Path, script: str, option: str, status: Status
) -> None:
    relay = make()
    pids = shared / "pids"
    path = program(shared, "bad", f"echo $$ >>{pids}\n{script}")
    register(relay, bad=f"{path}\n{option}", good="/bin/true")
    await relay.start()
    await relay.put_recipients([to("bad")])
    await until(lambda: pids.exists() and pids.read_text())
    await relay.put_recipients([to("good", "other")])
    assert (await waits(relay)).split() == str(status).split()
    assert [record["od"] for record in relay.records("D")] == ["rfc822;other@example.com"]
    assert not Path(f"/proc/{pids.read_text().split()[0]}").exists()


async def test_a_child_that_keeps_the_pipe_is_not_waited_for_and_ends(make: Make, shared: Path) -> None:
    pid = shared / "pid"
    path = program(shared, "fork", f"sleep 1000 &\necho $! >{pid}\necho said")
    relay = make()
    register(relay, fork=str(path))
    await relay.start()
    await relay.put_recipients([to("fork")])
    await relay.empty()
    assert len(relay.records("D")) == 1
    await until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())


async def test_a_program_that_reads_nothing_of_a_large_message_is_no_fault(make: Make, shared: Path) -> None:
    relay = make()
    size = shared / "size"
    register(relay, deaf="/bin/true", count=str(program(shared, "count", f"wc -c >{size}")))
    await relay.start()
    body = BODY + b"a line that is repeated\r\n" * 100_000
    await relay.put_recipients([to("deaf"), to("count", "other", 1)], body=body)
    await relay.empty()
    assert len(relay.records("D")) == 2
    assert int(size.read_text()) == len(b"Return-Path: <ann@example.com>\n") + len(body) - body.count(b"\r\n")


async def test_a_worker_killed_in_the_middle_runs_the_program_again(make: Make, shared: Path) -> None:
    runs, go = shared / "runs", shared / "go"
    path = program(shared, "slow", f"cat >/dev/null; echo $$ >>{runs}; while [ ! -e {go} ]; do sleep 0.05; done")
    relay = make(backoff='"pt1s"')
    register(relay, slow=str(path))
    await relay.start()
    await relay.put_recipients([to("slow")])
    await until(lambda: runs.exists() and runs.read_text())
    for pid in relay.workers():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(runs.read_text().split()) == 2)
    go.touch()
    await relay.empty()
    await until(lambda: len(relay.records("D")) == 1)


async def test_a_stop_ends_what_hangs_and_keeps_the_mail(make: Make, shared: Path) -> None:
    pid = shared / "pid"
    path = program(shared, "hang", f"echo $$ >{pid}; exec sleep 1000")
    relay = make()
    register(relay, hang=str(path))
    await relay.start()
    await relay.put_recipients([to("hang")])
    await until(lambda: pid.exists() and pid.read_text())
    relay.kill()
    await relay.ended()
    await until(lambda: not Path(f"/proc/{pid.read_text().strip()}").exists())
    await relay.start(writer=False)
    (copy,) = await relay.until_list(lambda copies: copies)
    assert copy["channel"] == "pipe"


async def test_never_as_root(make: Make, shared: Path) -> None:
    relay = make(keywords="user root")
    register(relay, mark=f"/bin/touch {shared}/ran")
    await relay.start()
    await relay.put_recipients([to("mark")])
    assert await waits(relay) == "450 4.3.5 this program is not available"
    assert "programs are never run as root" in relay.stderr()
    assert not (shared / "ran").exists()
