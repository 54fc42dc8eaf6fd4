"""`status` names the files that were edited and not reloaded: whatever was read, included or looked for, and nothing else."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from posthouse.cli.edited import edited
from posthouse.config.configuration import load
from posthouse.config.instance import Instance
from support.relay_files import OPTIONS, relay_configuration

NOBODY = 65534
SRS = "SRS_DOMAIN=example.com\nSRS_SECRET_FILE=srs.secret\n"
MORE = {
    "srs.secret": "0123456789abcdef\n", "own.sieve": "keep;\n", "return_prefix.txt": "x\n", "more.cnf": "! nothing\n",
    "tcp_local_option": "MAX_CLIENT_THREADS=3\n", "mappings": "FROM_ACCESS\n\n  *  $Y\n",
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Instance:
    instance = relay_configuration(tmp_path, options=OPTIONS).instance
    (instance.config / "option.dat").write_text(OPTIONS + SRS)
    for name, text in MORE.items():
        (instance.config / name).write_text(text)
    imta = instance.config / "imta.cnf"
    imta.write_text(imta.read_text().replace("\ntcp_local ", "\n<more.cnf\ntcp_local sourcefilter file:own.sieve "))
    return instance


def read(place: Instance) -> Mapping[str, str]:
    return {str(path): digest for path, digest in load(place).files.items()}


@pytest.mark.parametrize(
    "name", [*MORE, "imta.cnf", "option.dat", "imta_tailor", "job_controller.cnf", "aliases", "tcp_lmtpcs_option"]
)
def test_each_file_counts_when_it_is_changed_taken_away_or_made(place: Instance, name: str) -> None:
    path = place.config / name
    before, known = path.read_bytes() if path.exists() else None, read(place)
    assert edited(place, known) == []
    began = time.time()
    path.write_bytes((before or b"") + b"\n")
    (trouble,) = edited(place, known)
    assert (trouble.what, trouble.text) == ("configuration", f"config/{name}: changed and not read yet: posthouse reload")
    assert began - 2 < trouble.since < time.time() + 2
    path.unlink()
    assert bool(edited(place, known)) == (before is not None)
    path.write_bytes(before or b"")
    assert bool(edited(place, known)) == (before is None), "what it was is no change"


def test_what_only_its_owner_may_read_is_not_called_changed(place: Instance) -> None:
    known = read(place)
    place.config.chmod(0)
    os.seteuid(NOBODY if os.geteuid() == 0 else os.geteuid())
    try:
        assert edited(place, known) == []
    finally:
        os.seteuid(os.getuid())
        place.config.chmod(0o700)


def test_other_files_do_not_count(place: Instance) -> None:
    known = read(place)
    (place.config / "imta.cnf~").write_text("x")
    (place.config / ".imta.cnf.swp").write_text("x")
    assert edited(place, known) == []
    assert edited(place, {}) == []
