"""What a template's processes run in tests: it tells how it finds itself on the socket it is given, waits for a word, ends."""

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any


def portrait(number: int) -> dict[str, Any]:
    """Everything about this process that must not depend on how it was started."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    open_fds = {int(entry.name) for entry in Path("/proc/self/fd").iterdir() if entry.exists()}
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)
    return {
        "pid": os.getpid(),
        "number": number,
        "words": sys.argv[2:],
        "name": __name__,
        "shade": os.environ.get("SHADE"),
        "template": os.environ.get("POSTHOUSE_TEMPLATE_FD"),
        "fds": len(open_fds),
        "has_number": number in open_fds,
        "input": sys.stdin.read(),
        "signals": [str(signal.getsignal(each)) for each in numbers if each is not signal.SIGINT],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "ignored": status["SigIgn"],
        "blocked": status["SigBlk"],
        "caught": status["SigCgt"],
        "threads": status["Threads"],
        "uid": status["Uid"],
        "folder": os.fspath(Path.cwd()),
        "group": os.getpgid(0) == os.getpgid(os.getppid()),
    }


def main() -> None:
    """Tell, wait, end with 7."""
    number = int(sys.argv[1])
    sock = socket.socket(fileno=number)
    if sys.argv[2] == "deaf":
        signal.pause()
    sock.send(json.dumps(portrait(number)).encode() + b"\n")
    sock.recv(3)
    print("said")
    sys.stderr.write("and told\n")
    sys.exit(7)


if __name__ == "__main__":
    main()
