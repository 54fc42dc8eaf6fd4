"""What a script's actions become: targets and tasks. Nothing that cannot be done loses the message."""

from pathlib import Path

import msgspec
import pytest

from posthouse.mail.task import Answer, Bounce, Forward, Note, Task, decode_task
from posthouse.relay.filtering.message import Message
from posthouse.relay.filtering.run import Surroundings
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.routing.result import Accepted, Target
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.user_filter import UserFilter
from posthouse.relay.scripts.compiled import CompiledScripts
from posthouse.relay.scripts.decisions import Decisions, rejection
from support.people import EXAMPLE, MemoryDirectory
from support.relay_files import CHANNELS, relay_configuration
from support.routing_relay import Relay

ADDRESS = "@store1.example.com.lmtp:jdoe@lmtpcs-daemon"
MAIL = b"From: a@outside.test\r\nTo: john.doe@example.com\r\nSubject: hello\r\n\r\nbody\r\n"
WITHOUT = CHANNELS.replace("\nprocess\n", "\nprocess_no\n").replace("\nbitbucket\nbitbucket\n", "\n")


def target(script: str) -> Target:
    user = UserFilter("jdoe", "john.doe@example.com", ("john.doe@example.com", "jd@example.com"), script, joined=False)
    return Target("tcp_lmtpcs", ADDRESS, "store1.example.com.lmtp", quota="1,2", intermediate="john.doe@example.com", filter=user)


@pytest.fixture
def rules(tmp_path: Path) -> Rules:
    return routing_rules.compile(relay_configuration(tmp_path))


def decide(rules: Rules, script: str, mail: bytes = MAIL, sender: str = "a@outside.test") -> tuple[Target, ...]:
    said: list[str] = []
    decisions = Decisions(rules, sender, Message(mail, len(mail)), Surroundings(), said.append, CompiledScripts())
    return decisions.targets("John.Doe@Example.COM", [target(script)])


def tasks(targets: tuple[Target, ...]) -> list[Task]:
    return [decode_task(one.task) for one in targets if one.task]


def test_keep_is_the_target_itself(rules: Rules) -> None:
    (kept,) = decide(rules, "keep;")
    assert (kept.address, kept.flags, kept.quota, kept.filter, kept.task) == (ADDRESS, 0, "1,2", None, "")


def test_who_gets_a_copy_for_each_time_he_is_named_does_so_with_a_script(rules: Rules) -> None:
    """mgrpNoDuplicateChecks."""
    decisions = Decisions(rules, "a@outside.test", Message(MAIL, len(MAIL)), Surroundings(), print, CompiledScripts())
    script = 'require "copy"; redirect :copy "sue@hosted.example.org";'
    found = decisions.targets("list@example.com", [target(script), msgspec.structs.replace(target(script), repeat=1)])
    assert sorted((one.address, one.repeat) for one in found) == [(ADDRESS, 0), (ADDRESS, 1), ("sue@hosted.example.org", 0)]


def test_fileinto_edits_the_address_and_trusts_the_folder(rules: Rules) -> None:
    filed, kept = decide(rules, 'require "fileinto"; fileinto "Lists/a"; keep;')
    assert (filed.address, filed.flags) == ("@store1.example.com.lmtp:jdoe+Lists/a@lmtpcs-daemon", 1)
    assert (kept.address, kept.flags) == (ADDRESS, 0)


def test_discard_is_swallowed(rules: Rules) -> None:
    (swallowed,) = decide(rules, "discard;")
    assert (swallowed.channel, swallowed.task) == ("bitbucket", "")
    assert [one.channel for one in decide(rules, "discard; keep;")] == ["bitbucket", "tcp_lmtpcs"]


def test_redirect_goes_through_process(rules: Rules) -> None:
    (on,) = decide(rules, 'redirect "sue@hosted.example.org";')
    assert (on.channel, on.address, tasks((on,))) == ("process", "sue@hosted.example.org", [Forward("john.doe@example.com")])


