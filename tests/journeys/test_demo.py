import json
import subprocess
import sys
from pathlib import Path


def test_every_sample_ends_where_it_should(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "posthouse.cli", "demo", "--json"],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout)
    recipients = facts["recipients"]
    assert len({row["sample"] for row in recipients}) >= 20
    assert facts["accepted"] + facts["refused"] == len(recipients)
    assert facts["delivered"] + facts["deferred"] == facts["accepted"]
    assert all(row["mailbox"] for row in recipients if row["outcome"] == "delivered")
    assert not list(tmp_path.glob("posthouse-demo-*"))


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    done = subprocess.run(
        [sys.executable, "-m", "posthouse.cli", "demo", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 73
    assert "not an empty folder" in done.stderr
