"""Real processes: start, connections, refusals, reload, stop, deaths, orphans, a second start, long paths, another user."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posthouse.dispatcher import descendants, lock
from support.family_rig import ECHO_INSTANCE, Family, wait_for
from support.imta_user import USER, packages, python_of_everybody

Make = Callable[..., Family]


@pytest.fixture
def tmp_path(open_folder: Path) -> Path:
    return open_folder


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Family] = []

    def new(options: str = "", **rest: object) -> Family:
        root = tmp_path / f"instance{len(made)}"
        family = Family(root, options, **rest)  # type: ignore[arg-type]
        made.append(family)
        return family

    yield new
    for family in made:
        family.end()


def test_ready_serves_tells_and_stops(make: Make) -> None:
    family = make("MIN_PROCS=2").start()
    client = family.connect()
    greeting = client.line().split()
    assert greeting[2:4] == ["S", "tcp_lmtpss"]
    assert greeting[4] == f"TCP|127.0.0.1|{family.port}|127.0.0.1|{client.address[1]}"
    assert client.say("hello") == "250 hello"
    status = family.ask("status")
    assert status["ready"] is True
    assert [row["role"] for row in status["processes"]] == ["supervisor", "dispatcher", "lmtp", "lmtp"]
    assert status["listeners"] == [{"service": "S", "address": "*", "port": family.port, "tls": False}]
    assert int((family.instance.run / "posthouse.pid").read_text()) == status["processes"][0]["pid"]
    assert {seen.pid for seen in descendants.below(status["processes"][0]["pid"])} == {
        row["pid"] for row in status["processes"][1:]
    }
    assert sorted(family.living()) == sorted(row["pid"] for row in status["processes"])
    assert family.stop() == 0
    assert client.line().startswith("421 ")
    assert family.living() == []
    assert list(family.instance.run.glob("*.sock")) == []


@pytest.mark.parametrize("source", ["127.0.0.66", "::1"])
def test_a_stranger_gets_exactly_the_line_and_end_of_file_even_when_it_speaks_first(make: Make, source: str) -> None:
    family = make()
    if source == "::1":
        family.write("mappings", "PORT_ACCESS\n\n  TCP|*|*|*|*  $N500$ Do$ not$ connect$ to$ this$ machine\n")
    family.start()
    client = family.connect(source, server="::1" if ":" in source else "127.0.0.1")
    client.sock.sendall(b"LHLO early.example\r\n" * 500)
    time.sleep(0.1)  # the refusal is on its way, our text unread at the other side
    received = b""
    while part := client.sock.recv(4096):
        received += part
    assert received == b"500 Do not connect to this machine\r\n"
    assert family.counters()["refused_port_access"] == 1


def test_ipv4_clients_of_a_dual_stack_port_are_ipv4_to_the_table(make: Make) -> None:
    family = make().start()
    assert "|127.0.0.5|" in family.connect("127.0.0.5").line()
    assert "|::1|" in family.connect("::1", server="::1").line()


def test_a_refusal_without_text_sends_nothing(make: Make) -> None:
    assert make().start().connect("127.0.0.67").line() == ""


def test_reload_reads_mappings_again_and_a_bad_file_keeps_the_old_ones(make: Make) -> None:
    family = make().start()
    family.write("mappings", "PORT_ACCESS\n\n  TCP|*|*|*|*  $N550$ closed\n")
    assert family.ask("reload") == {"ok": True, "faults": [], "notes": []}
    assert family.connect().line() == "550 closed"
    family.write("mappings", "PORT_ACCESS\n\n  TCP|*|*|*|*  $Y  third column\n")
    answer = family.ask("reload")
    assert answer["ok"] is False
    assert any("mappings:3" in fault for fault in answer["faults"])
    assert family.connect().line() == "550 closed"
    family.write("mappings", "")
    assert family.process is not None
    family.process.send_signal(signal.SIGHUP)
    wait_for(lambda: family.connect().line().startswith("220 "))


def test_reload_reaches_the_workers(make: Make) -> None:
    family = make().start()
    family.write("echo", "changed")
    assert family.ask("reload")["ok"] is True
    wait_for(lambda: family.connect().line().endswith(" changed"))


def test_a_sighup_before_ready_is_obeyed_when_it_is(make: Make) -> None:
    family = make(jobs=True)
    process = family.launch()
    wait_for(lambda: lock.is_held(family.instance.data / "lock"), every=0.001)
    family.write("mappings", "PORT_ACCESS\n\n  TCP|*|*|*|*  $N550$ closed\n")  # perhaps after it was read
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    wait_for(lambda: family.connect().line() == "550 closed")


def test_a_reload_that_nobody_hears_is_not_said_to_be_done(make: Make) -> None:
    family = make().start()
    os.kill(family.pid("dispatcher"), signal.SIGSTOP)
    assert family.ask("reload") == {"ok": False, "faults": [], "again": "the dispatcher does not answer"}


def test_drain_waits_for_a_transaction(make: Make) -> None:
    family = make().start()
    busy, quiet = family.connect(), family.connect()
    assert busy.line().startswith("220")
    assert quiet.line().startswith("220")
    busy.say("hold")
    assert family.process is not None
    family.process.terminate()
    assert quiet.line().startswith("421 4.3.2")
    with pytest.raises(ConnectionRefusedError):
        wait_for(lambda: family.connect().close())
    assert busy.say("done") == "250 done"
    assert busy.line().startswith("421 4.3.2")
    assert family.process.wait(20) == 0
    assert family.living() == []


def test_a_dead_worker_is_replaced_and_the_other_sessions_go_on(make: Make) -> None:
    family = make("MIN_PROCS=2\nMIN_CONNS=1\nMAX_PROCS=2").start()
    first, second = family.connect(), family.connect()
    pids = {first.pid(), second.pid()}
    assert len(pids) == 2
    first.sock.sendall(b"die\r\n")
    assert first.line() == ""
    assert second.say("on") == "250 on"
    wait_for(lambda: len([row for row in family.rows("lmtp") if row["state"] == "ready"]) == 2)
    assert family.counters()["died"] == 1


def test_a_dead_dispatcher_is_replaced_and_sessions_of_old_workers_finish(make: Make) -> None:
    family = make().start()
    client = family.connect()
    old = client.pid()
    client.say("hold")
    before = family.pid("dispatcher")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: family.pid("dispatcher") not in {0, before} and family.ask("status")["ready"])
    orphan = next(row for row in family.rows("lmtp") if row["pid"] == old)
    assert (orphan["state"], orphan["service"]) == ("orphan", "S")
    assert old in descendants.children(family.pid("supervisor"))
    assert client.say("done") == "250 done"
    assert client.line().startswith("421 ")
    assert family.connect().pid() != old


def test_a_dead_job_controller_is_replaced(make: Make) -> None:
    family = make(jobs=True).start()
    before = family.pid("job_controller")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: family.pid("job_controller") not in {0, before} and family.ask("status")["ready"])
    assert family.stop() == 0


def test_a_run_folder_that_was_removed_is_made_anew(make: Make) -> None:
    family = make().start()
    gone = family.instance.run.rename(family.instance.root / "gone")  # at once: its processes write there
    shutil.rmtree(gone)
    wait_for((family.instance.run / "posthouse.pid").is_file)
    rows = {row["role"]: row["pid"] for row in family.ask("status")["processes"]}
    os.kill(rows["dispatcher"], signal.SIGKILL)  # its socket went too: in the end the watch does this
    wait_for(lambda: family.ask("status")["ready"])
    assert family.connect().line().startswith("220 ")
    assert "was removed or emptied: made anew" in family.said.read_text()
    assert family.stop() == 0


def test_a_store_without_queues_runs_no_job_controller(make: Make) -> None:
    family = make()
    family.write("job_controller.cnf", "[POOL=DEFAULT]\nJOB_LIMIT=1\n")
    assert family.start().rows("job_controller") == []


@pytest.mark.parametrize("victims", ["supervisor", "all"])
def test_after_sigkill_orphans_end_within_five_seconds_and_start_works_at_once(make: Make, victims: str) -> None:
    family = make("MIN_PROCS=2", jobs=True).start()
    client = family.connect()
    client.line()
    client.say("hold")
    pids = family.living()
    assert len(pids) == 5
    family.process.kill() if family.process else None
    if victims == "all":
        for pid in pids[1:]:
            os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    family.start()
    assert time.monotonic() - begin < 6
    assert not set(pids) & set(family.living())
    assert family.ask("status")["ready"] is True


def test_a_second_start_is_refused_at_once_and_names_the_pids(make: Make) -> None:
    family = make().start()
    begin = time.monotonic()
    argv = [sys.executable, str(ECHO_INSTANCE), "--instance", str(family.instance.root)]
    second = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert second.returncode == 75
    assert second.stdout == ""
    assert all(str(pid) in second.stderr for pid in family.living())
    assert time.monotonic() - begin < 5
    assert family.ask("status")["ready"] is True


def test_start_waits_for_a_family_that_is_ending(make: Make) -> None:
    family = make().start()
    client = family.connect()
    client.line()
    client.say("hold")
    old = family.process
    assert old is not None
    old.terminate()
    new = family.launch()
    client.say("done")
    assert old.wait(20) == 0
    assert new.stdout is not None
    assert new.stdout.readline() == "ready\n"


def test_paths_longer_than_a_socket_address(tmp_path: Path) -> None:
    family = Family(tmp_path / ("long" * 30) / ("longer" * 20))
    assert len(str(family.instance.run)) > 200
    try:
        assert family.start().ask("status")["ready"] is True
        assert family.stop() == 0
    finally:
        family.end()


def open_to_all(family: Family) -> None:
    family.write("imta_tailor", f"IMTA_USER={USER}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_root_binds_and_every_other_process_runs_as_imta_user(make: Make) -> None:
    family = make(jobs=True)
    nobody = pwd.getpwnam(USER)
    open_to_all(family)
    family.python = python_of_everybody()
    family.start(**packages())
    roles = {}
    for row in family.ask("status")["processes"]:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{row['pid']}/status").read_text().splitlines())
        roles[row["role"]] = (set(fields["Uid"].split()), set(fields["Gid"].split()), fields["CapEff"].strip())
    user = ({str(nobody.pw_uid)}, {str(nobody.pw_gid)}, "0" * 16)
    assert {role: facts for role, facts in roles.items() if role != "supervisor"} == {
        "dispatcher": user,
        "job_controller": user,
        "lmtp": user,
    }
    victim = family.connect().pid()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: [row for row in family.rows("lmtp") if row["pid"] != victim and row["state"] == "ready"])
    os.kill(family.pid("dispatcher"), signal.SIGKILL)
    wait_for(lambda: family.pid("dispatcher") and family.ask("status")["ready"])
    assert family.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the user needs root")
def test_a_user_who_may_not_run_us_is_told_so(make: Make, tmp_path: Path) -> None:
    family = make()
    open_to_all(family)
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    (secret / "python").symlink_to(sys.executable)
    family.python = str(secret / "python")
    process = family.launch(**packages())
    assert process.wait(20) == 78
    assert "IMTA_USER nobody may not run" in family.said.read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is warned")
def test_root_without_imta_user_is_warned(make: Make) -> None:
    family = make().start()
    assert "root without IMTA_USER" in family.said.read_text()


def test_too_few_open_files_are_warned_of(make: Make) -> None:
    family = make()
    limited = 'ulimit -n 256; exec "$0" "$@"'
    with family.said.open("a") as said:
        words = ["/bin/sh", "-c", limited, sys.executable, str(ECHO_INSTANCE), "--instance", str(family.instance.root)]
        family.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=said, text=True)
    family.launched.append(family.process)
    assert family.process.stdout is not None
    assert family.process.stdout.readline() == "ready\n"
    assert "only 256 files may be open" in family.said.read_text()


def test_systemd_is_told(make: Make, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(10)
        listener.bind(str(tmp_path / "notify"))
        family = make()
        family.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert b"READY=1" in listener.recv(1000)
        family.ask("reload")
        assert b"RELOADING=1\nMONOTONIC_USEC=" in listener.recv(1000)
        assert listener.recv(1000) == b"READY=1"
        family.stop()
        assert listener.recv(1000) == b"STOPPING=1"


def test_systemds_watchdog_hears_of_a_supervisor_that_lives(make: Make, tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(20)
        listener.bind(str(tmp_path / "notify"))
        make().start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="3000000")
        assert b"READY=1" in listener.recv(1000)
        assert [listener.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3


def test_nothing_holds_the_lock_after_a_stop(make: Make) -> None:
    family = make().start()
    assert lock.is_held(family.instance.data / "lock")
    family.stop()
    assert not lock.is_held(family.instance.data / "lock")


def test_a_burst_of_clients_is_served_whole(make: Make) -> None:
    family = make("MAX_HANDOFFS=5\nMAX_CONNS=60\nMIN_CONNS=20\nMAX_PROCS=4").start()
    clients = [family.connect(f"127.0.1.{n % 8 + 1}") for n in range(120)]
    pids = {client.pid() for client in clients}
    assert len(pids) > 1
    assert all(client.say(f"word{n}") == f"250 word{n}" for n, client in enumerate(clients))
    counters = family.counters()
    assert (counters["active"], counters["handed_off"], counters["waiting"]) == (120, 120, 0)


def test_clients_are_served_in_the_end_while_workers_are_killed_again_and_again(make: Make) -> None:
    family = make("MIN_PROCS=1\nMAX_PROCS=2").start()
    begin = time.monotonic()
    for death in range(1, 7):
        client = family.connect()
        os.kill(client.pid(), signal.SIGKILL)
        assert client.line() == ""
        wait_for(lambda death=death: family.counters()["died"] == death)  # type: ignore[misc] # before, it may be handed to the dead
        assert family.connect().line().startswith("220 ")
    assert time.monotonic() - begin < 12
    assert family.counters()["died"] == 6


def test_a_retired_worker_that_does_not_end_cleanly_is_no_trouble_of_its_service(make: Make) -> None:
    family = make("MAX_LIFE_CONNS=1").start()
    client = family.connect()
    old = client.pid()
    (family.instance.run / f"stopped.{old}").mkdir()  # its last act fails
    wait_for(lambda: family.rows("lmtp")[-1]["pid"] != old and family.rows("lmtp")[-1]["state"] == "ready")
    assert client.say("quit") == "250 quit"
    wait_for(lambda: f"worker {old} ended with exit code 70" in family.said.read_text())
    assert family.ask("status")["troubles"] == []


def test_why_no_worker_could_start_is_forgotten_at_a_good_reload(make: Make) -> None:
    family = make("MIN_CONNS=1\nMAX_PROCS=2").start()
    family.write("echo", "bad")
    client = family.connect()
    client.line()
    (trouble,) = wait_for(lambda: family.ask("status")["troubles"])
    assert trouble["text"].startswith("S: a new worker cannot start: ")
    assert client.say("quit") == "250 quit"
    wait_for(lambda: [row["active"] for row in family.rows("lmtp")] == [0])  # one is enough from now on, and none starts
    family.write("echo", "good")
    assert family.ask("reload")["ok"]
    assert family.ask("status")["troubles"] == []
