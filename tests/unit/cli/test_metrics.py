"""`posthouse metrics`: the text a scraper reads, of instances that run, hang and are stopped."""

import contextlib
import http.client
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from posthouse.cli.metrics.command import metrics
from posthouse.cli.metrics.facts import Facts, Group, Overdue, Waiting
from posthouse.cli.metrics.families import families
from posthouse.cli.metrics.http_server import BadAddressError, MetricsServer, loopback
from posthouse.cli.metrics.text_format import OURS, Family, Sample, render
from posthouse.dispatcher.trouble import WHATS
from posthouse.trace.counter_file import CounterFile
from posthouse.trace.figures import FIRST, LATER, RECEIVED, REPLIES, TAKEN, Rows, new_row

STOPPED: dict[str, Any] = {"ready": False, "state": "stopped", "processes": [], "listeners": [], "services": {}}
NOW = 1_700_000_100.0


def read(text: str) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus' own reader finds them."""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def shown(
    supervised: dict[str, Any] = STOPPED, rows: Rows | None = None, queue: Waiting | None = None, free: int = 5
) -> dict[str, float]:
    facts = Facts(NOW, supervised, rows or {}, (), queue, {"free": free, "files": None, "low": False})
    text = render(families(facts))
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names)), "a family stands once"
    assert text.count("# HELP ") == len(names)
    return read(text)


def test_what_is_escaped_is_read_back() -> None:
    odd = 'a\\b"c\nd\\n{}é,='
    text = render([Family("x", "gauge", "An x.", (Sample(1.5, (("one", odd), ("two", ""))), Sample(2)))])
    (family,) = text_string_to_metric_families(text)
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"one": odd, "two": ""}, 1.5), ({}, 2.0)]
    assert text.startswith("# HELP x An x.\n# TYPE x gauge\n")


def test_a_family_without_samples_is_left_out() -> None:
    assert not render([Family("x", "gauge", "An x.", ())])


