"""What `posthouse queue` orders say of the job controller's answer, and the exit codes."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.queue import app
from posthouse.relay.job_controller.local_socket import NAME

NOTHING: dict[str, Any] = {
    "copies": 0, "recipients": 0, "done": 0, "unchanged": 0, "in_place": 0, "failed": 0, "busy": 0, "faults": [], "stayed": [],
    "missing": [], "beyond": 0,
}  # fmt: skip


@contextmanager
def answers(instance: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> Iterator[None]:
    """A job controller that says this to every request."""
    monkeypatch.chdir(instance / "run")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(NAME)
        listener.listen()
        listener.settimeout(30)

        def serve() -> None:
            for _ in ("status", "the order"):
                peer, _ = listener.accept()
                with peer, peer.makefile("rb") as lines:
                    lines.readline()
                    peer.sendall(json.dumps(answer).encode() + b"\n")

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield
        server.join(30)


@pytest.mark.parametrize(
    ("op", "answer", "code", "out", "err"),
    [
        ("reroute", {"copies": 5, "unchanged": 5, "in_place": 5}, 0, "0 copies rerouted; 5 are where the directory says\n", ""),
        (
            "reroute", {"copies": 4, "done": 1, "unchanged": 3, "in_place": 2, "stayed": ["A: u0: a program"]}, 0,
            "1 copies rerouted; 2 are where the directory says; 1 stay\nA: u0: a program\n", "",
        ),
        (
            "reroute", {"copies": 3, "failed": 3, "faults": ["A: 450 4.3.0 no answer"]}, 70, "0 copies rerouted\n",
            "posthouse queue reroute: A: 450 4.3.0 no answer\nposthouse queue reroute: 2 others could not be changed\n",
        ),
        ("hold", {"copies": 2, "done": 1, "unchanged": 1}, 0, "1 copies held; 1 need not be\n", ""),
        (
            "drop", {"copies": 1, "busy": 1}, 75, "0 copies dropped\n",
            "posthouse queue drop: 1 copies were being delivered and were left alone; try again\n",
        ),
        ("drop", {"copies": 1, "done": 1, "missing": ["B"]}, 66, "1 copies dropped\n",
         "posthouse queue drop: B: no copy that waits is meant by this id\n"),
    ],
)  # fmt: skip
def test_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    op: str, answer: dict[str, Any], code: int, out: str, err: str,
) -> None:  # fmt: skip
    for name in ("config", "data", "run"):
        (tmp_path / name).mkdir()
    ended = 0
    with answers(tmp_path, monkeypatch, NOTHING | answer):
        try:
            app([op, "--all", "--instance", str(tmp_path)], exit_on_error=False, result_action="return_value")
        except SystemExit as end:
            ended = int(str(end.code or 0))
    said = capsys.readouterr()
    assert (ended, said.out, said.err) == (code, out, err)