@pytest.mark.parametrize("address", ["john.doe@example.com", "JD@Example.com"])
def test_a_redirect_to_oneself_is_a_keep(rules: Rules, address: str) -> None:
    (kept,) = decide(rules, f'redirect "{address}";')
    assert kept.address == ADDRESS


@pytest.mark.parametrize(
    "header", [b"X-Sieve-Redirected-From: <JD@example.com>\r\n", b"x-sieve-redirected-from: <o@outside.test>\r\n" * 10]
)
def test_what_was_redirected_before_is_kept(rules: Rules, header: bytes) -> None:
    (kept,) = decide(rules, 'redirect "sue@hosted.example.org";', header + MAIL)
    assert kept.address == ADDRESS


def test_reject_is_a_bounce_and_alone_a_reply(rules: Rules) -> None:
    script = 'require "reject"; reject "no thanks";'
    rejected = decide(rules, script)
    assert tasks(rejected) == [Bounce("no thanks")]
    assert rejected[0].address == "John.Doe@Example.COM"
    assert rejection(rejected) == "no thanks"
    assert rejection([*rejected, target("keep;")]) is None


def test_a_reason_outside_ascii_goes_by_notice_unless_by_ereject(rules: Rules) -> None:
    rejected = decide(rules, 'require "reject"; reject "ich möchte nicht";')
    assert tasks(rejected) == [Bounce("ich möchte nicht", exact=True)]
    assert rejection(rejected) is None
    assert rejection(decide(rules, 'require "ereject"; ereject "ich möchte nicht";')) == "ich möchte nicht"
    assert rejection(decide(rules, 'require "reject"; reject "ich möchte nicht";', sender="")) == "ich möchte nicht"


@pytest.mark.parametrize(
    "script",
    ['redirect "a@b.test";', 'require "reject"; reject "no";', 'require "vacation"; vacation "x";'],
)
def test_what_comes_of_a_lists_copy_is_the_lists(rules: Rules, script: str) -> None:
    """A member's redirect or reject of a list's copy is told to mgrpErrorsTo, not to whoever wrote to the list."""
    plain = msgspec.structs.replace(target(script), sender="owner@example.com", shown="john.doe@example.com")
    decisions = Decisions(rules, "a@outside.test", Message(MAIL, len(MAIL)), Surroundings(), print, CompiledScripts())
    found = [one for one in decisions.targets("staff@example.com", [plain]) if one.task]
    assert [(one.sender, one.shown) for one in found] == [("owner@example.com", "john.doe@example.com")]


def test_a_script_sees_the_sender_of_its_copy(rules: Rules) -> None:
    """The one that stands in Return-Path; the same script is asked anew for a copy with another."""
    script = 'require "envelope"; if envelope "from" "owner@example.com" { discard; }'
    copies = [target(script), msgspec.structs.replace(target(script), sender="owner@example.com")]
    decisions = Decisions(rules, "a@outside.test", Message(MAIL, len(MAIL)), Surroundings(), print, CompiledScripts())
    assert [one.channel for one in decisions.targets("jd@example.com", copies)] == ["tcp_lmtpcs", "bitbucket"]


def test_vacation_knows_the_subaddress_that_was_written_to(rules: Rules) -> None:
    plain = msgspec.structs.replace(target('require "vacation"; vacation "x";'), intermediate="JD+work@example.com")
    decisions = Decisions(rules, "a@outside.test", Message(MAIL, len(MAIL)), Surroundings(), print, CompiledScripts())
    (answer,) = tasks(decisions.targets("JD+work@example.com", [plain]))
    assert isinstance(answer, Answer)
    assert "jd+work@example.com" in answer.addresses


def test_vacation_answers_beside_the_keep(rules: Rules) -> None:
    script = 'require "vacation"; vacation :days 3 :subject "s" :addresses "Doe@Example.com" "text";'
    answered, kept = decide(rules, script)
    (answer,) = tasks((answered,))
    assert isinstance(answer, Answer)
    assert (answer.owner, answer.mail, answer.subject, answer.text) == ("jdoe", "john.doe@example.com", "s", "text")
    assert answer.seconds == 3 * 86_400
    assert set(answer.addresses) == {"john.doe@example.com", "jd@example.com", "doe@example.com"}
    assert answer.handle
    assert kept.address == ADDRESS
    assert [one.task for one in decide(rules, script, sender="")] == [""]


