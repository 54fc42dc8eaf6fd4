"""Telling systemd: READY, RELOADING, STOPPING, STATUS, WATCHDOG (sd_notify(3)). Without NOTIFY_SOCKET nothing happens."""

import os
import socket
import time


def notify(*lines: str) -> None:
    """Send assignments like `READY=1` in one datagram. Errors are nobody's concern: the service goes on."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.send("\n".join(lines).encode())
    except OSError:
        return


def alive() -> None:
    """The sign of life that a unit with WatchdogSec waits for; other units hear nothing."""
    if os.environ.get("WATCHDOG_USEC"):
        notify("WATCHDOG=1")


def reloading() -> tuple[str, str]:
    """The assignments that begin a reload."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"
