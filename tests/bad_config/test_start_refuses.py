"""`start` on a configuration that cannot be served: the exit code, and every fault on stderr."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.family_rig import Family


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path / "instance")
    yield made
    made.end()


def refused(family: Family) -> tuple[int, str]:
    """Exit code and stderr; nothing may be left running and nothing said on stdout."""
    process = family.launch()
    assert process.stdout is not None
    assert process.stdout.read() == ""
    code = process.wait(20)
    assert family.living() == []
    return code, family.said.read_text()


def test_all_faults_of_all_files_at_once(family: Family) -> None:
    family.write(
        "dispatcher.cnf", "[SERVICE=ONE]\nPORT=many\n[SERVICE=TWO]\nPORT=2\nIMAGE=IMTA_BIN:tcp_lmtp_server\nMAX_CONNS=x\n"
    )
    family.write("mappings", "PORT_ACCESS\n\n  TCP|*|*|*|*  $Y  third\n")
    code, said = refused(family)
    assert code == 78
    for part in ("dispatcher.cnf:1: service ONE has no IMAGE", "dispatcher.cnf:2:", "dispatcher.cnf:6:", "mappings:3:"):
        assert part in said


def test_a_mapping_that_cannot_be_compiled(family: Family) -> None:
    family.write("mappings", "PORT_ACCESS\n\n  $(10.0.0.0/99)|*  $Y\n")
    code, said = refused(family)
    assert code == 78
    assert "mappings:3:" in said


def test_an_image_that_is_not_there(family: Family) -> None:
    family.write("dispatcher.cnf", "[SERVICE=N]\nPORT=226\nIMAGE=IMTA_BIN:tcp_pop_server\n")
    code, said = refused(family)
    assert code == 78
    assert "dispatcher.cnf:3: IMAGE IMTA_BIN:tcp_pop_server is none of" in said


def test_a_tls_port_without_certificate(family: Family) -> None:
    family.write("dispatcher.cnf", "[SERVICE=T]\nTLS_PORT=465\nIMAGE=IMTA_BIN:tcp_lmtp_server\n")
    assert refused(family) == (78, "config/dispatcher.cnf:1: service T: TLS_PORT needs a TLS_CERTIFICATE\n")


def test_a_port_in_use_is_69_and_named(family: Family) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        taken.bind(("::", family.port))
        taken.listen()
        code, said = refused(family)
    assert code == 69
    assert f"cannot listen on all addresses, port {family.port}: Address already in use" in said


def test_a_worker_that_finds_faults(family: Family) -> None:
    family.write("echo", "bad")
    code, said = refused(family)
    assert code == 78
    assert "echo:1: bad word" in said
    assert "echo:2: second fault" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the user")
def test_a_user_that_does_not_exist(family: Family) -> None:
    family.write("imta_tailor", "IMTA_USER=nobody-of-this-name\n")
    code, said = refused(family)
    assert code == 78
    assert "there is no such user" in said


def test_a_folder_that_is_no_instance(family: Family, tmp_path: Path) -> None:
    for file in family.instance.config.iterdir():
        file.unlink()
    code, said = refused(family)
    assert code == 78
    assert "imta.cnf: does not exist" in said
    assert "dispatcher.cnf: does not exist" in said
    assert not family.instance.run.exists()
