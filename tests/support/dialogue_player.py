r"""Plays `.dialogue` scripts against a server's dialogue.

    @lmtp | @smtp  [name=value ...]     first line: the policy, its fields by name; extensions=A,B; sasl=clear|tls, must=tls|login
    # comment
    C: text         what the client sends; CRLF is added. Neighbouring C lines are fed together
    C~ text         the same without the CRLF
    S: text         the next line the server says, exactly
    B: text         the next line of the body of the last message, CRLF added;  B~ without
    E: Name [field=value ...]   the next event of that name, with these fields
    X: closed | open            whether the connection is to be closed now

In C and B: \r \n \0 \t \\ \xNN, and {c*n} for n times c. The session in the player accepts all but addresses that hold `refused`
(550 5.1.1) or `later` (450 4.2.1), and answers a body by its faults: LMTP a row of the chapter's table for each recipient, `full`
in the address 422; SMTP one reply. A handshake is done as soon as 220 has gone out; the password of everybody is `right`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from posthouse.dialogue.event import (
    BodyPart,
    Event,
    Fault,
    Login,
    Mail,
    Message,
    MessageEnd,
    MessageRefused,
    Oversize,
    Rcpt,
)
from posthouse.dialogue.policy import Policy, Role, lmtp_policy, smtp_policy
from posthouse.dialogue.server import Server
from posthouse.mail.status import Status

_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|[rn0t\\])|\{(.)\*(\d+)\}")
_SIMPLE = {b"r": b"\r", b"n": b"\n", b"0": b"\0", b"t": b"\t", b"\\": b"\\"}
_BARRED = {"tls": Status(530, "5.7.0", "STARTTLS first"), "login": Status(530, "5.7.0", "log in first")}
Cut = Callable[[bytes], Iterable[bytes]]


def whole(octets: bytes) -> list[bytes]:
    return [octets]


def unescape(text: str) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        if match[2]:
            return match[2] * int(match[3])
        return _SIMPLE.get(match[1]) or bytes([int(match[1][1:], 16)])

    return _ESCAPE.sub(one, text.encode())


@dataclass
class Step:
    kind: str
    text: str
    line: int


@dataclass
class Script:
    path: Path
    policy: Policy
    steps: list[Step]


def read_script(path: Path) -> Script:
    lines = path.read_text(encoding="utf-8").split("\n")
    role, *settings = lines[0].split()
    policy = lmtp_policy("store1") if role == "@lmtp" else smtp_policy("relay1")
    for setting in settings:
        name, _, value = setting.partition("=")
        if name == "sasl":
            mechanisms = frozenset({"PLAIN", "LOGIN"})
            policy = replace(policy, known_mechanisms=mechanisms, mechanisms=mechanisms if value == "clear" else frozenset())
            continue
        if name == "must":
            policy = replace(policy, barred=_BARRED[value])
            continue
        changed: object = tuple(value.replace("_", " ").split(",")) if name == "extensions" else int(value)
        if isinstance(getattr(policy, name), bool):
            changed = bool(changed)
        policy = replace(policy, **{name: changed})  # type: ignore[arg-type]
    steps = [
        Step(line[:2], line[3:], number)
        for number, line in enumerate(lines[1:], 2)
        if line and not line.startswith("#") and line[:2] in {"C:", "C~", "S:", "B:", "B~", "E:", "X:"}
    ]
    unknown = [
        line for line in lines[1:] if line and line[:2] not in {"C:", "C~", "S:", "B:", "B~", "E:", "X:"} and line[0] != "#"
    ]
    assert role in {"@lmtp", "@smtp"}, path
    assert not unknown, (path, unknown)
    return Script(path, policy, steps)


@dataclass
class Player:
    """A server's dialogue with a small session around it."""

    policy: Policy
    events: list[Event] = field(default_factory=list)
    recipients: list[Rcpt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = Server(self.policy)

    def say(self, pieces: Iterable[bytes]) -> bytes:
        """Feed the pieces, act on the events, then take the output."""
        for piece in pieces:
            self.server.feed(piece)
            while (event := self.server.next_event()) is not None:
                self.events.append(event)
                self._answer(event)
        output = self.server.to_send()
        if self.server.begin_tls():
            barred = None if self.policy.barred == _BARRED["tls"] else self.policy.barred
            self.server.tls_started(
                replace(self.policy, starttls=False, mechanisms=self.policy.known_mechanisms, barred=barred, extensions=("TLS",))
            )
        while (event := self.server.next_event()) is not None:
            self.events.append(event)
        return output

    def _answer(self, event: Event) -> None:
        if isinstance(event, Mail):
            self.recipients.clear()
            self.server.accept()
        elif isinstance(event, Rcpt):
            if b"refused" in event.recipient:
                self.server.answer(Status(550, "5.1.1", "unknown or illegal user"))
            elif b"later" in event.recipient:
                self.server.answer(Status(450, "4.2.1", "later"))
            else:
                self.recipients.append(event)
                self.server.accept()
        elif isinstance(event, Login):
            right = event.password == b"right"
            self.server.answer_login(Status(235, "2.7.0", "in") if right else Status(535, "5.7.8", "wrong"))
        elif isinstance(event, Message | MessageEnd):
            self.server.answer_data(self._final(event.faults))

    def _final(self, faults: frozenset[Fault]) -> Sequence[Status | bytes]:
        text = next((fault.value for fault in Fault if fault in faults and fault is not Fault.BARE_CR), "")
        if self.policy.role is Role.SMTP:
            return [Status(554, "5.6.0", text) if text else Status(250, "2.5.0", "Ok.")]
        if text:
            code = b"523 5.2.3 " if Fault.TOO_LARGE in faults else b"560 5.6.0 "
            return [code + rcpt.raw + b" " + text.encode() for rcpt in self.recipients]
        return [
            b"422 4.2.2 " + rcpt.raw + b" Quota Exceeded" if b"full" in rcpt.raw else b"250 2.5.0 " + rcpt.raw + b" OK\r\n"
            for rcpt in self.recipients
        ]


def joined(events: Sequence[Event]) -> list[Event]:
    """The events with the parts of each body put together, and the parts of a refused body left out.

    `BodyPart.lf` is left out too: where one part has it and the next has a fault, it depends on where they are cut.
    """
    result: list[Event] = []
    for event in events:
        if isinstance(event, BodyPart) and result and isinstance(result[-1], BodyPart):
            result[-1] = BodyPart(result[-1].data + event.data)
        else:
            if isinstance(event, Oversize | MessageRefused) and result and isinstance(result[-1], BodyPart):
                result.pop()
            result.append(BodyPart(event.data) if isinstance(event, BodyPart) else event)
    if result and isinstance(result[-1], BodyPart):
        result.pop()
    return result


def bodies(events: Sequence[Event]) -> list[bytes]:
    found: list[bytes] = []
    parts = b""
    for event in joined(events):
        if isinstance(event, Message):
            found.append(event.data)
        elif isinstance(event, BodyPart):
            parts = event.data
        elif isinstance(event, MessageEnd):
            found.append(parts)
    return found


def play(script: Script, cut: Cut = whole) -> tuple[list[bytes], list[Event]]:
    """Play the client's lines: the output after each group, and the events."""
    player = Player(script.policy)
    outputs = [player.say([])]
    group = b""
    for step in [*script.steps, Step("S:", "", 0)]:
        if step.kind in {"C:", "C~"}:
            group += unescape(step.text) + (b"\r\n" if step.kind == "C:" else b"")
        elif group:
            outputs.append(player.say(cut(group)))
            group = b""
    return outputs, joined(player.events)


def verify(script: Script) -> None:
    """Play the script and compare everything it says of the server."""
    player = Player(script.policy)
    output = player.say([])
    group = b""
    seen = 0
    body: bytes | None = None
    for step in script.steps:
        where = f"{script.path.name}:{step.line}"
        if step.kind in {"C:", "C~"}:
            assert not output, f"{where}: the server had more to say: {output!r}"
            group += unescape(step.text) + (b"\r\n" if step.kind == "C:" else b"")
            continue
        if group:
            output += player.say([group])
            group = b""
        if step.kind == "S:":
            said, _, output = output.partition(b"\r\n")
            assert said == step.text.encode(), f"{where}: the server said {said!r}"
        elif step.kind in {"B:", "B~"}:
            body = body if body is not None else bodies(player.events)[-1]
            wanted = unescape(step.text) + (b"\r\n" if step.kind == "B:" else b"")
            assert body.startswith(wanted), f"{where}: the body goes on with {body[:80]!r}"
            body = body[len(wanted) :]
        elif step.kind == "E:":
            seen = _find_event(player.events, seen, step.text, where)
        else:
            assert player.server.closing == (step.text == "closed"), where
        if step.kind not in {"B:", "B~"} and body is not None:
            assert not body, f"{where}: the body has more: {body[:80]!r}"
            body = None
    assert not output, f"{script.path.name}: left unsaid {output!r}"
    assert not body, f"{script.path.name}: the body has more: {body!r}"


def _find_event(events: list[Event], seen: int, text: str, where: str) -> int:
    name, *wanted = text.split(" ")
    for place in range(seen, len(events)):
        event = events[place]
        if type(event).__name__ == name:
            for item in wanted:
                attribute, _, value = item.partition("=")
                assert _shown(getattr(event, attribute)) == value.replace("_", " "), f"{where}: {event}"
            return place + 1
    raise AssertionError(f"{where}: no such event among {events[seen:]}")


def _shown(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, frozenset):
        return ",".join(fault.name for fault in Fault if fault in value).replace("_", " ") or "none"
    if isinstance(value, dict):
        return ",".join(key if item is None else f"{key}:{item.decode()}" for key, item in value.items()) or "none"
    return str(value)
