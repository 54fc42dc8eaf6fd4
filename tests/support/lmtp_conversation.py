"""The LMTP client's dialogue as tests speak with it: what it is told, and what it makes of it."""

from posthouse.dialogue.client import LmtpClient, Transaction
from posthouse.dialogue.client_event import ClientEvent, Greeting, Ready, RecipientResult, WantBody

HELLO = b"220 s LMTP\r\n250-s\r\n250-PIPELINING\r\n250 SIZE 100\r\n"
THREE = Transaction(b"a@b", 10, (b"<u>", b"<v>", b"<w>"), b"BODY=8BITMIME")


def drain(client: LmtpClient) -> list[ClientEvent]:
    found = []
    while (event := client.next_event()) is not None:
        found.append(event)
    return found


def hear(client: LmtpClient, octets: bytes) -> list[ClientEvent]:
    client.feed(octets)
    return drain(client)


def ready(hello: bytes = HELLO) -> LmtpClient:
    client = LmtpClient("relay")
    first, _, rest = hello.partition(b"\r\n")
    assert isinstance(hear(client, first + b"\r\n")[0], Greeting)
    assert client.to_send() == b"LHLO relay\r\n"
    assert isinstance(hear(client, rest)[0], Ready)
    return client


def started(hello: bytes = HELLO, transaction: Transaction = THREE) -> LmtpClient:
    client = ready(hello)
    client.begin(transaction)
    return client


def in_final(client: LmtpClient) -> LmtpClient:
    assert drain(client) == []
    assert hear(client, b"250 ok\r\n" * 4 + b"354 go\r\n") == [WantBody()]
    client.body_sent()
    return client


def results(events: list[ClientEvent]) -> list[tuple[int, int, bool]]:
    return [(event.index, event.status.code, event.final) for event in events if isinstance(event, RecipientResult)]
