"""`DNS_SERVERS`: `ip`, `ip:port` or `[ip]:port`, separated by commas or blanks."""

import ipaddress
import re

from posthouse.config.value import BadValueError

_BRACKETED = re.compile(r"\[(.+)\](?::(\d+))?")


def dns_servers(text: str) -> tuple[tuple[str, int], ...]:
    """Addresses and ports.

    Raises:
        BadValueError: the text names something else.
    """
    found = []
    for word in text.replace(",", " ").split():
        match = _BRACKETED.fullmatch(word)
        if match:
            address, port = match.groups()
        else:
            address, _, port = word.partition(":") if word.count(":") == 1 else (word, "", "")
        try:
            number = int(port or 53)
            found.append((str(ipaddress.ip_address(address)), number))
        except ValueError:
            raise BadValueError(f"{word!r} is no DNS server: give ip, ip:port or [ip]:port") from None
        if not 0 < number < 65536:
            raise BadValueError(f"{word!r}: a port is a number from 1 to 65535")
    return tuple(found)
