"""What the configuration says of channels, as the worker and the controller read it."""

from pathlib import Path

import pytest

from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance
from posthouse.mail.envelope import Priority
from posthouse.relay.channels.settings import ChannelSettings
from posthouse.relay.job_controller.plan import Plan
from posthouse.relay.job_controller.programs import Program, program_of
from posthouse.relay.job_controller.programs import check as programs_check
from support.jobs_relay import JobsRelay


def configuration(tmp_path: Path, channel_option: str = "", keywords: str = "") -> Configuration:
    JobsRelay(tmp_path, 2225, channel_option=channel_option, keywords=keywords)
    return load(Instance(tmp_path))


@pytest.mark.parametrize(
    ("channel", "program"),
    [
        ("tcp_lmtpcs", Program.LMTP),
        ("tcp_local", Program.SMTP),
        ("process", Program.PROCESS),
        ("reprocess", Program.PROCESS),
        ("hold", Program.PROCESS),
        ("bitbucket", Program.BITBUCKET),
        ("l", Program.NONE),
    ],
)
def test_programs(tmp_path: Path, channel: str, program: Program) -> None:
    read = configuration(tmp_path)
    assert program_of(read, read.imta.channels[channel]) is program


@pytest.mark.parametrize("command", ["IMTA_BIN:ims_master", "/opt/SUNWmsgsr/lib/ims_master", "IMTA_BIN:ims_ms"])
def test_the_program_of_the_store_has_the_products_name_too(tmp_path: Path, command: str) -> None:
    configuration(tmp_path)
    with (tmp_path / "config" / "imta.cnf").open("a") as file:
        file.write("\nims-ms\nims-ms-daemon\n")
    with (tmp_path / "config" / "job_controller.cnf").open("a") as file:
        file.write(f"\n[CHANNEL=ims-ms]\nmaster_command={command}\n")
    read = load(Instance(tmp_path))
    assert program_of(read, read.imta.channels["ims-ms"]) is Program.STORE
    assert programs_check(read) == []


def test_channels_nobody_empties_are_told_of(tmp_path: Path) -> None:
    read = configuration(tmp_path)
    assert programs_check(read) == []
    with (tmp_path / "config" / "imta.cnf").open("a") as file:
        file.write("\nconversion\nconversion-daemon\n\ntcp_none\nnone-daemon\n\ntcp_in smtp slave\nin-daemon\n")
    assert [fault.reason for fault in programs_check(load(Instance(tmp_path)))] == [
        "channel conversion: program conversion is not built, so its mail waits",
        "channel tcp_none: it has neither smtp nor lmtp, so its mail waits",
    ]


def test_defaults(tmp_path: Path) -> None:
    read = configuration(tmp_path)
    settings = ChannelSettings.read(read, read.imta.channels["tcp_lmtpcs"])
    assert settings.fast_retry
    assert settings.sends_flags
    assert settings.reply_wait == settings.mail_wait == settings.data_wait == settings.send_wait == 600.0
    assert settings.final_wait(0, 0) == 600.0
    assert settings.final_wait(12, 0) == pytest.approx(660, abs=0.1), "5 s for each address"
    assert settings.final_wait(1, 1 << 20) == pytest.approx(600 + 5 + 1024 * (0.1 + 0.2), abs=0.5)


def test_the_option_file_counts_in_minutes(tmp_path: Path) -> None:
    text = "MAILBOX_BUSY_FAST_RETRY=0\nSTATUS_DATA_RECEIVE_TIME=0.5\nATTEMPT_TRANSACTIONS_PER_SESSION=7\nMAX_CLIENT_THREADS=3\n"
    read = configuration(tmp_path, text, "noflagtransfer")
    settings = ChannelSettings.read(read, read.imta.channels["tcp_lmtpcs"])
    assert not settings.fast_retry
    assert not settings.sends_flags
    assert settings.data_wait == 30.0
    assert settings.transactions_per_session == 7
    assert Plan(read)._limits(read.imta.channels["tcp_lmtpcs"]).client_threads == 3


def test_the_plan(tmp_path: Path) -> None:
    plan = Plan(configuration(tmp_path))
    assert plan.backoff("tcp_lmtpcs", Priority.NORMAL) == (3600.0,)
    assert plan.ages("tcp_lmtpcs", Priority.NORMAL) == (3, 6, 9, 12)
    assert plan.ages("tcp_gone", Priority.NORMAL) == (), "nobody may judge mail of a channel that is not configured"
    assert plan.unit == 86400.0
    assert plan.program_pools() == ["SMTP_POOL"]
    assert not plan.limits_of_unknown().program


def test_a_machine_with_a_store_starts_its_worker_only(tmp_path: Path) -> None:
    configuration(tmp_path)
    with (tmp_path / "config" / "imta.cnf").open("a") as channels:
        channels.write("\nims-ms pool IMS_POOL\nims-ms-daemon\n")
    with (tmp_path / "config" / "job_controller.cnf").open("a") as jobs:
        jobs.write("\n[POOL=IMS_POOL]\njob_limit=2\n")
    assert Plan(load(Instance(tmp_path))).program_pools() == ["IMS_POOL"]
