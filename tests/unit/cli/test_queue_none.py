"""`posthouse queue` on a store that only hears LMTP: it has no queue, and says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from posthouse.cli.queue import list_, show, summary, why
from posthouse.cli.queue_filter import Filter
from posthouse.cli.queue_none import NO_QUEUE, has_no_queue
from posthouse.cli.queue_orders import order
from posthouse.config.instance import Instance
from posthouse.relay.job_controller.selection import Selection
from support.store_files import store_instance


@pytest.fixture
def store(tmp_path: Path) -> Instance:
    instance = store_instance(tmp_path)
    (instance.data / "journal").mkdir()
    instance.queue.mkdir()
    return instance


def test_list_and_summary_say_so(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    list_(instance=store.root)
    summary(instance=store.root)
    assert capsys.readouterr().out == f"{NO_QUEUE}\n{NO_QUEUE}\n"
    list_(instance=store.root, as_json=True)
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("command", [show, why])
def test_one_copy_cannot_be_there(store: Instance, command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command("0ABC", which=Filter(), instance=store.root)
    assert ended.value.code == 66
    assert capsys.readouterr().err.endswith(f": {NO_QUEUE}\n")


def test_an_order_blames_no_job_controller(store: Instance, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        order(store, "hold", Selection(every=True), dry_run=False)
    assert ended.value.code == 66
    assert capsys.readouterr().err == f"posthouse queue hold: {NO_QUEUE}\n"


def test_what_an_earlier_life_left_is_shown(store: Instance) -> None:
    assert has_no_queue(store)
    (store.queue / "tcp_local").mkdir()
    assert has_no_queue(store)
    (store.queue / "tcp_local" / "ZZ0001.00").write_bytes(b"x")
    assert not has_no_queue(store)


def test_a_channel_that_queues_has_one(store: Instance) -> None:
    assert has_no_queue(store)
    (store.root / "config" / "imta.cnf").write_text("\n\ntcp_lmtpss lmtp\ntcp_lmtpss-daemon\n\nims-ms\nims-ms-daemon\n")
    jobs = "[POOL=DEFAULT]\njob_limit=1\n[CHANNEL=ims-ms]\nmaster_command=IMTA_BIN:ims_ms\n"
    (store.root / "config" / "job_controller.cnf").write_text(jobs)
    assert not has_no_queue(store)
