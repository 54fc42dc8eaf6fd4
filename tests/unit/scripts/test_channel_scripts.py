"""Scripts of channels: for whom they are run, in which order, and what is left for the user's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.mail.task import Bounce, Forward, Note, decode_task
from posthouse.relay.filtering.message import Message
from posthouse.relay.filtering.run import Surroundings
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.user_filter import UserFilter
from posthouse.relay.scripts.compiled import CompiledScripts
from posthouse.relay.scripts.decisions import Decisions
from support.relay_files import CHANNELS, relay_configuration
from support.smtp_world import SmtpWorld, relay_files

ADDRESS = "@store1.example.com.lmtp:jdoe@lmtpcs-daemon"
MAIL = b"From: a@outside.test\r\nSubject: buy now\r\n\r\nbody\r\n"
Decide = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def decide(tmp_path: Path) -> Decide:
    def made(source: str = "", there: str = "", own: str = "", came: str = "tcp_local") -> list[tuple[str, str]]:
        text = CHANNELS
        if source:
            text = text.replace("tcp_local smtp", "tcp_local sourcefilter in.sieve smtp")
        if there:
            text = text.replace("tcp_lmtpcs defragment", "tcp_lmtpcs destinationfilter out.sieve defragment")
        configuration = relay_configuration(tmp_path, channels=text, more={"in.sieve": source, "out.sieve": there})
        rules = routing_rules.compile(configuration)
        user = UserFilter("jdoe", "jd@example.com", ("jd@example.com",), own, joined=False) if own else None
        decisions = Decisions(rules, "a@b.test", Message(MAIL, len(MAIL)), Surroundings(), print, CompiledScripts())
        found = decisions.targets("jd@example.com", [Target("tcp_lmtpcs", ADDRESS, "store1", filter=user)], came)
        assert all(each.filter is None for each in found)
        return [(each.channel, each.task or each.address) for each in found]

    return made


def test_a_message_goes_through_all_three(decide: Decide) -> None:
    spam = 'require "fileinto"; if header :contains "subject" "buy" { fileinto "Junk"; }'
    junk = "@store1.example.com.lmtp:jdoe+Junk@lmtpcs-daemon"
    assert decide(source=spam) == [("tcp_lmtpcs", junk)]
    assert decide(there=spam) == [("tcp_lmtpcs", junk)]
    assert decide(source=spam, there="keep;", own="keep;") == [("tcp_lmtpcs", junk)]
    mine = 'require ["fileinto","copy"]; fileinto :copy "Mine";'
    assert decide(source=spam, own=mine) == [("tcp_lmtpcs", junk.replace("Junk", "Mine")), ("tcp_lmtpcs", junk)]


def test_what_one_throws_away_the_next_does_not_see(decide: Decide) -> None:
    reject = 'require "reject"; reject "no";'
    assert decide(source="discard;", own=reject) == [("bitbucket", ADDRESS)]
    ((channel, task),) = decide(there=reject, own="discard;")
    assert (channel, decode_task(task)) == ("process", Bounce("no"))
    assert decide(own="discard;") == [("bitbucket", ADDRESS)]


def test_only_the_channels_own_mail(decide: Decide) -> None:
    assert decide(source="discard;", came="tcp_intranet") == [("tcp_lmtpcs", ADDRESS)]
    assert decide(source="discard;", came="") == [("tcp_lmtpcs", ADDRESS)]
    assert decide(source="discard;") == [("bitbucket", ADDRESS)]


def test_a_channel_answers_nobody_and_its_faults_are_the_postmasters(decide: Decide) -> None:
    assert decide(source='require "vacation"; vacation "away";') == [("tcp_lmtpcs", ADDRESS)]
    kept, (channel, task) = decide(there='require "variables"; set "a" "nobody"; redirect "${a}";')
    note = decode_task(task)
    assert (kept, channel) == (("tcp_lmtpcs", ADDRESS), "process")
    assert isinstance(note, Note)
    assert note.owner == "channel tcp_lmtpcs (destinationfilter)"
    copied = decide(there='require "copy"; redirect :copy "log@example.com";')
    assert decode_task(copied[0][1]) == Forward("postmaster@relay1.example.com")
    assert copied[1] == ("tcp_lmtpcs", ADDRESS)


def test_a_session_runs_them(tmp_path: Path) -> None:
    instance = relay_files(tmp_path, keywords="sourcefilter file:in.sieve")
    script = (
        'require ["reject", "envelope"];\nif header :contains "subject" "buy" {\n'
        '  if envelope "to" "jd@example.com" { discard; } else { reject "no"; }\n}\n'
    )
    (instance.root / "config" / "in.sieve").write_text(script)
    with SmtpWorld(instance) as world:
        client = world.hello()
        assert client.message(MAIL, "ann.smith@example.com").startswith("550 5.7.1 no")
        assert client.message(MAIL, "jd@example.com").startswith("250 ")
        assert client.message(MAIL.replace(b"buy", b"see"), "ann.smith@example.com").startswith("250 ")
        channels = [[one.channel for one in each.envelope.recipients] for each in world.queued()]
    assert channels == [["bitbucket"], ["tcp_lmtpcs"]]
