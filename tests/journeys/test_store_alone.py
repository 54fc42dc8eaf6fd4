"""A store needs imta.cnf, mappings, dispatcher.cnf, imta.tailor and store.conf, no python-ldap, and asks no directory."""

import json
import os
import shutil
import smtplib
import subprocess
import sys
from pathlib import Path

import posthouse
from posthouse.testing.tiers import RunningInstance
from support.family_rig import wait_for
from support.journey_mail import Ledger, reconcile, wait_delivered
from support.journey_tiers import everyone, journey
from support.store_alone import deliver, store_alone

SOURCE = Path(posthouse.__file__).parent
NEEDED = {"imta.cnf", "mappings", "dispatcher.cnf", "imta.tailor", "store.conf"}
NO_LDAP = '''"""Stands before python-ldap on the path."""
raise ImportError("python-ldap is not installed here")
'''


def sockets(pid: int) -> set[str]:
    """Inodes of a process's open sockets."""
    names = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.exists() or path.is_symlink()]
    return {name[8:-1] for name in names if name.startswith("socket:")}


def remote_ports(pid: int) -> set[int]:
    """Ports at the far end of its established TCP connections."""
    mine = sockets(pid)
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in mine and fields[3] == "01":
                ports.add(int(fields[2].rpartition(":")[2], 16))
    return ports


def loaded(instance: RunningInstance) -> set[str]:
    """Shared objects of its processes that belong to LDAP."""
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in everyone(instance))
    return {line.split()[-1] for line in maps.splitlines() if "ldap" in line.lower()}


def test_a_worker_serves_on_when_what_is_on_disk_would_start_none(tmp_path: Path) -> None:
    with store_alone(tmp_path, start=False) as store:
        services = store.folder / "config" / "dispatcher.cnf"
        services.write_text(services.read_text().replace("MAX_LIFE_CONNS=10000\n", "MAX_LIFE_CONNS=2\n"))
        store.start()
        mappings = store.folder / "config" / "mappings"
        good = mappings.read_text()
        mappings.write_text(f"{good}\nNOT A TABLE\n")

        def served() -> list[str]:
            assert deliver(store, "anna", "m") == [250]
            return [each["text"] for each in store.json("status")["troubles"]]

        wait_for(lambda: any(text.startswith("LMTPSS: a new worker cannot start: config/mappings:") for text in served()))
        assert "config/mappings: changed and not read yet: posthouse reload" in served()
        mappings.write_text(good)
        wait_for(lambda: not served())


def test_a_program_changed_beneath_a_running_store_is_told(tmp_path: Path) -> None:
    with store_alone(tmp_path) as store:
        assert store.json("status")["troubles"] == []
        assert 'posthouse_troubles{what="version"} 0\n' in store.command("metrics").stdout
        newer = tmp_path / "newer"

        def said_by_newer(*words: str) -> str:
            shutil.copytree(SOURCE, newer / "posthouse", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            command = [sys.executable, "-m", "posthouse.cli", *words, "--instance", str(store.folder)]
            return subprocess.run(
                command, env={**os.environ, "PYTHONPATH": str(newer)}, capture_output=True, text=True, check=True, timeout=60
            ).stdout

        (trouble,) = wait_for(lambda: json.loads(said_by_newer("status", "--json"))["troubles"])
        assert trouble["what"] == "version"
        assert 'posthouse_troubles{what="version"} 1\n' in said_by_newer("metrics")


def test_a_store_of_five_files_takes_mail_without_a_directory(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "ldap.py").write_text(NO_LDAP)
    (blocked / "_ldap.py").write_text(NO_LDAP)
    ledger = Ledger()
    with journey(tmp_path, users=1, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        config = store.folder / "config"
        (config / "imta_tailor").rename(config / "imta.tailor")
        for path in config.iterdir():
            if path.name not in NEEDED:
                path.unlink()
        assert {path.name for path in config.iterdir()} == NEEDED
        assert store.command("check").stdout == ""
        store.start(environment={"PYTHONPATH": f"{blocked}:{os.environ.get('PYTHONPATH', '')}"})
        with smtplib.LMTP(store.address, store.port, timeout=20) as client:
            client.ehlo()
            assert client.sock is not None
            own = client.sock.getsockname()[1]
            for _ in range(10):
                assert ledger.send(client, ["anna"]).code == 250
            # the only connection any process has is ours
            assert {port for pid in everyone(store) for port in remote_ports(pid)} <= {own}
        assert loaded(store) == set()
        wait_delivered(ledger, tiers.stores)
        assert store.stop() == 0
        assert "ldap" not in store.output.read_text().lower()
        assert reconcile(ledger, tiers.stores, relayed=False).check().duplicates == 0
