"""Scripts and messages made to cost: each ends soon, with a fault and a keep or with its answer."""

import time

import pytest

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.actions import Keep, Outcome
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.filtering.message import Envelope, Message
from posthouse.relay.filtering.run import Surroundings

SUBJECT = b"Subject: " + b"a" * 1_000_000 + b"\r\n\r\nbody"
SECONDS = 1.5
"""of CPU, on a busy machine; what is measured is below 0.2"""


def evaluate(script: str, message: bytes = SUBJECT) -> Outcome:
    return compile_script(script).evaluate(Message(message, len(message)), Envelope("a@b.test", "c@d.test"), Surroundings())


@pytest.mark.parametrize(
    "script",
    [
        'if header :matches "subject" "*?a?a?a?a?a?a?a*b" {discard;}',
        'if header :matches "subject" "*' + "?" * 1000 + 'b*" {discard;}',
        "if anyof(" + ",".join(['header :contains "subject" "b"'] * 2000) + ") {discard;}",
        'require "regex"; if header :regex "subject" "(a+)+b" {discard;}',
        'require "regex"; if header :regex "subject" "a.{900}b" {discard;}',
        'require "regex"; if header :regex "subject" "(a?){400}(a{400})b" {discard;}',
        'require "body"; if anyof(' + ",".join(['body :raw :matches "*a?b*"'] * 500) + ") {discard;}",
    ],
)
def test_too_much_work_is_a_fault_and_a_keep(script: str) -> None:
    begun = time.process_time()
    outcome = evaluate(script, SUBJECT + b"a" * limits.BODY_OCTETS)
    assert time.process_time() - begun < SECONDS
    assert "does too much" in outcome.error
    assert outcome.error.startswith("line 1: ")
    assert outcome.actions == (Keep(),)


def test_many_stars_are_linear() -> None:
    outcome = evaluate('if header :matches "subject" "*a*a*a*a*a*a*a*a*b" {discard;}')
    assert (outcome.error, outcome.actions) == ("", (Keep(),))
    assert outcome.work < limits.BUDGET / 2


def test_a_variable_doubled_sixty_times_stays_small() -> None:
    script = 'require ["variables", "fileinto"]; set "a" "xxxxxxxxxx"; ' + 'set "a" "${a}${a}"; ' * 60
    outcome = evaluate(script + f'if string :matches "${{a}}" "{"?" * limits.VARIABLE_CHARACTERS}" {{ discard; }}')
    assert outcome.error == ""
    assert outcome.actions != (Keep(),)


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("".join(f'redirect "a{number}@b.test";' for number in range(1000)), "more than 4 redirects"),
        ('require "fileinto";' + "".join(f'fileinto "{number}";' for number in range(100)), "more than 32 actions"),
    ],
)
def test_too_many_actions(script: str, word: str) -> None:
    outcome = evaluate(script)
    assert word in outcome.error
    assert outcome.actions == (Keep(),)


@pytest.mark.parametrize(
    ("script", "word"),
    [
        ("keep;" * (limits.NODES + 1), "commands and tests"),
        ("if " + "not " * 40 + "true {}", "nested deeper"),
        ("if true {" * 40 + "}" * 40, "nested deeper"),
        ("if " + "anyof(" * 40 + "true" + ")" * 40 + "{}", "nested deeper"),
        ("#" + "x" * limits.SCRIPT_OCTETS, "longer than"),
        ('if header "x" "' + "y" * limits.STRING_OCTETS + 'z" {}', "longer than"),
        ('if header "x" [' + '"y",' * limits.LIST_ITEMS + '"z"] {}', "strings"),
        ('require "variables";' + "".join(f'set "v{number}" "x";' for number in range(limits.VARIABLES + 1)), "variables"),
        ('require "variables"; set "' + "v" * (limits.VARIABLE_NAME + 1) + '" "x";', "variable name"),
        ('require "regex"; if header :regex "a" "((x{100}){100}){100}" {}', "regular expression"),
        ('require "regex"; if header :regex "a" [' + ",".join(f'"x.{{900}}{n}"' for n in range(8)) + "] {}", "instructions"),
        ('require "regex";' + "".join(f'if header :regex "a" "x{n}" {{}}' for n in range(501)), "instructions"),
    ],
)
def test_too_large_scripts_are_refused(script: str, word: str) -> None:
    with pytest.raises(ScriptError, match=word):
        compile_script(script)


