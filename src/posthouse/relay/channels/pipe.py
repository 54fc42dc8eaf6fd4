"""`pipe`: runs a registered program for each recipient, `user%program@pipe-daemon` (imta-cnf 3.3).

Order (DURABILITY 4.7): a recipient is marked only when the program's exit status is known, and that by one pwrite at once. A
worker that is killed in between does not know how a run ended: the program is run again, which may deliver twice.

* At most AT_ONCE programs run in a worker, at most half of them the same one, so that one that hangs leaves room for others.
* Programs are those of `pipe_programs` as read at the last reload; a name that is not there, and a program that is missing or
  that others may write to, is temporary: 4.3.5 and an alarm. Never run as root: `user` of the channel, else our own user.
* When the worker ends, what has not begun is handed back and what runs is ended after the time others have too.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from posthouse.config.pipe_programs import Format, PipeProgram, untrustworthy
from posthouse.mail.envelope import Recipient
from posthouse.mail.status import Status
from posthouse.relay.channels.attempt import Attempt
from posthouse.relay.channels.pipe_command import Unsuitable, arguments, exit_status, head, spoken, whom
from posthouse.relay.channels.pipe_run import End, Ended, Run, who
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.notices.dsn import Kind
from posthouse.relay.queue.open_copy import OpenCopy

AT_ONCE = 20
SHELL_TIMEOUT = 600
"""seconds a program may run (message-store 6)"""


class Pipe:
    """The programs of one worker.

    Args:
        shop: what the worker shares.
    """

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._tasks: set[asyncio.Task[None]] = set()
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._of_one: dict[str, asyncio.Semaphore] = {}
        self._threads = ThreadPoolExecutor(AT_ONCE, "pipe")
        self._runs: set[Run] = set()
        self._draining = False

    def put(self, attempt: Attempt, opened: OpenCopy) -> None:
        """Take a copy; its attempt is ended when every recipient's program has been run."""
        attempt.success = Kind.DELIVERED
        task = self._shop.loop.create_task(self._run(attempt, opened))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drain(self) -> None:
        """Begin nothing more."""
        self._draining = True

    def cut(self) -> None:
        """End what runs."""
        self._draining = True
        for run in tuple(self._runs):
            run.stop()

    async def _run(self, attempt: Attempt, opened: OpenCopy) -> None:
        try:
            for recipient in opened.recipients:
                name = whom(recipient.address).program.lower()
                async with self._of_one.setdefault(name, asyncio.Semaphore(AT_ONCE // 2)), self._limit:
                    if self._draining:
                        if attempt.untouched:
                            attempt.verdict = Verdict.AGAIN
                        break
                    status = await self._deliver(attempt.lease.channel, opened, recipient)
                if status.is_permanent:
                    attempt.refuse(recipient, status)
                else:
                    attempt.result(recipient, status)
        except Exception as error:
            self._shop.alarm(f"{attempt.lease.channel}: {error!r}")
        attempt.end()  # whoever has no result stays to do

    async def _deliver(self, channel: str, opened: OpenCopy, recipient: Recipient) -> Status:
        """Run one recipient's program."""
        shop = self._shop
        name = whom(recipient.address).program
        program = shop.configuration.pipe_programs.get(name.lower())
        unsafe = f"program {name[:64]!r} is not registered" if program is None else untrustworthy(program.path)
        try:
            user = who(shop.configuration.imta.channels[channel].value("user") or "")
        except PermissionError as error:
            unsafe = unsafe or str(error)
        if unsafe or program is None:
            shop.alarm(f"{channel}: {unsafe}")
            return Status(450, "4.3.5", "this program is not available")
        try:
            words = arguments(program, opened.envelope, recipient)
        except Unsuitable as refused:
            return refused.status
        options = shop.configuration.channel_option(channel)
        seconds = program.timeout or options.number("SHELL_TIMEOUT", SHELL_TIMEOUT)
        run = Run(words, seconds, program.output_limit, user)
        self._runs.add(run)
        try:
            folder = options.text("SHELL_TMPDIR") or None
            return await shop.loop.run_in_executor(self._threads, _carry_out, run, program, opened, folder, seconds)
        except OSError as error:
            shop.alarm(f"{channel}: program {program.name} could not be run: {error}")
            return Status(451, "4.3.0", f"program {program.name} could not be run")
        finally:
            self._runs.discard(run)
            run.close()


def _carry_out(run: Run, program: PipeProgram, opened: OpenCopy, folder: str | None, seconds: float) -> Status:
    """In a thread: write the message down, run the program, judge."""
    with tempfile.TemporaryFile(dir=folder) as message:
        _write(message, program.format, opened)
        return judged(program, run.run(message.fileno()), seconds)


def judged(program: PipeProgram, ended: Ended, seconds: float) -> Status:
    """What the end of a run means."""
    said = spoken(ended.output)
    more = f": {said}" if said else ""
    match ended.end:
        case End.EXITED:
            return exit_status(program.name, ended.code, ended.output)
        case End.TOO_LONG:
            return Status(451, "4.3.0", f"program {program.name} was ended after {seconds:g} seconds{more}")
        case End.TOO_MUCH:
            return Status(451, "4.3.0", f"program {program.name} was ended: over {program.output_limit} octets of output{more}")
        case End.STOPPED:
            return Status(451, "4.3.0", f"program {program.name} was ended with this relay")


def _write(message: BinaryIO, form: Format, opened: OpenCopy) -> None:
    message.write(head(form, opened.envelope, time.asctime(time.gmtime())))
    message.writelines(opened.parts() if form is Format.SMTP else _unix_lines(opened.parts()))
    message.flush()
    os.lseek(message.fileno(), 0, os.SEEK_SET)


def _unix_lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts with LF line ends; a CR at the end of one part may belong to an LF that begins the next."""
    left = b""
    for part in parts:
        whole = left + part
        left = b"\r" if whole.endswith(b"\r") else b""
        yield whole[: len(whole) - len(left)].replace(b"\r\n", b"\n")
    if left:
        yield left
