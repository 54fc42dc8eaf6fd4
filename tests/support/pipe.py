"""A relay's channel `pipe` with programs of a test, and mail for them."""

from pathlib import Path

from posthouse.mail.envelope import Recipient
from support.jobs_relay import JobsRelay

CHANNEL = "\npipe {keywords}\npipe-daemon\n"


def program(folder: Path, name: str, script: str) -> Path:
    """An executable script of /bin/sh."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def register(relay: JobsRelay, **commands: str) -> None:
    """Programs by name: the COMMAND, and further lines of the section."""
    with (relay.root / "config" / "pipe_programs").open("a") as file:
        for name, command in commands.items():
            file.write(f"[PROGRAM={name}]\nCOMMAND={command}\n")


def pipe_relay(root: Path, *, keywords: str = "", **options: str) -> JobsRelay:
    """Not started."""
    relay = JobsRelay(root, 1, **options)  # type: ignore[arg-type]
    with (root / "config" / "imta.cnf").open("a") as file:
        file.write(CHANNEL.format(keywords=keywords))
    return relay


def to(name: str, user: str = "jdoe", number: int = 0, copy: int = 0, notify: str = "") -> Recipient:
    """Somebody whose mail goes to a program."""
    address = f"{user}@example.com"
    active = f"{user}%{name}@pipe-daemon"
    return Recipient(number, copy, "pipe", active, address, "pipe-daemon", intermediate=address, notify=notify)