def test_instances_in_one_folder_are_told_apart(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for name in ("relay1", 'the "old" one'):
        metrics(instance=instance, label=(f"posthouse={name}", "site=a"))
        texts.append(capsys.readouterr().out)
    first, second = map(read, texts)
    assert first["posthouse_state posthouse=relay1 site=a state=stopped"] == 1
    assert second['posthouse_ready posthouse=the "old" one site=a'] == 0
    assert not set(first) & set(second), "node_exporter would show only one of two that are alike"
    assert len({sample.name for family in text_string_to_metric_families(texts[0]) for sample in family.samples}) > 2


@pytest.mark.parametrize(
    "labels", [("relay1",), ("=relay1",), ("a-b=c",), ("1a=c",), ("__a=c",), ("ä=c",), ("a=",), ("channel=c",), ("a=b", "a=c")]
)
def test_what_is_no_label_is_refused(labels: tuple[str, ...], instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        metrics(instance=instance, label=labels)
    assert ended.value.code == 64
    assert capsys.readouterr().err.startswith(f"posthouse metrics: --label {labels[-1]}: ")


def test_no_family_has_a_label_that_could_be_given_twice() -> None:
    told = {
        "ready": True, "state": "running", "processes": [{"role": "smtp", "service": "SMTP", "state": "ready"}],
        "listeners": [{"service": "SMTP", "address": "", "port": 25}], "services": {"SMTP": Counter()}, "troubles": [],
    }  # fmt: skip
    row = new_row()
    row[RECEIVED] = row[REPLIES] = 1
    queue = Waiting((Group("x", "held", 1),), {}, 0, 0, Overdue(0, 0.0))
    found = families(Facts(NOW, told, {"tcp_lmtpss": row}, (), queue, {"free": 1, "files": 1, "low": False}))
    assert {name for family in found for sample in family.samples for name, _ in sample.labels} == OURS


def test_processes_listeners_and_services() -> None:
    services = {
        "SMTP": dict.fromkeys(
            ("accepted", "refused_port_access", "refused_dns", "refused_address", "handed_off", "shed", "started",
             "expired_conns", "expired_time", "expired_idle", "died", "waiting", "active", "peak"), 3)
    }  # fmt: skip
    worker = {"role": "smtp", "service": "SMTP", "state": "ready"}
    listener = {"service": "SMTP", "address": "", "port": 25, "tls": False}
    found = shown({
        "ready": True, "state": "running", "processes": [worker, worker, {**worker, "state": "ended"}],
        "listeners": [listener], "services": services, "troubles": [{"what": "directory"}, {"what": "partition"}],
    })  # fmt: skip
    assert found["posthouse_ready"] == 1
    assert found["posthouse_state state=running"] == 1
    assert found["posthouse_state state=stopped"] == 0
    assert found["posthouse_processes role=smtp service=SMTP state=ready"] == 2
    assert found["posthouse_processes role=smtp service=SMTP state=ended"] == 1
    assert found["posthouse_listener address= port=25 service=SMTP"] == 1
    assert found["posthouse_disk_free_octets"] == 5
    troubles = {name.rpartition("=")[2]: value for name, value in found.items() if name.startswith("posthouse_troubles")}
    assert troubles == {what: int(what in {"directory", "partition"}) for what in WHATS if what != "host"}
    assert {name for name in found if name.startswith("dispatcher_connections")} == {
        f"dispatcher_connections service=SMTP state={state}" for state in ("active", "waiting", "peak")
    }
    assert found["dispatcher_refused_total service=SMTP why=port_access"] == 3
    assert found["dispatcher_workers_ended_total service=SMTP why=died"] == 3
    counted = [name for name in found if name.startswith("dispatcher_")]
    assert len(counted) == sum(map(len, services.values())), "every counter of dispatcher-cnf.md 5, each once"


def test_the_queue_by_channel_and_state() -> None:
    groups = (Group("a", "file", 5), Group("b", "held", 4))
    queue = Waiting(groups, {"a": NOW - 100}, damaged=1, beyond=6, overdue=Overdue(2, 7.5))
    idle, store = new_row(), new_row()
    idle[RECEIVED] = store[TAKEN] = 1
    found = shown(queue=queue, rows={"c": idle, "tcp_lmtpss": store})
    waiting = {name.removeprefix("queue_"): value for name, value in found.items() if name.startswith("queue_") and value}
    assert waiting == {
        "files channel=a state=file": 5, "files channel=b state=held": 4, "oldest_seconds channel=a": 100,
        "unreadable_files": 1, "beyond_files": 6, "overdue_files": 2, "overdue_seconds": 7.5,
    }  # fmt: skip
    states = {name for name in found if name.startswith("queue_files")}
    assert states == {f"queue_files channel={each} state={state}" for each in "abc" for state in ("journal", "file", "held")}
    assert found["queue_oldest_seconds channel=c"] == 0


def test_what_is_overdue_only_a_running_relay_knows() -> None:
    found = shown(queue=Waiting((Group("a", "file", 1),), {"a": NOW - 1}, 0))
    assert found["queue_oldest_seconds channel=a"] == 1
    assert not [name for name in found if "overdue" in name]
    assert not [name for name in shown() if name.startswith("queue_")]


def test_channels_and_replies() -> None:
    relay, store = new_row(), new_row()
    relay[RECEIVED : RECEIVED + 3] = (1, 2, 3)
    relay[FIRST : FIRST + 3], relay[LATER : LATER + 3] = (3, 6, 500), (1, 2, 2000)
    store[REPLIES:] = [9, 100, 0, 5, 0, 0, 2, 0, 0, 4]
    found = shown(rows={"tcp_lmtpcs": relay, "tcp_lmtpss": store})
    of_channel = "channel=tcp_lmtpcs"
    assert found[f"mta_received_total {of_channel}"] == 1
    assert found[f"mta_received_recipients_total {of_channel}"] == 2
    assert found[f"mta_received_blocks_total {of_channel}"] == 3
    assert found[f"mta_queue_seconds_sum {of_channel}"] == 2.5
    assert found[f"mta_queue_seconds_count {of_channel}"] == 4
    assert found[f"mta_queue_first_time_seconds_sum {of_channel}"] == 0.5
    assert found[f"mta_delivered_blocks_total {of_channel}"] == 8
    assert "mta_queue_seconds_sum channel=tcp_lmtpss" not in found
    assert found["mta_delivered_recipients_total channel=tcp_lmtpss"] == 100
    assert (found["lmtp_replies_total code=250"], found["lmtp_replies_total code=other"]) == (100, 9)
    assert found["store_quota_refused_total"] == 11, "4 of them without a reply"


def test_a_relay_gives_no_lmtp_replies() -> None:
    assert not [name for name in shown(rows={"tcp_lmtpcs": new_row()}) if name.startswith(("lmtp_", "store_"))]


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    for name in ("config", "data", "run"):
        (tmp_path / name).mkdir()
    file = CounterFile.take(tmp_path / "data" / "counters")
    file.write({"tcp_lmtpcs": new_row()})
    file.close()
    return tmp_path


def test_a_stopped_instance_shows_what_its_files_say(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (instance / "data" / "counters" / "2").write_bytes(b"rubbish")
    metrics(instance=instance)
    said = capsys.readouterr()
    found = read(said.out)
    assert found["posthouse_ready"] == 0
    assert found["posthouse_state state=stopped"] == 1
    assert found["posthouse_counter_files_unreadable"] == 1
    assert found["mta_received_total channel=tcp_lmtpcs"] == 0
    assert said.err == f"posthouse metrics: {instance}/data/counters/2: it is too short\n"


def test_who_does_not_answer_is_not_waited_for(
    instance: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posthouse.cli.metrics.facts.PATIENCE", 0.2)
    with socket.socket(socket.AF_UNIX) as supervisor, socket.socket(socket.AF_UNIX) as controller:
        for sock, name in ((supervisor, "supervisor.sock"), (controller, "job_controller.sock")):
            monkeypatch.chdir(instance / "run")
            sock.bind(name)
            sock.listen()
        metrics(instance=instance)
    assert read(capsys.readouterr().out)["posthouse_ready"] == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9725", ("127.0.0.1", 9725)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("127.0.0.2:1", ("127.0.0.2", 1)),
        ("[::1]:2", ("::1", 2)),
    ],
)
def test_loopback_addresses(text: str, address: tuple[str, int]) -> None:
    assert loopback(text) == address


@pytest.mark.parametrize("text", ["0.0.0.0:9725", "192.0.2.1:9725", "[::]:1", "", "x", "host:1", "127.0.0.1:x", "70000", "1:-1"])
def test_other_addresses_are_refused(text: str, capsys: pytest.CaptureFixture[str], instance: Path) -> None:
    with pytest.raises(BadAddressError):
        loopback(text)
    with pytest.raises(SystemExit) as ended:
        metrics(instance=instance, listen=text)
    assert ended.value.code == 64
    assert capsys.readouterr().err.startswith(f"posthouse metrics: --listen {text}: ")


def test_a_scraper_is_answered_and_a_silent_client_lets_it_wait_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posthouse.cli.metrics.http_server.PATIENCE", 2.0)
    pages = iter(("one\n", "two\n"))
    with MetricsServer(("127.0.0.1", 0), lambda: next(pages)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with socket.create_connection(("127.0.0.1", server.server_port)):  # says nothing
                for page in (b"one\n", b"two\n"):
                    with urllib.request.urlopen(server.url, timeout=30) as answer:
                        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                        assert answer.read() == page
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(server.url.removesuffix("metrics"), timeout=30)
        finally:
            server.shutdown()


@contextlib.contextmanager
def served(page: Callable[[], str]) -> Iterator[MetricsServer]:
    with MetricsServer(("127.0.0.1", 0), page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def test_a_client_that_drips_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each octet would give it new patience, while scrapers wait behind it."""
    monkeypatch.setattr("posthouse.cli.metrics.http_server.PATIENCE", 1.0)
    over = threading.Event()
    with served(lambda: "one\n") as server, socket.create_connection(("127.0.0.1", server.server_port)) as slow:

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not over.wait(0.1):
                    slow.sendall(b"G")

        threading.Thread(target=drip, daemon=True).start()
        with urllib.request.urlopen(server.url, timeout=30) as answer:
            assert answer.read() == b"one\n"
        over.set()


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 9\r\n\r\npart", b"501"),
        (b"GET /" + b"a" * (1 << 17), b"414"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
    ],
)
def test_other_requests_are_refused(request_line: bytes, status: bytes) -> None:
    with served(str) as server, socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as client:
        client.sendall(request_line)
        assert client.recv(12).split()[1] == status


def test_a_scrape_that_fails_is_told_of_and_a_client_that_hangs_up_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    pages = iter(("one\n", RuntimeError("no page")))

    def page() -> str:
        found = next(pages)
        if isinstance(found, RuntimeError):
            raise found
        return found

    with served(page) as server:
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.sendall(b"GET /metr")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with urllib.request.urlopen(server.url, timeout=30) as answer:
            assert answer.read() == b"one\n"
        with pytest.raises(http.client.RemoteDisconnected):
            urllib.request.urlopen(server.url, timeout=30)
    assert capsys.readouterr().err == "posthouse metrics: a scrape was not answered: RuntimeError('no page')\n"


def test_a_port_that_is_taken(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with MetricsServer(("127.0.0.1", 0), str) as server:
        with pytest.raises(SystemExit) as ended:
            metrics(instance=instance, listen=str(server.server_port))
        assert ended.value.code == 69
    assert "Address already in use" in capsys.readouterr().err
