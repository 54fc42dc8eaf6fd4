"""The chapter's own snippets load as printed, without a warning (LMTP chapter 16.4)."""

import shutil
from pathlib import Path

from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance

CHAPTER = Path(__file__).parents[2] / "data" / "chapter"
SMTP = "[SERVICE=SMTP]\nPORT=25\nIMAGE=IMTA_BIN:tcp_smtp_server\n"


def loaded(tmp_path: Path, *files: Path, **texts: str) -> Configuration:
    (tmp_path / "config").mkdir()
    for file in files:
        shutil.copy(file, tmp_path / "config" / file.name)
    for name, text in texts.items():
        (tmp_path / "config" / name.replace("_cnf", ".cnf")).write_text(text)
    return load(Instance(tmp_path))


def test_relay(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, *(CHAPTER / "relay").iterdir(), dispatcher_cnf=SMTP)
    assert configuration.warnings == ()
    assert [(rule.pattern, rule.template, rule.line) for rule in configuration.imta.rewrite_rules] == [
        (".lmtp", "$E$F$U%$H.lmtp@lmtpcs-daemon", 3),
        (".lmtp", "$B$F$U%$H@$H@lmtpcs-daemon", 4),
    ]
    channel = configuration.imta.by_tag("LMTPCS-Daemon")
    assert channel is not None
    assert channel.name == "tcp_lmtpcs"
    assert list(channel.keywords) == (
        [
            "defragment",
            "lmtp",
            "multigate",
            "connectcanonical",
            "fileinto",
            "port",
            "nodns",
            "single_sys",
            "subdirs",
            "maxjobs",
            "pool",
            "dequeue_removeroute",
        ]
    )
    assert channel.value("fileinto") == "@$4O:$U+$S@$D"
    assert (channel.port, channel.subdirs, channel.maxjobs, channel.pool) == (225, 20, 7, "SMTP_POOL")
    assert channel.single_sys
    assert channel.is_lmtp
    assert not channel.is_smtp
    assert not channel.single
    assert channel.unknown == ()
    clauses = configuration.options.text("DELIVERY_OPTIONS").split(",")
    assert clauses[0] == r"#*mailbox=@$X.LMTP:$M%$\$2I$_+$2S@lmtpcs-daemon"
    assert clauses[-1] == "#*^!autoreply=$M+$D@bitbucket"
    assert len(clauses) == 7


def test_store_loads_with_the_printed_files_only(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, *(CHAPTER / "store").iterdir())
    assert configuration.warnings == ()
    assert configuration.job_controller is None
    assert configuration.imta.rewrite_rules == ()
    channel = configuration.imta.channels["tcp_lmtpss"]
    assert channel.has("flagtransfer")
    assert channel.is_lmtp
    assert channel.official_host == "tcp_lmtpss-daemon"
    (table,) = configuration.mappings
    assert (table.name, len(table.entries)) == ("PORT_ACCESS", 5)
    assert table.entries[0].pattern == "TCP|*|225|192.18.74.206|*"
    assert table.entries[4].template == "$N500$ Do$ not$ connect$ to$ this$ machine"
    assert table.entries[4].line == 6


def test_store_dispatcher(tmp_path: Path) -> None:
    configuration = loaded(tmp_path, *(CHAPTER / "store").iterdir())
    (service,) = configuration.dispatcher.services
    assert (service.name, service.ports, service.image, service.channel) == ("LMTPSS", (225,), "tcp_lmtp_server", "tcp_lmtpss")
    assert service.logfile == tmp_path / "log" / "tcp_lmtpss_server.log"
    assert (service.min_procs, service.max_procs, service.min_conns, service.max_conns) == (1, 10, 30, 50)
    assert (service.max_shutdown, service.max_life_time, service.max_life_conns) == (2, 86400, 10000)
    assert (service.max_idle_time, service.historical_time, service.stacksize) == (600, 0, 2048000)
    assert (service.backlog, service.max_handoffs, service.interface_address) == (500, 5, "")
    assert service.enabled


def test_full_mta_part_of_the_dispatcher_file(tmp_path: Path) -> None:
    part = (CHAPTER / "full_mta" / "dispatcher.cnf").read_text()
    files = [CHAPTER / "store" / name for name in ("imta.cnf", "mappings")]
    configuration = loaded(tmp_path, *files, dispatcher_cnf=SMTP + part)
    assert configuration.warnings == ()
    assert [service.name for service in configuration.dispatcher.services] == ["SMTP", "LMTPSS"]
