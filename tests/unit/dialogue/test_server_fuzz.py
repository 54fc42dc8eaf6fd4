"""Whatever octets come, however cut: no exception, bounded memory, the same result."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.dialogue.policy import Policy, lmtp_policy, smtp_policy
from support.dialogue_player import Player, joined

_LINES = [
    b"LHLO\r\n",
    b"LHLO x\r\n",
    b"EHLO x\r\n",
    b"MAIL FROM: a@b size=20\r\n",
    b"MAIL FROM:<a@b>\r\n",
    b"mail from:<> SIZE=9 BODY=8BITMIME\r\n",
    b"RCPT TO:<u@d>\r\n",
    b"RCPT TO: u xquota=1,2 xdflg=2\r\n",
    b"RCPT TO:<refused@d>\r\n",
    b"DATA\r\n",
    b"DATA\n",
    b"a: b\r\n\r\n",
    b"\r\n.\r\n",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"..\r\n",
    b".",
    b"\r",
    b"\n",
    b"\0",
    b"BDAT 8\r\n",
    b"BDAT 8 LAST\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 999999999999999999 LAST\r\n",
    b"BDAT -1\r\n",
    b"BDAT x LAST\r\n",
    b"01234567",
    b"x" * 90,
    b"RSET\r\n",
    b"NOOP\r\n",
    b"HELP\r\n",
    b"EXPN \xff\r\n",
    b"\xc3\x28 \r\n",
    b"MAIL FROM:<\xff> SMTPUTF8\r\n",
    b'RCPT TO:<"\\\r\n',
    b"QUIT\r\n",
]
_SMALL = {"spill": 24, "max_size": 120, "max_swallow": 300, "max_command_line": 80, "max_errors": 50}
_octets = st.lists(st.one_of(st.sampled_from(_LINES), st.sampled_from(_LINES), st.binary(max_size=12)), max_size=40).map(b"".join)
_policies = st.sampled_from(
    [
        replace(lmtp_policy("s"), **_SMALL),  # type: ignore[arg-type]
        replace(smtp_policy("r"), **_SMALL),  # type: ignore[arg-type]
    ]
)


@given(_policies, _octets, st.lists(st.integers(1, 60), max_size=30))
@settings(max_examples=400)
def test_no_exception_and_no_difference_by_the_cut(policy: Policy, octets: bytes, cuts: list[int]) -> None:
    one = Player(policy)
    output = one.say([octets])
    pieces, rest = [], octets
    for cut in cuts:
        pieces.append(rest[:cut])
        rest = rest[cut:]
    pieces.append(rest)
    other = Player(policy)
    assert other.say(pieces) == output
    assert joined(other.events) == joined(one.events)
    assert other.server.closing == one.server.closing
    assert other.server.phase == one.server.phase


@given(_policies, _octets)
@settings(max_examples=300)
def test_octets_one_by_one_with_output_taken_each_time(policy: Policy, octets: bytes) -> None:
    player = Player(policy)
    for place in range(len(octets)):
        output = player.say([octets[place : place + 1]])
        assert not output or output.endswith(b"\r\n")
    if not player.server.closing:
        assert not player.server.awaiting
