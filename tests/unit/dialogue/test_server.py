"""What scripts cannot show: answers, shedding, large bodies, misuse by the session."""

import tracemalloc
from dataclasses import replace

import pytest

from posthouse.dialogue.event import BodyPart, DataStart, Event, Hello, Mail, Message, MessageEnd, Rcpt
from posthouse.dialogue.policy import lmtp_policy, smtp_policy
from posthouse.dialogue.server import Phase, Server
from posthouse.mail.status import Status

_SHED = Status(421, "4.3.2", "going down")


def events_of(server: Server, octets: bytes) -> list[Event]:
    server.feed(octets)
    found = []
    while (event := server.next_event()) is not None:
        found.append(event)
    return found


def in_body(server: Server, hello: bytes = b"LHLO\r\n") -> None:
    events_of(server, hello + b"MAIL FROM:<a@b>\r\n")
    server.accept()
    events_of(server, b"RCPT TO:<u@d>\r\n")
    server.accept()
    assert isinstance(events_of(server, b"DATA\r\n")[-1], DataStart)
    server.to_send()


def test_nothing_moves_until_the_answer() -> None:
    server = Server(lmtp_policy("s"))
    assert [type(event) for event in events_of(server, b"LHLO\r\nMAIL FROM:<a@b>\r\nRCPT TO:<u>\r\nNOOP\r\n")] == [Hello, Mail]
    assert server.awaiting
    assert server.phase is Phase.ANSWER
    assert events_of(server, b"NOOP\r\n") == []
    assert server.to_send().count(b"\r\n") == 2
    server.accept()
    assert isinstance(server.next_event(), Rcpt)
    server.answer(Status(451, "4.3.0", "no"))
    assert server.next_event() is None
    assert server.to_send() == b"250 OK\r\n451 4.3.0 no\r\n250 OK\r\n250 OK\r\n"
    assert server.accepted == 0
    assert server.in_transaction


def test_a_refused_sender_opens_no_transaction() -> None:
    server = Server(lmtp_policy("s"))
    events_of(server, b"LHLO\r\nMAIL FROM:<a@b>\r\n")
    assert server.in_transaction
    server.answer(Status(452, "4.3.1", "full"))
    assert not server.in_transaction


def test_answers_out_of_place_are_refused() -> None:
    server = Server(lmtp_policy("s"))
    with pytest.raises(ValueError, match="owed"):
        server.accept()
    with pytest.raises(ValueError, match="owed"):
        server.answer_data([])
    in_body(server)
    assert isinstance(events_of(server, b".\r\n")[0], Message)
    with pytest.raises(ValueError, match="2 final replies, wanted 1"):
        server.answer_data([b"250 a", b"250 b"])
    with pytest.raises(ValueError, match="owed"):
        server.accept()
    server.answer_data([b"250 2.5.0 <u@d> OK"])
    assert server.to_send() == b"250 2.5.0 <u@d> OK\r\n"


def test_a_status_with_line_ends_cannot_forge_a_reply() -> None:
    server = Server(smtp_policy("r"))
    server.to_send()
    events_of(server, b"EHLO x\r\nMAIL FROM:<a@b>\r\n")
    server.to_send()
    server.answer(Status(550, "5.1.1", "one\r\n250 ok\rtwo\0"))
    assert server.to_send() == b"550-5.1.1 one\r\n550 5.1.1 250 ok two \r\n"


def test_shed_outside_a_transaction_is_at_once() -> None:
    server = Server(lmtp_policy("s"))
    events_of(server, b"LHLO\r\n")
    server.to_send()
    server.shed(_SHED)
    assert server.closing
    assert server.to_send() == b"421 4.3.2 going down\r\n"
    assert events_of(server, b"MAIL FROM:<a@b>\r\n") == []


def test_shed_waits_for_the_final_replies() -> None:
    server = Server(lmtp_policy("s"))
    in_body(server)
    server.shed(_SHED)
    assert not server.closing
    assert isinstance(events_of(server, b".\r\nMAIL FROM:<a@b>\r\n")[0], Message)
    assert not server.closing
    server.answer_data([b"250 2.5.0 <u@d> OK"])
    assert server.next_event() is None
    assert server.to_send() == b"250 2.5.0 <u@d> OK\r\n421 4.3.2 going down\r\n"
    assert server.closing


def test_shed_while_the_sender_is_judged() -> None:
    server = Server(lmtp_policy("s"))
    events_of(server, b"LHLO\r\nMAIL FROM:<a@b>\r\n")
    server.to_send()
    server.shed(_SHED)
    assert not server.closing
    server.answer(Status(451, "4.3.0", "no"))
    assert server.to_send() == b"451 4.3.0 no\r\n421 4.3.2 going down\r\n"


def test_shed_in_the_middle_of_a_login_is_at_once() -> None:
    plain = frozenset({"PLAIN"})
    server = Server(replace(smtp_policy("r"), mechanisms=plain, known_mechanisms=plain))
    events_of(server, b"EHLO x\r\nAUTH PLAIN\r\n")
    assert server.to_send().endswith(b"334 \r\n")
    server.shed(_SHED)
    assert server.to_send() == b"421 4.3.2 going down\r\n"
    assert server.closing


