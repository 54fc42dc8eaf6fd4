"""`init store --native`, and what `check` says of a native service that cannot work."""

from pathlib import Path

import pytest

from posthouse.cli.init import app
from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance
from posthouse.store.native.entry import Quoting
from posthouse.store.native.settings import LockWait, check, native_settings

STORE = ["--lmtp", "127.0.0.1:2250", "--host", "store1.example.com", "--default-domain", "example.com", "--allow", "192.0.2.1"]


def init(folder: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(["store", str(folder), *STORE, *arguments])
    return int(ended.value.code or 0)


def test_switched_on(tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("")
    arguments = ["--native-spool", str(tmp_path / "mail"), "--native-passwd", str(tmp_path / "passwd")]
    assert init(tmp_path / "s", "--native", "127.0.0.1:2260", *arguments, "--native-files", str(tmp_path / "files")) == 0
    configuration = load(Instance(tmp_path / "s"), check)
    settings = native_settings(configuration, "tcp_lmtpsn")
    assert (settings.spool, settings.passwd, settings.files) == tuple(tmp_path / name for name in ("mail", "passwd", "files"))
    assert settings.quoting is Quoting.MBOXRD
    assert not settings.bounce
    assert configuration.warnings == ()
    (tmp_path / "mail").rmdir()
    (tmp_path / "files").rmdir()
    (tmp_path / "passwd").unlink()
    with pytest.raises(ConfigurationError) as found:
        load(Instance(tmp_path / "s"), check)
    assert [str(fault).partition(": ")[2].partition(":")[0] for fault in found.value.faults] == [
        "native.spool", "native.passwd", "native.files",
    ]  # fmt: skip


def test_as_shipped(tmp_path: Path) -> None:
    assert init(tmp_path / "s") == 0
    configuration = load(Instance(tmp_path / "s"), check)
    assert "tcp_lmtpsn" not in configuration.imta.channels
    with pytest.raises(ConfigurationError, match=r"needs native\.spool"):
        native_settings(configuration, "tcp_lmtpsn")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--native", "127.0.0.1:2250"], 64, "--lmtp has this port"),
        (["--native", "2250"], 64, "--lmtp has this port"),
        (["--native", "127.0.0.1:x"], 64, "--native 127.0.0.1:x"),
        (["--native-spool", "/tmp"], 64, "need --native"),
        (["--native", "127.0.0.1:2260", "--native-passwd", "/nonexistent"], 66, "/nonexistent: no such file"),
    ],
)
def test_bad_arguments_write_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    assert init(tmp_path / "s", *arguments) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def native(tmp_path: Path, options: str, *, channel: str = "tcp_lmtpsn") -> Instance:
    """A store with a native service and an option file."""
    if not (tmp_path / "s").exists():
        assert init(tmp_path / "s", "--native", "127.0.0.1:2260", "--native-spool", str(tmp_path / "mail")) == 0
    (tmp_path / "s" / "config" / f"{channel}_option").write_text(options)
    return Instance(tmp_path / "s")


def test_options_of_the_product_s_native_channel(tmp_path: Path) -> None:
    options = "FORCE_CONTENT_LENGTH=1\nREPEAT_COUNT=4\nSLEEP_TIME=0.5\n"
    configuration = load(native(tmp_path, options), check)
    assert configuration.warnings == ()
    settings = native_settings(configuration, "tcp_lmtpsn")
    assert (settings.quoting, settings.wait) == (Quoting.LENGTH, LockWait(1.5, 0.5, 0.5))
    for one, wait in (("REPEAT_COUNT=3", LockWait(4, 2, 2)), ("SLEEP_TIME=1", LockWait(29, 1, 1)), ("", LockWait(5, 0.02, 0.25))):
        assert native_settings(load(native(tmp_path, one), check), "tcp_lmtpsn").wait == wait


@pytest.mark.parametrize("options", ["REPEAT_COUNT=0", "SLEEP_TIME=-1", "SLEEP_TIME=0", "SLEEP_TIME=60"])
def test_numbers_nobody_can_wait_by_are_faults(tmp_path: Path, options: str) -> None:
    with pytest.raises(ConfigurationError, match="a positive number of tries and seconds, together at most 300 seconds"):
        load(native(tmp_path, options), check)


def test_options_that_are_not_read_are_said_so(tmp_path: Path) -> None:
    instance = native(tmp_path, "FORWARD_FORMAT=%h/.forward\nSHELL_TMPDIR=/tmp\n")
    native(tmp_path, "REPEAT_COUNT=3\n", channel="tcp_lmtpss")
    told = [str(fault) for fault in load(instance, check).warnings]
    unread = [line.partition(" is not read: ")[0].rpartition(" ")[2] for line in told]
    assert unread == ["FORWARD_FORMAT", "SHELL_TMPDIR", "REPEAT_COUNT"]
