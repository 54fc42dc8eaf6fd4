"""Small print of the language that Pigeonhole 2.3.19 cannot be asked about, and what its answers would not show."""

import pytest

from posthouse.relay.filtering.actions import FileInto, Keep
from posthouse.relay.filtering.address_list import Mailbox, addresses, envelope_address, places
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
        ('ihave ["body", "copy"]', True),
        ('ihave "variables"', False),
        ('ihave ["body", "encoded-character"]', False),
        ('ihave "no-such-thing"', False),
        ('mailboxexists ["INBOX", "Any"]', True),
        ('mailboxexists "${hex:ff}rop"', False),
        ('mailboxexists ["INBOX", ""]', False),
        ('environment "host" "localhost"', True),
        ('environment :matches "version" "?*.?*"', True),
        ('environment "domain" ""', True),
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


def test_what_is_no_path_is_not_compared() -> None:
    assert not any(holds(f'envelope :all :contains "from" "{key}"', sender="hutsefluts@") for key in ("", "huts"))
    assert not holds('envelope "to" "<a@@b.test>"', recipient="<a@@b.test>")
    assert holds('envelope "from" "MAILER-DAEMON"', sender="MAILER-DAEMON")


def test_the_inbox_is_itself_in_any_case_and_so_is_what_is_below_it() -> None:
    names = ("INBOX/a", "Inbox/a", "inbox", "inboxes", "Inboxes")
    script = 'require "fileinto";' + "".join(f'fileinto "{name}";' for name in names)
    found = compile_script(script + "keep;").evaluate(Message(MAIL, len(MAIL)), Envelope("", ""), Surroundings())
    assert found.actions == (FileInto("INBOX/a"), FileInto("inbox"), FileInto("inboxes"), FileInto("Inboxes"))
    around = Surroundings(mailboxes=frozenset({"INBOX/a"}))
    script = 'require ["mailbox", "fileinto"]; if mailboxexists ["inbox/a", "Inbox"] { fileinto "yes"; }'
    assert compile_script(script).evaluate(Message(MAIL, len(MAIL)), Envelope("", ""), around).actions == (YES,)


def test_our_domain_is_what_stands_behind_our_hosts_name() -> None:
    script = 'require ["environment", "fileinto"]; if environment "domain" "example.com" { fileinto "yes"; }'
    around = Surroundings(host="relay1.example.com")
    assert compile_script(script).evaluate(Message(MAIL, len(MAIL)), Envelope("", ""), around).actions == (YES,)


def test_html_is_read_without_its_markup() -> None:
    page = b"<html><style>p{}</style><!-- a > no --><p>Caf&eacute; <b>bold</b> text<script>x()</script></html"
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
        ("if size :over 18446744073709551616 { keep; }\nkeep $$%;", [1, 2]),
        ("if size :under 1Z {\n keep;\n}\n/* c */ keep ];", [1, 4]),
        ("if true {\n" * 34 + "keep;" + "}" * 34 + "\nkeep €;", [33, 36]),
        (f"if {'not ' * 33}true {{\n keep;\n}}\nkeep ~", [1, 4]),
    ],
)
def test_every_fault_has_its_line(script: str, faults: list[int]) -> None:
    with pytest.raises(ScriptError) as found:
        compile_script(script)
    assert [problem.line for problem in found.value.problems] == faults


@pytest.mark.parametrize(
    ("script", "faults"),
    [
        ("keep :frop;", ["unknown tag :frop for keep"]),
        ('true :comparator "a";', ["'true' is a test, not a command"]),
        ('if true :comparator "a" { }', ["unknown tag :comparator for true"]),
        ('if header "a" :frop { }', ["unknown tag :frop for header"]),
        ('if header :comparator :frop "a" "b" { }', ["the tag :comparator of header wants a string, but found the tag :frop"]),
        ('require "index"; if header :index "a" "b" { }', ["the tag :index of header wants a number, but found a string"]),
        ("redirect true;", ["redirect needs a string as argument 1"]),
        ('stop "a" true { keep; }', ["stop has too many arguments: a string"]),
        ("keep\ndiscard;", ["keep takes no test: is there a ';' missing before 'discard'?"]),
        ("keep (true);", ["keep takes no test"]),
        ("elsif true { } elsif false { } else { }", ["elsif must follow an if or elsif"]),
        ("if true { } else { } else { }", ["else must follow an if or elsif"]),
        ('require "variables"; set "${a}" "b";', ["a variable's name cannot have variables"]),
        ('require "variables"; set "" "b";', ["'' is no variable's name"]),
        ('require "variables"; if header :comparator "${a}" "b" "c" { }', ["the comparator's name cannot have variables"]),
        ('if header :comparator "" "b" "c" { }', ["unknown comparator ''"]),
        ('keep; require ["nope", "fileinto"]; fileinto "a";', ["require must stand before every other command"]),
    ],
)
def test_one_mistake_is_one_fault(script: str, faults: list[str]) -> None:
    with pytest.raises(ScriptError) as found:
        compile_script(script)
    assert [problem.reason for problem in found.value.problems] == faults


