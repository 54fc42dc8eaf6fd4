"""Every command line of `what will be run`, as printed, with its exit codes and the form of its output."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import free_port
from support.family_rig import wait_for
from support.interop_commands import POSTHOUSE, Pair, init_relay, init_store, posthouse, running_pair
from support.interop_tiers import PEOPLE, mail, smtp

CHAPTER_FILES = {"imta.cnf", "option.dat", "mappings", "dispatcher.cnf", "job_controller.cnf", "imta_tailor"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as running:
        yield running


@pytest.fixture(scope="module")
def waiting(pair: Pair) -> str:
    """The id of a message that one recipient of two has; the other's store does not run."""
    with smtp(pair.relay) as client:
        client.ehlo()
        client.mail("a@outside.test")
        assert [client.rcpt(each)[0] for each in ("JD@example.com", "ann.smith@example.com")] == [250, 250]
        code, text = client.data(mail("commands-waiting"))
    assert code == 250
    wait_for(lambda: [copy for copy in pair.json("queue list") if copy["state"] == "file"])
    return text.decode().split()[-1]


# init


def test_init_writes_the_chapters_files(pair: Pair) -> None:
    assert {path.name for path in (pair.store.folder / "config").iterdir()} == CHAPTER_FILES | {"store.conf"}
    assert {path.name for path in (pair.relay.folder / "config").iterdir()} == CHAPTER_FILES | {"aliases", "hosts"}
    services = (pair.store.folder / "config" / "dispatcher.cnf").read_text()
    assert "\n[SERVICE=LMTPSS]\n" in services
    assert "\n![SERVICE=LMTPSN]\n" in services
    hosts = (pair.relay.folder / "config" / "hosts").read_text()
    assert "127.0.0.1\tstore1.example.com\n127.0.0.2\tstore2.example.com\n" in hosts


