"""Pigeonhole's sieve-test does the same with our scripts, and with scripts nobody has written.

Where it does not, tests/rules/sieve says so beside the script: 2.3.19 files into a folder without a
name, and runs scripts although it has found an error in them; 2.4.1 compares in `string` by i;ascii-casemap.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.pigeonhole import VERSION, Oracle, ours
from support.sieve_rules import MESSAGE, REQUIRE, cases


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with tempfile.TemporaryDirectory(prefix="posthouse-sieve-") as folder:  # nobody has to get there
        yield Oracle(Path(folder))


@pytest.mark.parametrize("name", ["tests.txt", "commands.txt", "syntax.txt", "language.txt", "values.txt"])
def test_it_agrees_on_our_scripts(oracle: Oracle, name: str) -> None:
    wrong = [
        (case.script, answer) for case in cases(name) if (answer := oracle.actions(case.script, MESSAGE)) != case.theirs[VERSION]
    ]
    assert wrong == []


_FIELDS = st.sampled_from(["subject", "from", "to", "cc", "x-two", "x-num", "x-empty", "x-none", "received"])
_ADDRESSED = st.sampled_from(["from", "to", "cc", "reply-to"])
_WORDS = st.sampled_from(["list", "alice", "re:", "outside.test", "", "one", "TWO", "e", "sales", "42", "042 apples", "*", "a*e"])
_PIECES = st.sampled_from(["*", "?", "a", "e", "*l", "i*", ".", "@", "[", " ", "\\\\*", "\\\\?", "s", "O", "two", ""])
_PATTERNS = st.lists(_PIECES, min_size=1, max_size=6).map("".join).filter(lambda key: not key.startswith("?"))
"""2.3.19 finds what follows a leading `?` anywhere: `?a*` in "Re: [list]..." """
_KEYS = st.lists(_WORDS, min_size=1, max_size=3)
_FOLDERS = st.sampled_from(["a", "b", "x${1}", "y${2}", "z${v}", "${0}n"])


def _list(items: list[str]) -> str:
    return "[" + ", ".join(f'"{item}"' for item in items) + "]"


def _tagged(test: str, part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    fields = _ADDRESSED if test == "address" else _FIELDS
    octet = st.sampled_from(["", ':comparator "i;octet" '])
    plain = st.builds(
        lambda kind, how, which, field, keys: f'{test} {which}{how}{kind} "{field}" {_list(keys)}',
        st.sampled_from([":is", ":contains", ""]), octet, part, fields, _KEYS,
    )  # fmt: skip
    matching = st.builds(
        lambda how, which, field, key: f'{test} :matches {how}{which}"{field}" "{key}"', octet, part, fields, _PATTERNS
    )
    counting = st.builds(
        lambda relation, which, field, number: (
            f'{test} :count "{relation}" {which}:comparator "i;ascii-numeric" "{field}" "{number}"'
        ),
        st.sampled_from(["eq", "ge", "lt", "ne"]), part, fields, st.integers(0, 3),
    )  # fmt: skip
    return st.one_of(plain, matching, counting)


_SIMPLE = st.one_of(
    _tagged("header", st.just("")),
    _tagged("address", st.sampled_from(["", ":all ", ":domain ", ":localpart ", ":user ", ":detail "])),
    st.builds(lambda keys: f"exists {_list(keys)}", st.lists(_FIELDS, min_size=1, max_size=2)),
    st.builds(lambda how, number: f"size :{how} {number}", st.sampled_from(["over", "under"]), st.integers(0, 3000)),
    st.builds(lambda key: f'string :matches :comparator "i;octet" "abcabc.e@ [x] two" "{key}"', _PATTERNS),
    st.builds(lambda kind, key: f'body :{kind} :contains "{key}"', st.sampled_from(["raw", 'content "text"']), _WORDS),
    st.builds(lambda flag: f'hasflag "{flag}"', st.sampled_from(["a", "b", "\\\\Seen", "A b"])),
    st.sampled_from(["true", "false", 'envelope :detail "to" "work"', 'envelope :domain :is "from" "OUTSIDE.test"']),
)
_TESTS = st.recursive(
    _SIMPLE,
    lambda inner: st.one_of(
        inner.map(lambda test: f"not {test}"),
        st.builds(
            lambda word, tests: f"{word} ({', '.join(tests)})",
            st.sampled_from(["allof", "anyof"]), st.lists(inner, min_size=1, max_size=3),
        ),
    ),
    max_leaves=4,
)  # fmt: skip
_ACTIONS = st.one_of(
    st.sampled_from(
        [
            "keep;", "discard;", "stop;", 'redirect "a@b.test";', 'redirect :copy "c@d.test";', 'setflag "a b";',
            'addflag "\\\\Seen";', 'removeflag "b";', 'keep :flags "k";', 'set "v" "w${1}";', 'set :upper "v" "${v}q";',
            'set :length "v" "${v}";',
            'reject "no";', 'vacation "away";',
        ]
    ),
    st.builds(lambda copy, folder: f'fileinto {copy}"{copy[1:2]}f{folder}";', st.sampled_from(["", ":copy "]), _FOLDERS),
)  # fmt: skip
_BLOCKS = st.recursive(
    _ACTIONS,
    lambda inner: st.builds(
        lambda test, first, other, second: (
            f"if {test} {{ {' '.join(first)} }} elsif {other} {{ {' '.join(second)} }} else {{ keep; }}"
        ),
        _TESTS, st.lists(inner, max_size=3), _TESTS, st.lists(inner, max_size=2),
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(commands=st.lists(_BLOCKS, min_size=1, max_size=5))
def test_it_agrees_on_any_script(oracle: Oracle, commands: list[str]) -> None:
    script = REQUIRE + "\n".join(commands)
    assert ours(script, MESSAGE) == oracle.actions(script, MESSAGE)


def test_the_oracle_sees_a_difference(oracle: Oracle, tmp_path: Path) -> None:
    del tmp_path
    assert oracle.actions('require "fileinto"; fileinto "a";', MESSAGE) == ["fileinto a"]
    assert oracle.actions("keep", MESSAGE) is None
    assert oracle.actions('require "reject"; keep; reject "x";', MESSAGE) == ["keep"]