def test_a_script_that_answers_silences_the_directorys_answer(rules: Rules) -> None:
    mine = Target("bitbucket", "jdoe+example.com@bitbucket", "bitbucket", intermediate="john.doe@example.com", answers=True)
    sues = msgspec.structs.replace(mine, address="sue+example.com@bitbucket", intermediate="sue@example.com")
    for script, left in (('require "vacation"; vacation "x";', [sues]), ("keep;", [mine, sues])):
        decisions = Decisions(rules, "a@outside.test", Message(MAIL, len(MAIL)), Surroundings(), print, CompiledScripts())
        found = decisions.targets("john.doe@example.com", [mine, target(script), sues])
        assert [one for one in found if one.answers] == left


def test_a_long_subject_is_not_repeated_whole(rules: Rules) -> None:
    mail = b"Subject: " + b"hello " * 100 + b"\r\n\r\n"
    answer = tasks(decide(rules, 'require "vacation"; vacation "text";', mail))[0]
    assert isinstance(answer, Answer)
    assert answer.subject.startswith("Auto: hello hello")
    assert len(answer.subject) <= 256


def test_different_answers_have_different_handles(rules: Rules) -> None:
    made = [tasks(decide(rules, f'require "vacation"; vacation "{text}";'))[0] for text in ("a", "b", "a")]
    handles = [each.handle for each in made if isinstance(each, Answer)]
    assert handles[0] == handles[2] != handles[1]


@pytest.mark.parametrize("script", ["keep", 'require "reject"; keep; reject "x";', 'require "fileinto"; fileinto "";'])
def test_a_fault_keeps_and_tells_the_owner(rules: Rules, script: str) -> None:
    found = decide(rules, script)
    assert [one.address for one in found] == [ADDRESS, "john.doe@example.com"]
    (note,) = tasks(found)
    assert isinstance(note, Note)
    assert note.fault.startswith("line 1: ")


@pytest.mark.parametrize(
    "script",
    [
        "discard;", 'redirect "a@b.test";', 'require "reject"; reject "x";', 'require "vacation"; vacation "x";', "keep",
        'require "vacation"; vacation "x"; discard;',
    ],
)  # fmt: skip
def test_without_the_channels_everything_is_kept(tmp_path: Path, script: str) -> None:
    plain = routing_rules.compile(relay_configuration(tmp_path, channels=WITHOUT))
    assert "bitbucket" not in plain.imta.channels
    assert "process" not in plain.imta.channels
    assert [one.address for one in decide(plain, script)] == [ADDRESS]


def test_scripts_that_do_not_fit_are_left_to_process(rules: Rules) -> None:
    """Of many recipients with costly scripts only as many are run at once as the worker can bear."""
    costly = "if anyof(" + ",".join(['header :contains "subject" "b"'] * 100) + ") { discard; }"
    mail = b"Subject: " + b"a" * 50_000 + b"\r\n\r\n"
    users = [
        UserFilter(f"u{number}", f"u{number}@example.com", (), f"# {number}\n{costly}", joined=False) for number in range(8)
    ]
    decisions = Decisions(
        rules, "a@outside.test", Message(mail, len(mail)), Surroundings(), lambda _: None, CompiledScripts(), work=800_000
    )
    plain = target("")
    found = [
        decisions.targets(user.mail, [Target("tcp_lmtpcs", f"x{user.owner}", plain.host, intermediate=user.mail, filter=user)])
        for user in users
    ]
    assert [one.channel for (one,) in found] == ["tcp_lmtpcs"] * 3 + ["process"] * 5
    assert [one.address for (one,) in found[3:]] == [user.mail for user in users[3:]]
    assert all(one.task == "" for (one,) in found)