def test_init_refuses_a_folder_that_is_not_empty(pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    refused = init_store(tmp_path, 2225)
    assert (refused.returncode, refused.stdout) == (73, "")
    assert "not an empty folder" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    forced = posthouse(
        f"init store {tmp_path} --lmtp 127.0.0.1:2225 --host store1.example.com --default-domain example.com"
        " --allow 127.0.0.1 --allow 10.0.0.0/8 --force"
    )
    assert forced.returncode == 0
    assert (tmp_path / "mine").read_text() == "keep"
    assert posthouse("check --instance", tmp_path).returncode == 0


def test_init_with_ldap_servers(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a password\n")
    made = init_relay(
        tmp_path / "relay", 2525, 2225,
        "--ldap ldap://127.0.0.1:1389 ldaps://127.0.0.2 --base o=usergroup --schema 1 --bind-dn cn=reader"
        f" --bind-password-file {tmp_path / 'secret'} --postmaster postmaster@example.com",
    )  # fmt: skip
    assert (made.returncode, made.stderr) == (0, "")
    options = (tmp_path / "relay" / "config" / "option.dat").read_text()
    assert "\nLDAP_HOST=ldap://127.0.0.1:1389 ldaps://127.0.0.2\n" in options
    assert "\nLDAP_SCHEMALEVEL=1\n" in options
    checked = posthouse("check --instance", tmp_path / "relay")
    assert (checked.returncode, checked.stdout) == (0, "")


@pytest.mark.parametrize("directory", ["", f"--ldif {PEOPLE} --ldap ldap://127.0.0.1 --base o=x", "--ldap ldap://127.0.0.1"])
def test_init_wants_one_directory(tmp_path: Path, directory: str) -> None:
    made = init_relay(tmp_path / "relay", 2525, 2225, directory)
    assert (made.returncode, made.stdout) == (64, "")
    assert not (tmp_path / "relay").exists()


# check


def test_check_is_silent_and_0_when_good(pair: Pair) -> None:
    for instance in (pair.relay, pair.store):
        checked = posthouse("check --instance", instance.folder)
        assert (checked.returncode, checked.stdout) == (0, "")
        words = ["IMTA_USER"] * (os.geteuid() == 0)  # a warning: root without it
        assert len(checked.stderr.splitlines()) == len(words)
        assert all(word in line for word, line in zip(words, checked.stderr.splitlines(), strict=True))


def test_check_strict_counts_warnings(pair: Pair) -> None:
    assert posthouse("check --strict --instance", pair.relay.folder).returncode == 78


def test_check_names_every_fault_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    assert init_relay(folder, 2525, 2225, f"--ldif {PEOPLE}").returncode == 0
    config = folder / "config"
    mappings = len((config / "mappings").read_text().splitlines())
    with (config / "mappings").open("a") as file:
        file.write("  tcp_*|*|l|*  $Y third column\n")
    options = len((config / "option.dat").read_text().splitlines())
    with (config / "option.dat").open("a") as file:
        file.write("LOG_CONNECTION=many\n")
    (config / "dispatcher.cnf").write_text((config / "dispatcher.cnf").read_text().replace("MIN_PROCS=1", "MIN_PROCS=x"))
    checked = posthouse("check --instance", folder)
    assert checked.returncode == 78
    lines = checked.stdout.splitlines()
    assert all(re.fullmatch(r"config/[\w.]+:\d+: .+", line) for line in lines), lines
    places = [line.split(": ", 1)[0] for line in lines]
    assert f"config/mappings:{mappings + 1}" in places
    assert f"config/option.dat:{options + 1}" in places
    assert "config/dispatcher.cnf:5" in places
    assert posthouse("start --instance", folder).returncode == 78


# route


@pytest.mark.parametrize(
    ("address", "code", "result", "reply"),
    [
        ("john.doe+Lists/python@EXAMPLE.com", 0, "deliver", None),
        ("gone@hosted.example.org", 67, "refuse", (550, "5.1.6", "recipient no longer on server: gone@hosted.example.org")),
        ("ivan@example.com", 75, "defer", (452, "4.2.1", None)),
    ],
)
def test_route(pair: Pair, address: str, code: int, result: str, reply: tuple[int, str, str | None] | None) -> None:
    done = pair.ask(f"route {address} --json")
    assert done.returncode == code, done.stderr
    facts = json.loads(done.stdout)
    assert set(facts) == {"address", "result", "steps", "recipients", "reply"}
    assert (facts["address"], facts["result"]) == (address, result)
    assert facts["steps"]
    assert all(set(step) == {"step", "address", "channel", "file", "line"} for step in facts["steps"])
    if reply is None:
        assert facts["reply"] is None
        assert facts["recipients"] == [
            {
                "channel": "tcp_lmtpcs",
                "address": "@store1.example.com.lmtp:jdoe+Lists/python@lmtpcs-daemon",
                "connect": f"store1.example.com:{pair.store.port}",
                "wire": "jdoe+Lists/python",
            }
        ]
    else:
        assert facts["recipients"] == []
        assert set(facts["reply"]) == {"code", "enhanced", "text"}
        assert (facts["reply"]["code"], facts["reply"]["enhanced"]) == reply[:2]
        assert reply[2] is None or facts["reply"]["text"] == reply[2]


def test_route_shows_every_copy(pair: Pair) -> None:
    """A user with a mailbox and two forwarding addresses, one of them outside."""
    facts = pair.json("route bob@example.com")
    assert (facts["result"], facts["reply"]) == ("deliver", None)
    assert [(copy["channel"], copy["wire"]) for copy in facts["recipients"]] == [
        ("tcp_lmtpcs", "bfwd"), ("tcp_local", "bob@remote.test"), ("tcp_lmtpcs", "asmith"),
    ]  # fmt: skip


def test_route_defers_while_the_directory_is_down(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    assert init_relay(folder, 2525, 2225, f"--ldap ldap://127.0.0.1:{free_port()} --base o=usergroup").returncode == 0
    done = posthouse("route john.doe@example.com --json --instance", folder)
    assert done.returncode == 75, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["result"], facts["recipients"]) == ("defer", [])
    assert 400 <= facts["reply"]["code"] < 500


def test_route_explain_shows_every_intermediate_address(pair: Pair) -> None:
    done = pair.ask("route john.doe@example.com --from a@outside.test --explain")
    assert done.returncode == 0
    for part in (
        "john.doe@example.com", "@store1.example.com.LMTP:jdoe@lmtpcs-daemon", "@store1.example.com.lmtp:jdoe@lmtpcs-daemon",
        "config/imta.cnf:", "config/option.dat:", f"store1.example.com:{pair.store.port}", "RCPT TO:<jdoe>",
    ):  # fmt: skip
        assert part in done.stdout


def test_route_changes_nothing(pair: Pair) -> None:
    before = sorted(str(path) for path in pair.relay.folder.rglob("*"))
    pair.ask("route ann.smith@example.com --explain")
    assert sorted(str(path) for path in pair.relay.folder.rglob("*")) == before


# mapping


def test_mapping(pair: Pair) -> None:
    matched = pair.ask("mapping ORIG_SEND_ACCESS", "tcp_local|a@b.test|tcp_local|c@d.test")
    assert (matched.returncode, matched.stdout) == (0, "Output string: Relaying not permitted\nOutput flags: N\n")
    allowed = pair.ask("mapping PORT_ACCESS", "TCP|127.0.0.1|25|192.0.2.7|40000")
    assert allowed.returncode == 0
    assert allowed.stdout.splitlines()[1] == "Output flags: Y"
    none = pair.ask("mapping ORIG_SEND_ACCESS", "l|a@b.test|l|c@d.test")
    assert (none.returncode, none.stdout) == (1, "No match\n")


# queue


def test_queue_list(pair: Pair, waiting: str) -> None:
    (copy,) = pair.json("queue list")
    assert set(copy) == {
        "id", "copy", "channel", "state", "host", "attempts", "next_try", "enqueued", "size", "sender", "file", "recipients",
    }  # fmt: skip
    assert (copy["id"], copy["channel"], copy["state"], copy["sender"]) == (waiting, "tcp_lmtpcs", "file", "a@outside.test")
    assert copy["attempts"] >= 1
    assert ISO.fullmatch(copy["enqueued"])
    assert ISO.fullmatch(copy["next_try"])
    assert Path(copy["file"]).is_file()
    (recipient,) = copy["recipients"]
    assert set(recipient) == {"id", "address", "original", "status"}
    assert recipient["original"] == "ann.smith@example.com"
    assert recipient["address"] == "@store2.example.com.lmtp:asmith@lmtpcs-daemon"
    assert set(recipient["status"]) == {"code", "enhanced", "text"}
    table = pair.ask("queue list")
    assert table.returncode == 0
    assert re.search(r"^" + waiting + r"  file   tcp_lmtpcs  .*  ann.smith@example.com  ", table.stdout, re.MULTILINE)


def test_queue_retry_tries_at_once(pair: Pair, waiting: str) -> None:
    (before,) = pair.json("queue list")
    assert pair.ask("queue retry --all").returncode == 0
    wait_for(lambda: pair.json("queue list")[0]["attempts"] > before["attempts"])
    assert pair.ask("queue retry").returncode == 64


# trace


def test_trace_by_id_queue_name_message_id_and_address(pair: Pair, waiting: str) -> None:
    (copy,) = pair.json("queue list")
    known = pair.json("trace", waiting)
    assert len(known) >= 4
    for line in known:
        always = {"time", "action", "message", "recipient", "address", "original", "channel", "host", "reply"}
        assert set(line) - {"reason"} == always | {"message_id", "from", "client", "user", "file"}
        assert ISO.fullmatch(line["time"])
        assert line["message"] == waiting
        assert line["reply"] is None or set(line["reply"]) == {"code", "enhanced", "text"}
    assert [line["time"] for line in known] == sorted(line["time"] for line in known)
    (delivered,) = [line for line in known if line["action"] == "D"]
    assert (delivered["original"], delivered["reply"]["text"]) == ("JD@example.com", "<jdoe> OK")
    names = (Path(copy["file"]).name, "<commands-waiting@outside.test>", "commands-waiting@outside.test", "a@outside.test")
    for name in names:
        assert pair.json("trace", name)[: len(known)] == known, name
    for address in ("ann.smith@example.com", "jd@example.com"):  # by a recipient's address his part only (decision 194)
        own = [line for line in known if line["original"].lower() == address]
        assert own
        his = [line for line in pair.json("trace", address) if line["message"] == waiting]
        assert [line for line in his if line["recipient"] is not None] == own
    shown = pair.ask("trace", waiting)
    assert shown.returncode == 0
    assert len(shown.stdout.splitlines()) == 1 + len(known)
    line = rf"  delivered +{waiting}  a@outside.test +JD@example.com  .* 250 2.5.0 <jdoe> OK$"
    assert re.search(line, shown.stdout, re.MULTILINE)


def test_trace_of_what_nobody_knows(pair: Pair) -> None:
    done = pair.ask("trace nobody@nowhere.test --json")
    assert (done.returncode, done.stdout) == (1, "[]\n")


# store


def test_store_create_and_path(pair: Pair) -> None:
    root = pair.store.folder / "data" / "store" / "primary"
    at = ("--instance", pair.store.folder)
    missing = posthouse("store path Carla", *at)
    assert (missing.returncode, missing.stdout) == (67, "")
    for name, owner in (("Carla", "carla"), ("carla@EXAMPLE.com", "carla"), ("sue@hosted.example.org", "sue@hosted.example.org")):
        made = posthouse(f"store create {name}", *at)
        assert (made.returncode, made.stdout) == (0, f"{root / owner}\n")
        assert posthouse(f"store path {name}", *at).stdout == made.stdout
        assert {path.name for path in (root / owner).iterdir()} >= {"cur", "new", "tmp"}
    assert posthouse("store create ../carla", *at).returncode == 65


# status, start, reload, stop


def test_status(pair: Pair) -> None:
    facts = pair.json("status")
    assert facts["ready"] is True
    roles = {row["role"]: row["pid"] for row in facts["processes"]}
    assert {"supervisor", "dispatcher", "job_controller", "smtp"} <= set(roles)
    assert roles["supervisor"] == int((pair.relay.folder / "run" / "posthouse.pid").read_text())
    assert [(row["address"], row["port"]) for row in facts["listeners"]] == [("127.0.0.1", pair.relay.port)]
    assert pair.ask("status").returncode == 0


def test_a_second_start_is_refused(pair: Pair) -> None:
    done = pair.ask("start")
    assert (done.returncode, done.stdout) == (75, "")
    assert str(pair.json("status")["processes"][0]["pid"]) in done.stderr
    assert pair.ask("status").returncode == 0


def test_reload_takes_a_good_configuration_and_keeps_the_old_one_when_the_new_is_bad(pair: Pair) -> None:
    path = pair.relay.folder / "config" / "mappings"
    good = path.read_text()

    def sender_refused() -> bool:
        with smtp(pair.relay) as client:
            client.ehlo()
            client.mail("spam@outside.test")
            code, text = client.rcpt("jd@example.com")
            return (code, text[:23]) == (550, b"5.7.1 Go away, for once")

    assert not sender_refused()
    try:
        path.write_text(good + "  *|spam@*|*|*  $NGo$ away,$ for$ once\n")
        assert pair.ask("reload").returncode == 0
        wait_for(sender_refused)
        path.write_text(good + "  *|spam@*|*|*  $Y third column\n")
        refused = pair.ask("reload")
        assert refused.returncode == 78
        assert re.search(r"config/mappings:\d+: ", refused.stderr)
        assert sender_refused()
    finally:
        path.write_text(good)
    assert pair.ask("reload").returncode == 0
    wait_for(lambda: not sender_refused())


def test_start_says_ready_and_stop_waits(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    assert init_store(folder, free_port()).returncode == 0
    assert posthouse("status --instance", folder).returncode == 69
    words = [POSTHOUSE, "start", "--instance", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"ready\n"
        assert posthouse("status --instance", folder).returncode == 0
        assert posthouse("stop --instance", folder).returncode == 0
        assert started.wait(10) == 0
        assert started.stdout.read() == b""
    assert posthouse("status --json --instance", folder).returncode == 69
    assert posthouse("stop --instance", folder).returncode == 0
    assert posthouse("reload --instance", folder).returncode == 69
