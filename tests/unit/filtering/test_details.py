"""Small print of the language that Pigeonhole 2.3.19 cannot be asked about, and what its answers would not show."""

import pytest

from posthouse.relay.filtering.actions import FileInto, Keep
from posthouse.relay.filtering.address_list import Mailbox, envelope_address
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.filtering.message import Envelope, Message
from posthouse.relay.filtering.run import Surroundings

YES = FileInto("yes")
MAIL = b"Subject: x\r\n\r\nbody\r\n"


def holds(test: str, mail: bytes = MAIL, *, sender: str = "a@b.test", recipient: str = "c@d.test", now: float = 0.0) -> bool:
    names = '"fileinto", "variables", "envelope", "body", "date", "regex", "encoded-character", "mailbox", "environment", "ihave"'
    script = f'require [{names}];\nif {test} {{ fileinto "yes"; }}'
    outcome = compile_script(script).evaluate(Message(mail, len(mail)), Envelope(sender, recipient, "me"), Surroundings(now, 60))
    assert outcome.error == ""
    assert outcome.actions in {(YES,), (Keep(),)}
    return outcome.actions == (YES,)


@pytest.mark.parametrize(
    ("test", "result"),
    [
        (r'string :matches "a\\" "*a\\"', True),
        (r'string :matches "a" "*a\\"', False),
        ('string "dear${hex:20 24 7b 4e}ame}" "dear "', True),
        ('envelope "auth" "me"', True),
        ('currentdate :zone "+0000" "iso8601" "1970-01-01T00:00:00Z"', True),
        ('currentdate "hour" "01"', True),
        ('ihave ["variables", "body"]', True),
        ('ihave "no-such-thing"', False),
        ('mailboxexists ["INBOX", "Any"]', True),
        ('environment "host" "localhost"', True),
        ('environment :contains "no-such-item" ""', False),
        ('header :regex "subject" "^(x|y)$"', True),
        ('body :content "text" :is "body\r\n"', True),
    ],
)
def test_tests(test: str, result: bool) -> None:
    assert holds(test) is result


@pytest.mark.parametrize(
    ("path", "mailbox"),
    [
        ("", Mailbox("", "", "")),
        ("<>", Mailbox("", "", "")),
        ("<a@b.test>", Mailbox("a@b.test", "a", "b.test")),
        ("<@r.test,@s.test:a@b.test>", Mailbox("a@b.test", "a", "b.test")),
        (' "a b"@b.test ', Mailbox('"a b"@b.test', "a b", "b.test")),
        ("MAILER-DAEMON", Mailbox("MAILER-DAEMON", "MAILER-DAEMON", None)),
        ("a@", Mailbox("a@", None, None)),
        ("<a@@b.test>", Mailbox("<a@@b.test>", None, None)),
        ("<@r..test:a@b.test>", Mailbox("<@r..test:a@b.test>", None, None)),
    ],
)
def test_paths_of_the_envelope(path: str, mailbox: Mailbox) -> None:
    assert envelope_address(path) == mailbox


def test_the_null_sender_is_empty_whatever_the_part() -> None:
    assert all(holds(f'envelope {part} "from" ""', sender="") for part in (":all", ":localpart", ":domain"))
    assert not holds('envelope "to" ""', recipient="")


def test_html_is_read_without_its_markup() -> None:
    page = b"<html><style>p{}</style><!-- no --><p>Caf&eacute; <b>bold</b> text<script>x()</script></html"
    mail = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + page
    assert holds('body :contains "Café bold text"', mail)
    assert not any(holds(f'body :contains "{word}"', mail) for word in ("<b>", "x()", "no ", "p{}"))


@pytest.mark.parametrize(
    ("script", "faults"),
    [
        ('keep;\n\nfileinto "x";', [3]),
        ('if true {\n  keep :foo;\n  nope;\n}\nredirect "x";', [2, 3, 5]),
        ('require "variables";\nset "a" "${x.y}";\n', [2]),
        ("keep;\nif true {\n  keep;\n", [4]),
        ("keep;\n/* a\n b", [2]),
        ('keep\nif true {\n  keep "a" ]\n  stop;\n  discard\n}\n}\nif { keep; }\nkeep;', [3, 6, 7]),
        ("if [ { keep; }\nkeep;\nif true, true { keep; }", [1, 3]),
        ('keep;\n"a\nb', [2]),
        ("keep;\nif size :over 1X { keep; }", [2]),
        ('require ["fileinto",\n "nope"];', [1]),
        ('if anyof(true,\n header :is :is "a" "b") { keep; }', [2]),
        ('require "regex";\nif header :regex "a" "(" { keep; }', [2]),
    ],
)
def test_every_fault_has_its_line(script: str, faults: list[int]) -> None:
    with pytest.raises(ScriptError) as found:
        compile_script(script)
    assert [problem.line for problem in found.value.problems] == faults


def test_several_scripts_may_be_joined() -> None:
    text = 'require "fileinto"; if false { stop; }\nrequire "copy"; fileinto :copy "yes";'
    with pytest.raises(ScriptError, match="require must stand before"):
        compile_script(text)
    made = compile_script(text, joined=True).evaluate(Message(MAIL, len(MAIL)), Envelope("", ""), Surroundings())
    assert made.actions == (YES, Keep())
