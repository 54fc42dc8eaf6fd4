"""`posthouse program list` and `posthouse program try NAME MESSAGE`: the programs mail may be given to, and one run by hand.

    list    name, command and limits of each registered program, and why one would not be run
    try     runs it as channel pipe would, on a message of a file: the words it is started with, what its end means.
            Exit 0 when the mail would be delivered, 75 when tried again, 69 when returned

`-` is standard input. Programs are registered in `pipe_programs` (docs/programs.md). They run as whoever gives the command; where
that is root, as `--as`, else the channel's `user`, else IMTA_USER, never as root.
64: there is no such program, 66: no such file.
"""

import os
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from posthouse.cli.instance_option import InstanceOption, here
from posthouse.cli.json_output import Json, print_json
from posthouse.cli.loading import load_or_exit
from posthouse.cli.rows import show
from posthouse.config.configuration import Configuration
from posthouse.config.pipe_programs import Format, PipeProgram, untrustworthy
from posthouse.mail.address import quote
from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.channels.pipe import SHELL_TIMEOUT, judged
from posthouse.relay.channels.pipe_command import Unsuitable, arguments, head
from posthouse.relay.channels.pipe_run import Run, who
from posthouse.relay.job_controller.programs import Program, program_of

app = App(name="program", help="Programs that mail may be given to.")
_USAGE, _NO_INPUT, _RETURNED, _AGAIN = 64, 66, 69, 75


@app.command(name="list")
def list_programs(*, instance: InstanceOption = None, as_json: Json = False) -> None:
    """Show the registered programs.

    Args:
        instance: the instance's folder.
        as_json: print one JSON array.
    """
    configuration = load_or_exit(here(instance))
    programs, nobody = configuration.pipe_programs.values(), _nobody(configuration)
    if as_json:
        print_json([_shape(each, untrustworthy(each.path) or nobody) for each in programs])
        return
    columns = ("NAME", "FORMAT", "TIMEOUT", "COMMAND", "NOT RUN BECAUSE")
    show(
        columns,
        [
            (each.name, each.format.value, str(each.timeout or ""), each.command, untrustworthy(each.path) or nobody)
            for each in programs
        ],
    )


def _nobody(configuration: Configuration) -> str:
    """Why there is no user to run any program as, where root gives the command: it sees what the relay will."""
    if os.geteuid() == 0:
        try:
            who(_of_channel(configuration)[0])
        except PermissionError as error:
            return str(error)
    return ""


def _shape(program: PipeProgram, reason: str) -> dict[str, object]:
    return {
        "name": program.name, "command": program.command, "format": program.format.value, "timeout": program.timeout or None,
        "output_limit": program.output_limit, "not_run_because": reason or None, "file": program.file,
        "line": program.line,
    }  # fmt: skip


@app.command(name="try")
def try_program(
    name: str,
    message: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    user: str = "nobody",
    sender: Annotated[str, Parameter(name="--from")] = "",
    recipient: Annotated[str, Parameter(name="--to")] = "",
    run_as: Annotated[str, Parameter(name="--as")] = "",
    instance: InstanceOption = None,
) -> None:
    """Run a registered program on a message.

    Args:
        name: as registered.
        message: the message's file.
        user: the user it is for.
        sender: envelope From; without it the null sender.
        recipient: envelope To; without it the user in no domain.
        run_as: the Unix user it runs as, for root; the channel's `user` or IMTA_USER by default.
        instance: the instance's folder.
    """
    configuration = load_or_exit(here(instance))
    program = configuration.pipe_programs.get(name.lower())
    if program is None:
        sys.stderr.write(f"program {name!r} is not registered\n")
        raise SystemExit(_USAGE)
    octets = _octets(message)
    known = Recipient(0, 0, "pipe", f"{quote(f'{user}%{program.name}')}@pipe-daemon", recipient or user)
    envelope = Envelope("0TTRIED", sender, "tcp_local", "", int(time.time() * 1000), len(octets), (known,))
    user_of_channel, patience = _of_channel(configuration)
    if os.geteuid() == 0:
        run_as = run_as or user_of_channel
    status = _tried(program, envelope, known, octets, run_as, program.timeout or patience)
    sys.stdout.write(f"{status}\n")
    raise SystemExit(0 if status.is_success else _RETURNED if status.is_permanent else _AGAIN)


def _of_channel(configuration: Configuration) -> tuple[str, float]:
    """The `user` of the first channel that runs programs, else IMTA_USER, and the channel's SHELL_TIMEOUT."""
    ours = configuration.tailor.user or ""
    for channel in configuration.imta.channels.values():
        if program_of(configuration, channel) is Program.PIPE:
            seconds = configuration.channel_option(channel.name).number("SHELL_TIMEOUT", SHELL_TIMEOUT)
            return channel.value("user") or ours, seconds
    return ours, SHELL_TIMEOUT


def _tried(
    program: PipeProgram, envelope: Envelope, recipient: Recipient, octets: bytes, run_as: str, seconds: float
) -> Status:  # fmt: skip
    unsafe = untrustworthy(program.path)
    try:
        user = who(run_as)
    except PermissionError as error:
        unsafe = unsafe or str(error)
    if unsafe:
        return Status(450, "4.3.5", unsafe)
    try:
        words = arguments(program, envelope, recipient)
    except Unsuitable as refused:
        return refused.status
    sys.stdout.write(shlex.join(word.decode("utf-8", "replace") for word in words) + "\n")
    sys.stdout.flush()
    lines = octets.replace(b"\r\n", b"\n")
    run = Run(words, seconds, program.output_limit, user)
    with tempfile.TemporaryFile() as file:
        file.write(head(program.format, envelope, time.asctime(time.gmtime())))
        file.write(lines.replace(b"\n", b"\r\n") if program.format is Format.SMTP else lines)
        file.seek(0)
        try:
            return judged(program, run.run(file.fileno()), seconds)
        except OSError as error:
            return Status(451, "4.3.0", f"program {program.name} could not be run: {error}")


def _octets(message: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if message == "-" else Path(message).read_bytes()
    except OSError as error:
        sys.stderr.write(f"{message}: {error.strerror or error}\n")
        raise SystemExit(_NO_INPUT) from None
