"""Ports for servers that are started a moment later, by processes that know nothing of each other.

Promise: a port that was given out is given to no other process that asks here while this one lives, and was free on the address.
The kernel does not hand it to an outgoing connection either: it is below the range those come from (`ip_local_port_range`).

A port is claimed by a name in the abstract namespace of Unix sockets, which goes away with the process.
"""

import random
import socket

_FIRST, _LAST = 15000, 32000
_TRIES = 2000
_choice = random.SystemRandom()


def free_port(address: str = "127.0.0.1") -> int:
    """A port nobody listens on and nobody else is given.

    Raises:
        OSError: there is none.
    """
    for _ in range(_TRIES):
        port = _choice.randint(_FIRST, _LAST)
        if _is_free(address, port) and _claim(port):
            return port
    raise OSError(f"no free port on {address} between {_FIRST} and {_LAST}")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _claim(port: int) -> bool:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0posthouse-port-{port}")
    except OSError:
        claim.close()
        return False
    claim.detach()  # open until this process ends
    return True
