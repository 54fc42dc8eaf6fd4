"""Each option of dispatcher.cnf that needs real sockets or processes, on a running family of echo workers."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from posthouse.testing.tiers import free_port
from support.family_rig import Client, Family, wait_for

Make = Callable[..., Family]
STARTS = re.compile(r"S: worker \d+ starts")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Family] = []

    def new(options: str = "", **rest: str) -> Family:
        family = Family(tmp_path / f"instance{len(made)}", options, **rest)  # type: ignore[arg-type]
        made.append(family)
        return family

    yield new
    for family in made:
        family.end()


def service(name: str, *lines: str) -> str:
    return "\n".join([f"[SERVICE={name}]", "IMAGE=IMTA_BIN:tcp_lmtp_server", "PARAMETER=CHANNEL=tcp_lmtpss", *lines, ""])


def test_port_lists_and_two_services(make: Make) -> None:
    first, second, third = free_port(), free_port(), free_port()
    services = service("ONE", f"PORT={first},{second}") + service("TWO", f"PORT={third}") + service("OFF", "PORT=0")
    family = make(services=services).start()
    assert [family.connect(port=port).line().split()[2] for port in (first, second, third)] == ["ONE", "ONE", "TWO"]
    listeners = [(row["service"], row["port"]) for row in family.ask("status")["listeners"]]
    assert listeners == [("ONE", first), ("ONE", second), ("TWO", third)]


def test_interface_address_lets_two_services_share_a_port(make: Make) -> None:
    port = free_port()
    services = service("ONE", f"PORT={port}", "INTERFACE_ADDRESS=127.0.0.1")
    services += service("TWO", f"PORT={port}", "INTERFACE_ADDRESS=127.0.0.2")
    services += service("SIX", f"PORT={port}", "INTERFACE_ADDRESS=::1")
    family = make(services=services).start()
    for name, address in (("ONE", "127.0.0.1"), ("TWO", "127.0.0.2"), ("SIX", "::1")):
        source = "::1" if name == "SIX" else "127.0.0.1"
        greeting = family.connect(source, port=port, server=address).line().split()
        assert greeting[2] == name
        assert greeting[4].startswith(f"TCP|{address}|{port}|{source}|")
    with pytest.raises(ConnectionRefusedError):
        family.connect(port=port, server="127.0.0.3")


def test_backlog_is_the_depth_of_the_kernels_queue(make: Make) -> None:
    family = make("BACKLOG=7").start()
    assert listen_depth(family.port) == 7


def test_backlog_by_default_is_the_services_capacity(make: Make) -> None:
    family = make("MAX_CONNS=3\nMAX_PROCS=4").start()
    assert listen_depth(family.port) == 12


def listen_depth(port: int) -> int:
    import subprocess

    shown = subprocess.run(["ss", "-H", "-ltn", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[2])


def test_logfile_gets_the_workers_output_and_is_appended_to(make: Make) -> None:
    family = make("LOGFILE=IMTA_LOG:service_%s.log\nDEBUG=-1")
    family.instance.log.mkdir()
    log = family.instance.log / f"service_{socket.gethostname()}.log"
    log.write_text("before\n")
    family.start()
    client = family.connect()
    client.pid()
    client.sock.sendall(b"raise\r\n")
    wait_for(lambda: "of the client's making" in log.read_text())
    assert log.read_text().startswith("before\n")
    assert "of the client's making" not in family.said.read_text()


@pytest.mark.parametrize(
    ("mask", "accepted", "handed", "started"),
    [("0", 0, 0, 0), ("16", 1, 0, 0), ("2%1000000", 0, 0, 1), ("16384", 0, 1, 0), ("-1", 1, 1, 1)],
)
def test_debug_bits_decide_what_is_told(make: Make, mask: str, accepted: int, handed: int, started: int) -> None:
    family = make(f"DEBUG={mask}").start()
    family.connect().line()
    told = family.said.read_text()
    counts = (told.count("S: accepted TCP|127.0.0.1|"), told.count("S: connection 1 to worker "), len(STARTS.findall(told)))
    assert counts == (accepted, handed, started)


def test_stacksize_reaches_the_thread_library(make: Make) -> None:
    family = make("STACKSIZE=2048000").start()
    client = family.connect()
    client.line()
    assert client.say("stack") == "250 2048000"


def test_tls_port_begins_with_tls(make: Make, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    plain, tls = free_port(), free_port()
    lines = (f"PORT={plain}", f"TLS_PORT={tls}", f"TLS_CERTIFICATE={tmp_path / 'both.pem'}", "MAX_HANDOFFS=1")
    family = make(services=service("S", *lines)).start()
    stalled = family.connect(port=tls)  # says nothing; the port must not wait for it
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", tls), 10), server_hostname="localhost") as sock:
        client = Client(sock)
        assert client.line().startswith("220 ")
        assert client.say("secret") == "250 secret"
    assert family.connect(port=plain).line().startswith("220 ")
    nonsense = family.connect(port=tls)
    nonsense.sock.sendall(b"LHLO plain\r\n" * 20)
    assert not nonsense.line().startswith("220")
    wait_for(lambda: family.counters()["active"] == 2)
    stalled.close()
    wait_for(lambda: family.counters()["active"] == 1)


def test_a_full_service_makes_room_by_ending_the_idlest_session(make: Make) -> None:
    family = make("MAX_PROCS=1\nMAX_CONNS=3\nMIN_CONNS=3\nMAX_HANDOFFS=2").start()
    held, idle, fresh = (family.connect(f"127.0.0.{n}") for n in (2, 3, 4))
    for client in (held, idle, fresh):
        client.line()
    held.say("hold")
    fresh.say("word")
    waiting = family.connect("127.0.0.5")
    assert idle.line() == "421 4.3.2 closing"
    assert waiting.line().startswith("220 ")
    assert fresh.say("still") == "250 still"
    assert held.say("too") == "250 too"
    counters = family.counters()
    assert (counters["shed"], counters["peak"], counters["active"]) == (1, 3, 3)


def test_one_address_cannot_hold_more_than_half(make: Make) -> None:
    family = make("MAX_PROCS=1\nMAX_CONNS=4\nMIN_CONNS=4").start()
    first, second = family.connect("127.0.0.2"), family.connect("127.0.0.2")
    assert first.line().startswith("220 ")
    assert second.line().startswith("220 ")
    assert family.connect("127.0.0.2").line().startswith("421 4.7.0 ")
    assert family.connect("127.0.0.3").line().startswith("220 ")
    first.close()
    wait_for(lambda: family.counters()["active"] == 2)
    assert family.connect("127.0.0.2").line().startswith("220 ")


def test_max_life_conns_with_real_workers(make: Make) -> None:
    family = make("MAX_LIFE_CONNS=2").start()
    first, second = family.connect(), family.connect()
    old = {first.pid(), second.pid()}
    wait_for(lambda: {"ready", "shutdown"} == {row["state"] for row in family.rows("lmtp")})
    third = family.connect()
    assert third.pid() not in old
    assert first.say("still served") == "250 still served"
    first.close()
    second.close()
    wait_for(lambda: [row["pid"] for row in family.rows("lmtp")] and not old & {row["pid"] for row in family.rows("lmtp")})
    assert family.counters()["expired_conns"] == 1


def test_min_procs_zero_starts_a_worker_for_the_first_client(make: Make) -> None:
    family = make("MIN_PROCS=0").start()
    assert family.rows("lmtp") == []
    assert family.connect().line().startswith("220 ")


def test_historical_time_shows_ended_workers(make: Make) -> None:
    family = make("HISTORICAL_TIME=60").start()
    client = family.connect()
    pid = client.pid()
    client.sock.sendall(b"die\r\n")
    wait_for(lambda: [row["pid"] for row in family.rows("lmtp") if row["state"] == "ended"] == [pid])


def test_a_client_on_no_dns_list_is_served(make: Make) -> None:
    family = make("DNS_VERIFY_DOMAIN=list.invalid").start()
    assert family.connect().line().startswith("220 ")
    assert family.counters()["refused_dns"] == 0
