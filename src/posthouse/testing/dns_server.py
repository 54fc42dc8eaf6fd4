"""A DNS server on loopback, UDP and TCP, with a zone of its own: what the relay asks when `DNS_SERVERS` names it.

    server = await DnsServer({("remote.test", "MX"): ["10 mx.remote.test."], ("mx.remote.test", "A"): ["127.0.0.9"]}).start()

CNAMEs of the zone are followed in the answer. A name with no record at all does not exist. `failing` names are answered
SERVFAIL, `silent` ones not at all, `cut` ones are truncated over UDP so that they have to be asked for by TCP.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset


class DnsServer:
    """Serves until `stop`.

    Args:
        zone: (name, type) to rdata texts.
        host: the address to listen on.
        ttl: of every record.
    """

    def __init__(self, zone: Mapping[tuple[str, str], Sequence[str]], host: str = "127.0.0.1", ttl: int = 60) -> None:
        self.zone = dict(zone)
        self.host = host
        self.port = 0
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.cut: set[str] = set()
        self.asked: list[str] = []
        """`type name` of every question, with ` tcp` behind where it came so"""
        self._ttl = ttl
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """As DNS_SERVERS takes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def start(self) -> "DnsServer":
        """Listen on one free port, UDP and TCP."""
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(self.host, self.port))
        self._udp = transport
        return self

    async def stop(self) -> None:
        """Close."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()

    def answer(self, octets: bytes, *, stream: bool) -> bytes | None:
        """The reply to one question, None for silence."""
        query = dns.message.from_wire(octets)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{kind} {name}" + (" tcp" if stream else ""))
        if name in self.silent:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if name in self.failing:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif name in self.cut and not stream:
            reply.flags |= dns.flags.TC
        else:
            reply.answer = list(self._records(name, kind))
            last = reply.answer[-1][0].to_text().rstrip(".").lower() if reply.answer and self._is_alias(reply, kind) else name
            if not any(known == last for known, _ in self.zone):
                reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    @staticmethod
    def _is_alias(reply: dns.message.Message, kind: str) -> bool:
        return reply.answer[-1].rdtype == dns.rdatatype.CNAME and kind != "CNAME"

    def _records(self, name: str, kind: str) -> Iterator[dns.rrset.RRset]:
        for _ in range(8):
            found = self.zone.get((name, kind))
            if found:
                yield dns.rrset.from_text(name + ".", self._ttl, dns.rdataclass.IN, kind, *found)
                return
            alias = self.zone.get((name, "CNAME"))
            if not alias:
                return
            yield dns.rrset.from_text(name + ".", self._ttl, dns.rdataclass.IN, "CNAME", *alias)
            name = alias[0].rstrip(".").lower()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(2), "big")
                reply = self.answer(await reader.readexactly(length), stream=True)
                if reply is not None:
                    writer.write(len(reply).to_bytes(2, "big") + reply)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._server.answer(data, stream=False)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