@pytest.mark.parametrize(
    "message",
    [
        b"To: " + b"(" * 100_000,
        b"To: " + b"a@b," * 100_000,
        b"To: " + b'"' * 100_001,
        b"To: " + b'"\\' * 50_000,
        b"To: " + b"a:;" * 30_000,
        b"To: " + b"<@" * 30_000,
        b"To: " + b"<" * 100_001,
        b"To: " + b"=?utf-8?q?" * 30_000,
        b"To: " + b"=?utf-8?q?a?= " * 30_000,
        b"To: a?=" + b" " * 60_000 + b"=?x",
        b"Date: " + b"(a" * 100_000,
        b"Date: " + b"()" * 50_000,
        b"To: x\r\n" * 50_000,
        b"a" * 1_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"<s" * 131_072,
        b"Content-Type: text/html\r\n\r\n" + b"<script><!--" * 20_000,
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
        + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 5000,
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n" + b"--a\r\n" * 50_000,
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"=" * 200_000,
    ],
)
def test_messages_made_to_cost(message: bytes) -> None:
    begun = time.process_time()
    script = 'require ["body", "date"]; if anyof(address "to" "b", header "to" "b", date "date" "hour" "b", body "q") {discard;}'
    outcome = evaluate(script, message + b"\r\n\r\n")
    assert time.process_time() - begun < SECONDS
    assert outcome.actions == (Keep(),)


WIDE = b"X: y\r\n" * 40_000 + b"To: " + b"a@b.test, " * 6000 + b"\r\nDate: " + b"()" * 30_000 + b"\r\n\r\n"
NAMES = [f'header "h{number}" ""' for number in range(2400)]


@pytest.mark.parametrize(
    "script",
    [
        "if anyof(" + ",".join(NAMES) + ") {}",
        "if anyof(" + ",".join(f'exists "h{number}"' for number in range(2400)) + ") {}",
        "if anyof(" + ",".join(['address "to" "b"'] * 2400) + ") {}",
        'require "date"; if anyof(' + ",".join(['date "date" "year" "b"'] * 2400) + ") {}",
        'require "variables"; set "a" "' + "*" * 4000 + '";' + 'set :quotewildcard "b" "${a}";' * 4000,
        'require "variables"; set "a" "' + "é" * 4000 + '";' + 'set :upper :lowerfirst "b" "${a}";' * 4000,
        'require ["regex", "variables"]; set "a" ".{900}";'
        + "".join(f'if header :regex "h" "${{a}}{number}" {{}}' for number in range(1000)),
        'require "variables"; set "a" "'
        + "x?" * 2000 + '";' + "".join(f'if string :matches "x" "*${{a}}{number}*" {{}}' for number in range(1000)),
        'require "imap4flags";' + ('addflag "' + "( " * 1000 + '";') * 100,
        'require ["imap4flags", "variables"]; set "a" "' + "a " * 2000 + '"; if hasflag [' + ",".join(['"${a}"'] * 1000) + "] {}",
    ],
)
def test_many_small_things_are_much_work(script: str) -> None:
    compiled = compile_script(script)
    begun = time.process_time()
    outcome = compiled.evaluate(Message(WIDE, len(WIDE)), Envelope("a@b.test", "c@d.test"), Surroundings())
    assert time.process_time() - begun < SECONDS
    assert "does too much" in outcome.error
    assert outcome.actions == (Keep(),)


@pytest.mark.parametrize(
    "test",
    [
        'header :contains ["from", "sender", "resent-from"] "x{}@other.test"',
        'address :is ["from", "to", "cc"] "x{}@other.test"',
        'exists ["list-id", "list-post"]',
    ],
)
def test_a_header_is_looked_through_once_for_a_name_however_many_rules_ask(test: str) -> None:
    """A thousand rules are a long script, a hundred KiB a long header: neither is hostile."""
    rules = "".join(f'if {test.format(number)} {{ fileinto "f"; stop; }}\n' for number in range(1000))
    received = b"Received: from a.test by b.test; Mon, 23 Nov 2026 05:00:00 +0000\r\n" * 1500
    octets = received + b"From: Bob <bob@b.test>\r\nTo: ann@b.test, cy@b.test\r\nSubject: s\r\n\r\nbody\r\n"
    message = Message(octets, len(octets))
    outcome = compile_script('require "fileinto";' + rules).evaluate(message, Envelope("a@b.test", "c@d.test"), Surroundings())
    assert outcome.error == ""
    assert outcome.work < limits.BUDGET / 4
