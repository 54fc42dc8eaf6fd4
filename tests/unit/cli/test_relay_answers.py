"""What `route`, `check` and `queue list` answer about an instance that is not running."""

import threading
from pathlib import Path

import pytest

from posthouse.cli.check import app as check
from posthouse.cli.init import app as init
from posthouse.cli.queue_on_disk import list_from_disk
from posthouse.cli.route import app as route
from posthouse.config.instance import Instance
from posthouse.journal.commit import Completion
from posthouse.journal.disk import LinuxDisk
from posthouse.journal.segment import Tier
from posthouse.journal.writer import Writer
from posthouse.relay.job_controller.selection import Selection

PEOPLE = Path(__file__).parents[2] / "data" / "directory" / "people.ldif"


def _code(app: object, *arguments: str) -> int:
    assert callable(app)
    with pytest.raises(SystemExit) as ended:
        app(list(arguments))
    assert isinstance(ended.value.code, int | None)
    return ended.value.code or 0


@pytest.fixture
def relay(tmp_path: Path) -> Path:
    folder, people = tmp_path / "relay", tmp_path / "people.ldif"
    people.write_bytes(PEOPLE.read_bytes())
    listen = ["--smtp", "127.0.0.1:2525", "--host", "relay1.example.com", "--default-domain", "example.com"]
    assert _code(init, "relay", str(folder), *listen, "--ldif", str(people)) == 0
    return folder


def test_route_says_which_script_decides(relay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = "the Sieve script of jdoe decides (mailSieveRuleSource, 1 line)"
    assert _code(route, "john.doe@example.com", "--instance", str(relay)) == 0
    assert capsys.readouterr().out.count(said) == 1
    assert _code(route, "john.doe@example.com", "--explain", "--instance", str(relay)) == 0
    assert capsys.readouterr().out.count(said) == 1
    assert _code(route, "sue@hosted.example.org", "--instance", str(relay)) == 0
    assert "Sieve" not in capsys.readouterr().out


def test_route_shows_what_reprocess_makes_of_what_it_is_given_only(relay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An address that is accepted as it stands was once shown a second time."""
    inside = ("--source", "127.0.0.1", "--channel", "reprocess")
    assert _code(route, "someone@outside.example", "--explain", *inside, "--instance", str(relay)) == 0
    shown = capsys.readouterr().out
    assert shown.count("connect to outside.example:25") == 1
    assert "reprocess channel" not in shown
    assert _code(route, "someone@outside.example", "--json", *inside, "--instance", str(relay)) == 0
    assert '"later"' not in capsys.readouterr().out


def test_an_ldif_file_that_is_gone_is_one_fault(relay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (relay.parent / "people.ldif").unlink()
    assert _code(check, "--instance", str(relay)) == 78
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("people.ldif does not exist")


@pytest.mark.parametrize("tier", list(Tier))
def test_a_journal_without_a_queue_shows_nothing(relay: Path, tier: Tier) -> None:
    """Records of a store, and records of a relay whose envelope makes no sense."""
    disk = LinuxDisk()
    folder = disk.open_dir(str(relay / "data" / "journal"))
    done: list[Completion] = []
    answered = threading.Event()

    def completed(answers: list[Completion]) -> None:
        done.extend(answers)
        answered.set()

    writer = Writer(disk, folder, tier, "test", completed=completed, segment_size=65536 * 2)
    writer.start()
    assert writer.append("one", b"no envelope of a relay", [b"body"], 1)
    assert answered.wait(20)
    writer.stop()
    disk.close(folder)
    assert [each.error for each in done] == [None]
    assert list_from_disk(Instance(relay), Selection()) == []


def test_users_whose_mail_host_is_the_relay_itself_are_a_fault(relay: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = relay.parent / "people.ldif"
    before = people.read_bytes()
    assert _code(check, "--instance", str(relay)) == 0
    people.write_bytes(before.replace(b"mailHost: store1.example.com", b"mailHost: Relay1.example.com"))
    capsys.readouterr()
    assert _code(check, "--instance", str(relay)) == 78
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("config/option.dat:")
    assert "delivery option mailbox" in line
    assert line.endswith("not possible in single-system deployments")