def test_what_is_wrong_with_a_regular_expression_is_text() -> None:
    with pytest.raises(ScriptError, match="missing \\)") as found:
        compile_script('require "regex";\nif header :regex "a" "(" { keep; }')
    assert "b'" not in str(found.value)


def test_several_scripts_may_be_joined() -> None:
    text = 'require "fileinto"; if false { stop; }\nrequire "copy"; fileinto :copy "yes";'
    with pytest.raises(ScriptError, match="require must stand before"):
        compile_script(text)
    made = compile_script(text, joined=True).evaluate(Message(MAIL, len(MAIL)), Envelope("", ""), Surroundings())
    assert made.actions == (YES, Keep())


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ("<@r,@s:a@b.test>", ["a@b.test"]),
        ("M <@r, @s : a@b.test>, N <c@d.test>", ["a@b.test", "c@d.test"]),
        ("G: <@r,@s:a@b.test>, c@d.test;, e@f.test", ["a@b.test", "c@d.test", "e@f.test"]),
        ("<@r,@s>, c@d.test", ["c@d.test"]),
        ("<a@b.test, c@d.test", ["c@d.test"]),
        ("a@b.test, nonsense", ["a@b.test"]),
        ("G:;, a@b.test", ["a@b.test"]),
        ("a@b., c@.d, e@f..g, h@i.test", ["h@i.test"]),
        ("[a]@b.test, c@[192.0.2.1]", ["c@[192.0.2.1]"]),
        ("nonsense", ["nonsense"]),
        ('a@b.test, "c\\" d, e@f.test', ["a@b.test", "e@f.test"]),
    ],
)
def test_what_the_addresses_of_a_field_are(field: str, found: list[str]) -> None:
    mail = f"To: {field}\r\n\r\n".encode()
    for key in found:
        assert holds(f'address "to" "{key}"', mail)
    script = f'require ["relational", "fileinto"];\nif address :count "eq" "to" "{len(found)}" {{ fileinto "yes"; }}'
    assert compile_script(script).evaluate(Message(mail, len(mail)), Envelope("", ""), Surroundings()).actions == (YES,)


def test_of_a_long_list_no_half_address_is_read() -> None:
    assert len(addresses("".join(f"a{number}@b.test, " for number in range(5000)))) == 1000
    cut = addresses("a@b.test, " + "x" * 65_520 + "@b.test, c@d.test")
    assert [each.raw for each in cut] == ["a@b.test"]
    assert [each.raw for each in addresses("a b, " * 3000 + "c@d.test")][-1] == "a b"


@pytest.mark.parametrize("date", ["Mon , 2 Nov 2026 10 : 00 : 00  +0100", "2 Nov 2026 10:00\t:00 (a comment) +0100"])
def test_blanks_within_a_date(date: str) -> None:
    assert holds('date :originalzone "date" "iso8601" "2026-11-02T10:00:00+01:00"', f"Date: {date}\r\n\r\n".encode())


@pytest.mark.parametrize(
    "script",
    [
        'if not ihave "no" { keep; } else { frop; }',
        'if allof (ihave "no", true) { frop; }',
        'if anyof (ihave "no", ihave "nor") { frop; } else { keep; }',
        'if anyof (not ihave "no", true) { keep; } elsif frop { frop; }',
        'if ihave "fileinto" { fileinto "x"; } else { frop; }',
    ],
)
def test_what_ihave_rules_out_is_not_looked_at(script: str) -> None:
    compile_script(f'require "ihave";\n{script}')
    with pytest.raises(ScriptError):
        compile_script(script)


@pytest.mark.parametrize(
    "block", ['if anyof (ihave "no", true) { frop; }', 'if allof (ihave "body", true) { frop; }', "if false { frop; }"]
)
def test_what_may_run_is_looked_at(block: str) -> None:
    with pytest.raises(ScriptError):
        compile_script(f'require "ihave";\n{block}')


def test_unicode_may_have_zeros_in_front() -> None:
    assert holds('string "${unicode:0000000041}" "A"')


def test_an_empty_sender_of_an_answer_is_a_fault() -> None:
    with pytest.raises(ScriptError):
        compile_script('require "vacation";\nvacation :from "" "x";')


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (" a@b.test", ["a@b.test"]),
        (' "x@y.test, z" <a@b.test>\r\n', ["a@b.test"]),
        (" x y\r\n\t<a@b.test> ", ["a@b.test"]),
        (' a@b.test (c@d.test), x: "e f"@b.test, <@r.test:g@[::1]>; x <h@b.test', ["a@b.test", '"e f"@b.test', "g@[::1]"]),
        (" a(x)@b.test, a@b.test c@d.test, a @b.test, none, ,", []),
        (" " + "a@b.test," * 2000 + "c@d.test", ["a@b.test"] * 1000),
    ],
)  # fmt: skip
def test_where_the_addresses_of_a_field_stand(field: str, found: list[str]) -> None:
    assert [field[place.begin : place.end] for place in places(field)] == found