def test_shed_after_a_reset() -> None:
    server = Server(lmtp_policy("s"))
    events_of(server, b"LHLO\r\nMAIL FROM:<a@b>\r\n")
    server.accept()
    server.shed(_SHED)
    events_of(server, b"RSET\r\n")
    assert server.closing


@pytest.mark.parametrize("before", [b"LHLO\r\n", b"LHLO\r\nMAIL FROM:<a@b>\r\n", b"LHLO\r\nMAIL FR"])
def test_a_deadline_ends_the_connection_at_once(before: bytes) -> None:
    server = Server(lmtp_policy("s"))
    events_of(server, before)
    server.to_send()
    server.hang_up(Status(421, "4.4.2", "too slow"))
    assert server.to_send() == b"421 4.4.2 too slow\r\n"
    assert server.phase is Phase.CLOSING
    assert not server.in_transaction
    server.accept()
    server.answer_data([])
    assert events_of(server, b"OM:<a@b>\r\n") == []
    assert server.to_send() == b""


def test_a_deadline_in_the_body_ends_the_connection_at_once() -> None:
    server = Server(lmtp_policy("s"))
    in_body(server)
    events_of(server, b"a: b\r\n")
    server.hang_up(Status(421, "4.4.2", "too slow"))
    assert server.to_send() == b"421 4.4.2 too slow\r\n"
    assert events_of(server, b"\r\n.\r\n") == []


@pytest.mark.parametrize("cut", [4096, 65_536, 262_144])
def test_a_large_body_streams_in_bounded_memory(cut: int) -> None:
    server = Server(replace(lmtp_policy("s"), max_size=0))
    in_body(server)
    line = b".." + b"x" * 76 + b"\r\n"
    count = 100_000
    wire = b"Subject: large\r\n\r\n" + line * 2000
    server.feed(wire)
    size = 0
    tracemalloc.start()
    try:
        block = line * (cut // len(line) + 1)
        sent = 2000
        while True:
            while (event := server.next_event()) is not None:
                assert isinstance(event, BodyPart)
                size += len(event.data)
            if sent >= count:
                break
            server.feed(block)
            sent += len(block) // len(line)
        assert tracemalloc.get_traced_memory()[1] < 4 * (262_144 + len(block))
    finally:
        tracemalloc.stop()
    last = events_of(server, b".\r\n")
    size += sum(len(event.data) for event in last if isinstance(event, BodyPart))
    end = last[-1]
    assert isinstance(end, MessageEnd)
    assert (end.size, end.growth, end.header_end) == (size, sent, 16)
    assert size == 18 + sent * (len(line) - 1)
    assert not end.faults


def test_a_large_header_is_checked_to_its_end() -> None:
    server = Server(replace(lmtp_policy("s"), max_size=0))
    in_body(server)
    found: list[Event] = []
    for _ in range(40):
        found += events_of(server, b"X-Line: " + b"y" * 20_000 + b"\r\n")
    found += events_of(server, b"\r\nno: fault\r\nhere\r\n.\r\n")
    end = found[-1]
    assert isinstance(end, MessageEnd)
    assert end.header_end == 40 * 20_010
    assert not end.faults


def test_a_header_line_over_one_mebibyte_is_bad() -> None:
    server = Server(replace(lmtp_policy("s"), max_size=0))
    in_body(server)
    found: list[Event] = []
    for _ in range(60):
        found += events_of(server, b"y" * 20_000)
    found += events_of(server, b"\r\n\r\n.\r\n")
    end = found[-1]
    assert isinstance(end, MessageEnd)
    assert [fault.name for fault in end.faults] == ["BAD_HEADER"]


def test_memoryviews_are_copied() -> None:
    server = Server(lmtp_policy("s"))
    memory = bytearray(b"LHLO\r\nMAIL FROM:<a@b>\r\n")
    view = memoryview(memory)
    server.feed(view[:10])
    memory[:10] = b"##########"
    assert isinstance(server.next_event(), Hello)
    server.feed(view[10:])
    memory[10:] = b"#" * (len(memory) - 10)
    event = server.next_event()
    assert isinstance(event, Mail)
    assert event.sender == b"a@b"


def test_phases_for_deadlines() -> None:
    server = Server(lmtp_policy("s"))
    seen = [server.phase]
    in_body(server)
    seen.append(server.phase)
    events_of(server, b".\r\n")
    seen.append(server.phase)
    server.answer_data([Status(250, "2.5.0", "<u@d> OK")])
    events_of(server, b"QUIT\r\n")
    seen.append(server.phase)
    assert seen == [Phase.COMMAND, Phase.BODY, Phase.ANSWER, Phase.CLOSING]


def test_no_more_commands_than_the_session_allows_for_a_turn() -> None:
    server = Server(lmtp_policy("s"))
    server.feed(b"LHLO x\r\n" + b"NOOP\r\n" * 50 + b"QUIT\r\n")
    server.commands_left = 3
    assert isinstance(server.next_event(), Hello)
    assert server.next_event() is None
    assert server.commands_left == 0
    assert server.to_send().count(b"250 2.0.0 OK\r\n") == 2
    assert server.phase is Phase.COMMAND
    server.commands_left = 100
    while server.next_event() is not None:
        pass
    assert server.to_send().count(b"250 2.0.0 OK\r\n") == 48
    assert server.closing
