"""IP_ACCESS: which addresses of a host an SMTP channel may connect to (mappings.md 8).

    source-channel|address-current|address-count|ip-current|hostname

Asked about each address before it is connected to: the channel whose mail goes out, the address's number and how many the host
has, the address, the host's name as it was looked up.

    no entry, $Y        connect
    $N text, $F         neither this one nor another host behind it: 550 5.7.1, or the codes the text begins with; 4yz lets the
                        mail wait. The host's other addresses come first: their order is chance
    $I                  this address is passed over; when all are, the mail waits
    $A address          connect to this one instead; where it is none, the address is passed over, and the log says so

No directory is asked.
"""

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

from posthouse.mail.status import Status
from posthouse.mapping.access import decide
from posthouse.mapping.table import Tables

TABLE = "IP_ACCESS"


class IpAccess:
    """What the table says for one channel.

    Args:
        tables: all tables.
        channel: its name.
        alarm: told of answers that are no address.
    """

    def __init__(self, tables: Tables, channel: str, alarm: Callable[[str], None]) -> None:
        self._tables = tables
        self._channel = channel
        self._alarm = alarm

    def judge(self, host: str, addresses: Sequence[str]) -> Iterator[str | Status]:
        """The addresses of a host to connect to, in their order; last, perhaps, why there are no more.

        Args:
            host: its name.
            addresses: those that were found.
        """
        if TABLE not in self._tables:
            yield from addresses
            return
        refusal: Status | None = None
        for number, address in enumerate(addresses, 1):
            result = self._tables.probe(TABLE, f"{self._channel}|{number}|{len(addresses)}|{address}|{host}")
            access = decide(result)
            if access.status is not None:
                refusal = refusal or access.status
                continue
            if result is None or not result.flags & {"A", "I"}:
                yield address
            elif "A" in result.flags:
                yield from self._instead(access.header.strip(), address)
        if refusal is not None:
            yield refusal if refusal.text else Status(refusal.code, refusal.enhanced, f"this system does not connect to {host}")

    def _instead(self, answer: str, address: str) -> Iterator[str]:
        try:
            yield str(ip_address(answer))
        except ValueError:
            self._alarm(f"{TABLE}: {answer!r}, given for {address}, is no IP address")
