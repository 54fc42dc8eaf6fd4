"""Both sides of the promise: what an SMTP client was answered, and what stands in the mailboxes.

Each message has a token of its own in its Message-ID. `Ledger` notes the answer to every message; `mailboxes` reads every
file of the stores; `reconcile` compares them octet for octet.
"""

import contextlib
import itertools
import random
import re
import smtplib
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Self

from posthouse.testing.tiers import RunningInstance
from support.transaction_log import log_records

DOMAIN = "example.com"
_TOKEN = re.compile(rb"^Message-ID: <([^@>]+)@journey\.test>\n", re.MULTILINE)
_RECEIVED = re.compile(rb"(?:Received: [^\n]*\n(?:[ \t][^\n]*\n)*){1,2}")
_NAME = re.compile(r"(\d+)\.M(\d+)P.*,S=(\d+),W=(\d+)")


class Answer(Enum):
    """What the client knows."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """the connection ended before the answer"""


@dataclass(frozen=True, slots=True)
class Sent:
    """One message as it was offered, and its answer."""

    token: str
    sender: str
    users: tuple[str, ...]
    body: bytes
    answer: Answer
    code: int
    seconds: float
    reply: str
    """the text after the final dot"""


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a mailbox."""

    path: Path
    owner: str
    octets: bytes
    token: str

    @property
    def placed(self) -> float:
        """Unix time in its name."""
        match = _NAME.match(self.path.name)
        assert match, self.path
        return int(match[1]) + int(match[2]) / 1e6


@dataclass
class Verdict:
    """The comparison: (token, user) pairs."""

    lost: list[tuple[str, str]] = field(default_factory=list)
    garbled: list[str] = field(default_factory=list)
    foreign: list[tuple[str, str]] = field(default_factory=list)
    """mail nobody sent, or refused to the client for good"""
    twice: dict[tuple[str, str], list[Found]] = field(default_factory=dict)
    accepted: int = 0
    delivered: int = 0
    unanswered: int = 0
    """delivered though the client never heard an answer, or a 4xx"""

    @property
    def duplicates(self) -> int:
        return sum(len(found) - 1 for found in self.twice.values())

    def __str__(self) -> str:
        return (
            f"{self.accepted} recipients acknowledged, {self.delivered} delivered, {len(self.lost)} lost, "
            f"{len(self.garbled)} garbled, {len(self.foreign)} foreign, {self.duplicates} duplicates, "
            f"{self.unanswered} delivered without a 250"
        )

    def check(self) -> Self:
        """Nothing acknowledged is lost, nothing is corrupt, nothing came from nowhere."""
        print(self)
        assert not self.lost, self.lost[:5]
        assert not self.garbled, self.garbled[:5]
        assert not self.foreign, self.foreign[:5]
        return self


