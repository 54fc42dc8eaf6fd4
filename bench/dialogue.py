"""Microseconds of CPU a transaction costs in the dialogues alone: `python bench/dialogue.py [rounds]`. Best of five."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace

from posthouse.dialogue.client import LmtpClient, Transaction
from posthouse.dialogue.client_event import Ready, WantBody
from posthouse.dialogue.event import Mail, Message, MessageEnd, Rcpt
from posthouse.dialogue.policy import lmtp_policy, smtp_policy
from posthouse.dialogue.server import Server
from posthouse.dialogue.stuffing import on_wire

HEADER = b"".join(b"Header-%d: %s\r\n" % (number, b"y" * 60) for number in range(12)) + b"\r\n"
BODY = HEADER + (b"z" * 70 + b"\r\n") * 42
ENVELOPE = b"MAIL FROM:<sender@example.com> SIZE=4500\r\nRCPT TO:<user1@example.com>%s\r\nDATA\r\n"


def drive(server: Server, octets: bytes, replies: list[bytes]) -> None:
    server.feed(octets)
    while (event := server.next_event()) is not None:
        kind = type(event)
        if kind is Mail or kind is Rcpt:
            server.accept()
        elif kind is Message or kind is MessageEnd:
            server.answer_data(replies)
    server.to_send()


def server_case(server: Server, hello: bytes, envelope: bytes, body: bytes) -> Callable[[], None]:
    drive(server, hello, [])
    replies = [b"250 2.5.0 <user1@example.com> OK\r\n"]

    def once() -> None:
        drive(server, envelope, replies)
        drive(server, body, replies)

    return once


def client_case() -> Callable[[], None]:
    client = LmtpClient("relay1")
    client.feed(b"220 s\r\n250-s\r\n250-PIPELINING\r\n250 SIZE 100000\r\n")
    transaction = Transaction(b"sender@example.com", 4500, (b"<user1@example.com> XQUOTA=1000000,1000 XDFLG=0",))
    while not isinstance(client.next_event(), Ready):
        pass

    def once() -> None:
        client.begin(transaction)
        client.to_send()
        client.feed(b"250 2.1.0 OK\r\n250 2.1.5 OK\r\n354 Enter mail, end with a single dot\r\n")
        assert isinstance(client.next_event(), WantBody)
        on_wire(BODY)
        client.body_sent()
        client.feed(b"250 2.5.0 <user1@example.com> OK\r\n")
        while client.next_event() is not None:
            pass

    return once


def measure(name: str, once: Callable[[], None], rounds: int) -> None:
    once()
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(rounds):
            once()
        best = min(best, time.process_time() - start)
    print(f"{name:44} {best / rounds * 1e6:10.1f} microseconds")


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    quota = ENVELOPE % b" XQUOTA=1000000,1000 XDFLG=0"
    plain = ENVELOPE % b""
    dotted = on_wire(HEADER + (b".z" * 35 + b"\r\n") * 42)
    measure("LMTP server, 4 KiB", server_case(Server(lmtp_policy("s")), b"LHLO x\r\n", quota, on_wire(BODY)), rounds)
    measure("LMTP server, 4 KiB, a dot on each line", server_case(Server(lmtp_policy("s")), b"LHLO x\r\n", quota, dotted), rounds)
    measure("SMTP server, 4 KiB", server_case(Server(smtp_policy("r")), b"EHLO x\r\n", plain, on_wire(BODY)), rounds)
    large = replace(lmtp_policy("s"), max_size=0)
    envelope = (ENVELOPE % b"").replace(b" SIZE=4500", b"")
    measure("LMTP server, 1 MiB", server_case(Server(large), b"LHLO x\r\n", envelope, on_wire(BODY * 256)), max(1, rounds // 100))
    measure("LMTP client, 4 KiB", client_case(), rounds)


if __name__ == "__main__":
    main()
