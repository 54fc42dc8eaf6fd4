"""The programs in `examples/`, each as its user runs it."""

import os
import signal
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from posthouse.lmtp_client import LmtpClient
from posthouse.testing.tiers import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def running(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background is deaf to it
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        signal.signal(signal.SIGINT, before)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run_client(port: int, *recipients: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "lmtp_client.py"), str(port), *recipients],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


def listening(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_server_in_15_lines_and_client() -> None:
    source = (EXAMPLES / "lmtp_server.py").read_text(encoding="utf-8").splitlines()[1:]
    assert len([line for line in source if line]) <= 15
    port = free_port()
    with running("lmtp_server.py", str(port)) as server:
        assert listening(server) == f"listening on port {port}\n"
        client = run_client(port, "bob@example.com", "nobody@example.com", "eve@example.com")
        assert client.stderr == ""
        assert client.stdout.splitlines() == [
            "bob@example.com: Delivered: 250 2.1.5 bob@example.com has it",
            "nobody@example.com: Failed: 550 5.1.1 nobody@example.com has no mailbox here",
            "eve@example.com: Delivered: 250 2.1.5 eve@example.com has it",
        ]
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=10)
    assert [line.rpartition(" ")[2] for line in out.splitlines()] == ["bob@example.com", "eve@example.com"]


def test_smtp_server_in_15_lines() -> None:
    source = (EXAMPLES / "smtp_server.py").read_text(encoding="utf-8").splitlines()[1:]
    assert len([line for line in source if line]) <= 15
    port = free_port()
    with running("smtp_server.py", str(port)) as server:
        assert listening(server) == f"listening on port {port}\n"
        with smtplib.SMTP("127.0.0.1", port, "client.example.org") as client:
            client.sendmail("ann@example.org", ["bob@example.com", "eve@example.com"], "Subject: x\n\ntext\n")
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=10)
    assert out == "17 octets from <ann@example.org> for bob@example.com, eve@example.com, by ESMTP from client.example.org\n"


def test_submission_after_a_login(tmp_path: Path) -> None:
    authority, port = trustme.CA(), free_port()
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with running("submission.py", str(port), str(tmp_path / "both.pem")) as server:
        assert listening(server) == f"listening on port {port}\n"
        with smtplib.SMTP("localhost", port, "client.example.org") as client:
            client.starttls(context=trust)
            with pytest.raises(smtplib.SMTPSenderRefused, match="Authentication required"):
                client.sendmail("ann@example.org", "bob@example.com", "Subject: x\n\ntext\n")
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("ann", "guessed")
            client.login("ann", "secret")
            with pytest.raises(smtplib.SMTPRecipientsRefused, match="ann is not bob"):
                client.sendmail("bob@example.org", "bob@example.com", "Subject: x\n\ntext\n")
            client.sendmail("ann@example.org", "bob@example.com", "Subject: x\n\ntext\n")
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=10)
    assert out == "ann sends 17 octets to bob@example.com, by ESMTPSA\n"


def test_a_server_in_a_thread_of_a_test() -> None:
    with running("smtp_in_tests.py") as program:
        out, errors = program.communicate(timeout=20)
    assert out == "[('ESMTP', 'ann@example.com', ('bob@example.com',), b'Subject: greetings\\n\\nHello.\\n')]\n"
    assert errors == ""


async def test_maildirs_of_the_standard_library(tmp_path: Path) -> None:
    mail, path = tmp_path / "mail", str(tmp_path / "lmtp")
    mail.mkdir()
    with running("maildir_server.py", str(mail), path) as server:
        assert listening(server) == f"listening on {path}\n"
        (mail / "eve").write_text("no Maildir", encoding="utf-8")
        async with LmtpClient(path=path) as client:
            message = b"Subject: x\n\ntext\n"
            results = await client.send("ann@example.com", ["bob+a@example.com", "bob@example.net", "eve@example.com"], message)
        assert [each.status.code for each in results] == [250, 550, 430]
        [stored] = (mail / "bob" / "new").iterdir()
        assert stored.read_bytes() == b"Return-Path: <ann@example.com>\n" + message
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=10)
    assert server.returncode == 0
    assert "Traceback" in errors
    assert "eve@example.com" in errors
