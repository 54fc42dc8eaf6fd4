"""`run/` of a running supervisor: its control socket and the pid file, made anew when somebody has removed them.

Children whose sockets went, too, do not answer any more: the watch ends them, and what is started then finds the folder.
"""

import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from posthouse.dispatcher import control
from posthouse.dispatcher.user import User

NAMES = (control.PID_FILE, control.SUPERVISOR, control.DISPATCHER, control.NATIVE_WRITER, control.JOB_CONTROLLER)


def make_folder(folder: Path, user: User | None) -> None:
    """Make it, the user's, if it is not there. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(mode=0o750, parents=True)
        if user is not None:
            os.chown(folder, user.uid, user.gid, follow_symlinks=False)


class RunFolder:
    """The folder.

    Args:
        run: where it is.
        user: whom the processes run as, if it is another than we are.
        answer: answers requests on our socket.
        log: told that it was made anew.
    """

    def __init__(
        self, run: Path, user: User | None, answer: Callable[[control.Answer], Awaitable[control.Answer]], log: logging.Logger
    ) -> None:
        self._run = run
        self._user = user
        self._answer = answer
        self._log = log
        self._server: control.ControlServer | None = None
        self._told = ""

    async def open(self) -> None:
        """Listen, and write our pid. Raises OSError."""
        make_folder(self._run, self._user)
        owner = None if self._user is None else (self._user.uid, self._user.gid)
        server = control.ControlServer(control.bind_unix(self._run / control.SUPERVISOR, owner), self._answer)
        await server.start()
        self._server = server
        self._write_pid()

    async def mend(self) -> None:
        """Make anew what is missing; what cannot be made is tried again the next time."""
        try:
            if self._server is not None and self._is_there():
                self._told = ""
                return
            self._close()
            await self.open()
        except OSError as error:
            self._tell(f"{self._run} is not as it was and cannot be made anew: {error}")
        else:
            self._tell(f"{self._run} was removed or emptied: made anew")

    def remove(self) -> None:
        """Close the socket, and leave nothing in the folder."""
        self._close()
        for name in NAMES:
            with contextlib.suppress(OSError):  # something else has its name by now, or it cannot be written to
                (self._run / name).unlink(missing_ok=True)

    def _is_there(self) -> bool:
        """Raises OSError: we may not look; what we listen on may be there as before."""
        return (self._run / control.SUPERVISOR).is_socket() and (self._run / control.PID_FILE).is_file()

    def _tell(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._log.error("%s", text)

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _write_pid(self) -> None:
        path = self._run / control.PID_FILE
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        new.replace(path)