def test_of_a_user_who_is_left_to_process_nothing_goes_twice(rules: Rules) -> None:
    """All of him is routed anew there: his forwards must not go beside."""
    dn = "uid=bfwd,ou=People,o=example.com,o=usergroup"
    options = {"maildeliveryoption": ("mailbox", "forward", "autoreply"), "mailsieverulesource": ("keep;",)}
    world = Relay(rules, MemoryDirectory({**EXAMPLE, dn: {**EXAMPLE[dn], **options}}))

    def decided(address: str, source: str, work: int | None) -> list[str]:
        routed = world.route(address, source_channel=source)
        assert isinstance(routed, Accepted), routed
        message, scripts = Message(MAIL, len(MAIL)), CompiledScripts()
        decisions = Decisions(rules, "x@evil.test", message, Surroundings(), print, scripts, work=work)
        return [f"{one.channel} {one.intermediate}" for one in decisions.targets(address, routed.recipients)]

    whole = [
        "tcp_lmtpcs bob@example.com", "tcp_local bob@example.com", "tcp_lmtpcs ann.smith@example.com",
        "bitbucket bob@example.com",
    ]  # fmt: skip
    assert decided("Bob@example.com", "tcp_local", 1000) == [one.replace("bob@", "Bob@") for one in whole]
    assert decided("Bob@example.com", "tcp_local", 0) == ["process Bob@example.com"]
    assert decided("bob@example.com", "process", None) == whole


def test_a_script_is_compiled_once() -> None:
    scripts = CompiledScripts(scripts=2)
    first = scripts.script("keep;", joined=False)
    assert scripts.script("keep;", joined=False) is first
    scripts.script("discard;", joined=False)
    scripts.script("stop;", joined=False)
    assert scripts.script("keep;", joined=False) is not first


@pytest.mark.parametrize(
    "script",
    [
        'require ["reject", "encoded-character"]; reject "a${hex:ff 00}b";',
        'require ["vacation", "encoded-character"]; vacation :subject "${hex:c3}" :addresses "${hex:fe}@x" "a${hex:ff}";',
        'require ["ihave", "encoded-character"]; error "a${hex:ff}b";',
    ],
)
def test_octets_that_are_no_utf8_can_be_written(rules: Rules, script: str) -> None:
    found = decide(rules, script)
    assert len(tasks(found)) == 1
    assert "\udcff" not in found[0].task


def test_several_values_are_one_script(rules: Rules) -> None:
    user = UserFilter("j", "j@example.com", (), 'require "fileinto"; stop;\nrequire "copy"; keep;', joined=True)
    decisions = Decisions(rules, "", Message(MAIL, len(MAIL)), Surroundings(), lambda _: None, CompiledScripts())
    plain = target("")
    (kept,) = decisions.targets("x", [Target(plain.channel, plain.address, plain.host, filter=user)])
    assert (kept.address, kept.task) == (ADDRESS, "")


def test_envelope_auth_is_who_has_logged_in(rules: Rules) -> None:
    script = 'require "envelope";\nif envelope :is "auth" "ann.smith@example.com" { discard; }\n'
    for user, channel in (("ann.smith@example.com", "bitbucket"), ("", "tcp_lmtpcs")):
        message = Message(MAIL, len(MAIL))
        decisions = Decisions(rules, "a@outside.test", message, Surroundings(), print, CompiledScripts(), user=user)
        (found,) = decisions.targets("jd@example.com", [target(script)])
        assert found.channel == channel


def test_flags_go_with_the_copy_they_were_set_for(rules: Rules) -> None:
    script = (
        'require ["imap4flags", "fileinto"];\nsetflag "\\\\Seen";\nfileinto :flags ["\\\\Flagged", "$Label1"] "Work";\n'
        'keep;\nfileinto :flags "" "Plain";\n'
    )
    found = {one.address: one.imap_flags for one in decide(rules, script)}
    assert found == {
        "@store1.example.com.lmtp:jdoe+Work@lmtpcs-daemon": "\\Flagged,$Label1",
        ADDRESS: "\\Seen",
        "@store1.example.com.lmtp:jdoe+Plain@lmtpcs-daemon": "",
    }