class Ledger:
    """Every message offered, thread-safe."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self._numbers = itertools.count()
        self._stamp = f"{time.time_ns():x}"

    def token(self) -> str:
        return f"t{next(self._numbers)}.{self._stamp}"

    def count(self, answer: Answer) -> int:
        return sum(1 for each in tuple(self.sent) if each.answer is answer)

    @property
    def accepted(self) -> int:
        return self.count(Answer.ACCEPTED)

    @property
    def codes(self) -> set[int]:
        return {each.code for each in tuple(self.sent)}

    def send(self, client: smtplib.SMTP, users: Sequence[str], *, size: int = 400, sender: str = f"user0@{DOMAIN}") -> Sent:
        """Offer one message to all users, on an open connection.

        Raises:
            OSError, smtplib.SMTPException: the connection is of no use any more; the message is noted as unknown.
        """
        token = self.token()
        body = body_of(token, size)
        begin = time.monotonic()
        users = list(users)

        def note(answer: Answer, code: int, reply: str) -> Sent:
            sent = Sent(token, sender, tuple(users), body, answer, code, time.monotonic() - begin, reply)
            self.sent.append(sent)
            return sent

        try:
            client.ehlo_or_helo_if_needed()
            codes = [client.mail(sender)[0]]
            if codes[0] == 250:
                codes = [client.rcpt(f"{user}@{DOMAIN}")[0] for user in users]
            users = [user for user, code in zip(users, codes, strict=False) if code == 250]
            if not users:
                client.rset()
                return note(Answer.REFUSED, min(codes), "")
            code, text = client.data(body)
        except smtplib.SMTPDataError as error:
            return note(Answer.REFUSED, error.smtp_code, "")
        except (OSError, smtplib.SMTPException):
            note(Answer.UNKNOWN, 0, "")
            raise
        sent = note(Answer.ACCEPTED if code == 250 else Answer.REFUSED, code, text.decode())
        if code == 421:
            raise smtplib.SMTPServerDisconnected("421")
        return sent


def body_of(token: str, size: int) -> bytes:
    """A message of about so many octets that has its own lines: nothing of another message fits into it."""
    chance = random.Random(token)
    name = token.encode()
    lines = [b"From: Journey <user0@example.com>", b"Subject: " + name, b"Message-ID: <%b@journey.test>" % name, b""]
    length = sum(len(line) + 2 for line in lines)
    while length < size:
        line = chance.choice((b"", b".", b"..")) + chance.randbytes(chance.randrange(1, 38)).hex().encode()
        lines.append(line)
        length += len(line) + 2
    return b"\r\n".join([*lines, b"end of " + name, b""])


class Load:
    """Client threads that offer mail until told to stop, connecting again whenever a connection is lost."""

    def __init__(
        self,
        port: int,
        users: Sequence[str],
        *,
        clients: int = 3,
        sizes: Sequence[int] = (400, 400, 3000, 40_000),
        most: int = 3,
        pause: float = 0.0,
        protocol: type[smtplib.SMTP] = smtplib.SMTP,
        host: str = "127.0.0.1",
    ) -> None:
        self.ledger = Ledger()
        self._port, self._users, self._sizes, self._most, self._pause = port, list(users), sizes, most, pause
        self._protocol, self._host = protocol, host
        self._over = threading.Event()
        self._begin = 0.0
        self.seconds = 0.0
        self._threads = [threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(clients)]

    def __enter__(self) -> Self:
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"
        self.seconds = time.monotonic() - self._begin

    def _client(self, number: int) -> None:
        chance = random.Random(number)
        while not self._over.is_set():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client = self._protocol(self._host, self._port, timeout=30)
                with contextlib.closing(client):
                    self._offer(client, chance)
            self._over.wait(0.05)

    def _offer(self, client: smtplib.SMTP, chance: random.Random) -> None:
        while not self._over.is_set():
            users = chance.sample(self._users, chance.randint(1, self._most))
            self.ledger.send(client, users, size=chance.choice(self._sizes))
            self._over.wait(self._pause)


def connect(relay: RunningInstance, timeout: float = 30.0) -> smtplib.SMTP:
    return smtplib.SMTP(relay.address, relay.port, timeout=timeout)


def mailboxes(stores: Iterable[RunningInstance]) -> list[Found]:
    """Every message file of every mailbox, names in `tmp/` left out."""
    found = []
    for store in stores:
        primary = store.folder / "data" / "store" / "primary"
        for path in [*primary.glob("*/new/*"), *primary.glob("*/cur/*"), *primary.glob("*/.*/new/*")]:
            with contextlib.suppress(FileNotFoundError):
                octets = path.read_bytes()
                match = _TOKEN.search(octets)
                found.append(Found(path, path.relative_to(primary).parts[0], octets, match[1].decode() if match else ""))
    return found


def wait_delivered(ledger: Ledger, stores: Sequence[RunningInstance], seconds: float = 60.0) -> None:
    """Until everything acknowledged so far stands in its mailbox (an empty queue may only mean: not announced yet)."""
    wanted = {(sent.token, user) for sent in ledger.sent if sent.answer is Answer.ACCEPTED for user in sent.users}
    deadline = time.monotonic() + seconds
    while missing := wanted - {(found.token, found.owner) for found in mailboxes(stores)}:
        assert time.monotonic() < deadline, f"{len(missing)} of {len(wanted)} are missing: {sorted(missing)[:3]}"
        time.sleep(0.05)


def records(instance: RunningInstance, action: str) -> list[dict[str, Any]]:
    """What the transaction log says of one action: D delivered, Q deferred, R returned..."""
    return [record for record in log_records(instance.folder) if record["ac"] == action]


def notices(stores: Iterable[RunningInstance], owner: str) -> list[bytes]:
    """The delivery status notifications in somebody's mailbox."""
    return [each.octets for each in mailboxes(stores) if each.owner == owner and each.octets.startswith(b"Return-Path: <>\n")]


def is_whole(found: Found, sent: Sent, *, relayed: bool = True) -> bool:
    """Return-Path, the Received fields of relay and full MTA, and then exactly what was sent, with the lengths in its name."""
    octets, lines = found.octets, sent.body.replace(b"\r\n", b"\n")
    prefix = octets[: len(octets) - len(lines)]
    path = b"Return-Path: <%b>\n" % sent.sender.encode()
    match = _NAME.match(found.path.name)
    return (
        octets.endswith(lines)
        and prefix.startswith(path)
        and (_RECEIVED.fullmatch(prefix[len(path) :]) is not None if relayed else prefix == path)
        and match is not None
        and int(match[3]) == len(octets)
    )


def reconcile(ledger: Ledger, stores: Iterable[RunningInstance], *, relayed: bool = True) -> Verdict:
    """Compare; not `relayed`: the client spoke to the store itself."""
    verdict = Verdict()
    known = {sent.token: sent for sent in ledger.sent}
    there: dict[tuple[str, str], list[Found]] = {}
    for found in mailboxes(stores):
        sent = known.get(found.token)
        if found.octets.startswith(b"Return-Path: <>\n"):
            continue
        if sent is None or not is_whole(found, sent, relayed=relayed):
            verdict.garbled.append(str(found.path))
        elif found.owner not in sent.users or sent.code >= 500:
            verdict.foreign.append((found.token, found.owner))
        else:
            there.setdefault((found.token, found.owner), []).append(found)
    verdict.delivered = len(there)
    verdict.twice = {key: copies for key, copies in there.items() if len(copies) > 1}
    verdict.unanswered = sum(1 for token, _ in there if known[token].answer is not Answer.ACCEPTED)
    for sent in ledger.sent:
        if sent.answer is Answer.ACCEPTED:
            verdict.accepted += len(sent.users)
            verdict.lost += [(sent.token, user) for user in sent.users if (sent.token, user) not in there]
    return verdict
