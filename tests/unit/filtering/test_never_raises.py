"""Whatever a script or message is: compiling ends with a script or a ScriptError, evaluating with an outcome."""

import re

from hypothesis import given
from hypothesis import strategies as st

from posthouse.relay.filtering.address_list import addresses
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError
from posthouse.relay.filtering.header_text import header_text
from posthouse.relay.filtering.matching import casemap, pattern
from posthouse.relay.filtering.message import Envelope, Message
from posthouse.relay.filtering.run import Surroundings

_WORDS = st.sampled_from(
    (  # noqa: SIM905 -- one token a word is how it is read
        'if elsif else require stop keep discard fileinto redirect header address not allof anyof true size exists set vacation '
        'reject :is :matches :contains :count :over :flags :copy { } ( ) [ ] ; , "a" "*" "${1}" "x@y.test" text: 1 2K # /* */ '
        '"subject" "variables" "fileinto" "eq" :value :comparator "i;octet" hasflag setflag body :raw date :zone "year"'
    ).split()
)
_SCRIPTS = st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=25).map(" ".join))
ALL = (
    'require ["body", "date", "variables", "fileinto", "relational", "subaddress"];\n'
    'if header :matches ["subject", "x"] "*a?*" { fileinto "x${1}y"; }\n'
    'elsif address :detail :count "ge" ["from", "to"] "1" { fileinto "b"; }\n'
    'elsif anyof (body :content "text" :contains "a", body :raw "b", body "c", date "date" "hour" "1", exists "x") { keep; }\n'
    'if address :user :matches "to" "*" { fileinto "u${1}"; }\n'
)


@given(script=_SCRIPTS, message=st.binary(max_size=200))
def test_any_script(script: str, message: bytes) -> None:
    try:
        compiled = compile_script(script, explain=True)
    except ScriptError as error:
        lines = [each.line for each in error.problems]
    else:
        lines = [1]
        outcome = compiled.evaluate(Message(message, len(message)), Envelope("", ""), Surroundings())
        assert outcome.actions
    assert lines
    assert min(lines) >= 1


_LINES = st.sampled_from(
    [
        b"Subject: a", b"subject : =?utf-8?q?=FF?=", b" folded", b"To: a@b, <c@d", b"to: grp: x@y;", b"", b"From: \xff",
        b"Content-Type: multipart/mixed; boundary=q", b"--q", b"--q--", b"Content-Transfer-Encoding: base64", b"!!!=", b"X:",
        b":", b"Date: x; 1", b"Content-Type: message/rfc822", b"Date: Mon, 99 Nov 2026 25:61:00 +9999", b'From: "x', b"To: ((((",
    ]
)  # fmt: skip


@given(st.one_of(st.binary(max_size=300), st.lists(_LINES, max_size=15).map(b"\r\n".join)))
def test_any_message(message: bytes) -> None:
    outcome = compile_script(ALL).evaluate(Message(message, len(message)), Envelope("a@b", "c+d@e"), Surroundings())
    assert outcome.actions
    assert outcome.error == "" or "folder" in outcome.error


@given(st.text(alphabet="ab*?\\\u00e9", max_size=8), st.text(alphabet="abAB*\\\u00e9", max_size=12))
def test_matches_is_what_a_backtracking_matcher_finds(key: str, text: str) -> None:
    expression = ""
    for escaped, wild, plain in re.findall(r"\\(.)|([*?])|([^\\]|\\\Z)", key, re.DOTALL):
        expression += {"*": "(.*?)", "?": "(.)"}[wild] if wild else re.escape(escaped or plain)
    expected = re.fullmatch(expression, casemap(text), re.DOTALL)
    found = pattern(casemap(key)).match(casemap(text), text)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found[0] == text
        assert tuple(map(casemap, found[1:])) == expected.groups()


@given(st.text(max_size=80))
def test_any_address_list(value: str) -> None:
    assert addresses(value)


@given(st.binary(max_size=80))
def test_any_field(raw: bytes) -> None:
    assert "\r\n" not in header_text(raw)
