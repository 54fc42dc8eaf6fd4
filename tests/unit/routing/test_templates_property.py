"""No text makes the template parsers or rewriting do anything but answer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from posthouse.relay.routing.clause_template import (
    ClauseError,
    ClauseInputs,
    OwnerValues,
    parse_clause_template,
    render_clause,
)
from posthouse.relay.routing.inquiry import Inquiry
from posthouse.relay.routing.rewrite import Job, Rewriter, Rewritten, Unroutable
from posthouse.relay.routing.rewrite_template import TemplateError, parse_template
from posthouse.relay.routing.rule_table import Rule, RuleTable
from posthouse.relay.routing.rules import Rules
from support.people import EXAMPLE, MemoryDirectory
from support.relay_files import relay_rules

LETTERS = "ABCDEFHLMNPQRSTUVWXZ%@$\\^_*#&!?({]0123abc."
CODES = st.sampled_from([*LETTERS, "$", "$U", "$H", "$U%", "@bitbucket", "example.com", "${X,a}"])
TEMPLATES = st.lists(CODES, max_size=8).map("".join)
PATTERNS = st.sampled_from(["$*", ".", ".com", "*.com", "example.com", "[]", "*"])
ADDRESSES = st.sampled_from(["j@example.com", "@a.com:j@b", "j%example.com", "a!b", "j@[1.2.3.4]", "j", "a%b%c@d.com"])
VALUES = OwnerValues("jdoe", "hosted.test", "store1.example.com")
INPUTS = ClauseInputs("j.d+s@example.com", "j.d+s", "j.d", "s", "example.com", "", VALUES)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return relay_rules(tmp_path_factory.mktemp("relay"))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(written=st.lists(st.tuples(PATTERNS, TEMPLATES), max_size=4), address=ADDRESSES)
def test_rewriting_by_any_rules_ends(rules: Rules, written: list[tuple[str, str]], address: str) -> None:
    parsed = []
    for pattern, template in written:
        try:
            parsed.append(Rule(pattern, parse_template(template), "imta.cnf", 1))
        except TemplateError:
            continue
    table = RuleTable(parsed, lambda host: rules.imta.by_tag(host) is not None)
    old = rules.rewriter
    rewriter = Rewriter(
        table, old.by_tag, old.tables, {"a": "$U%b"}, old.refusals, old.local_hosts, old.bare_host, old.subaddress_char
    )
    result = MemoryDirectory(EXAMPLE).run(rewriter.rewrite(address, Job(Inquiry())))
    assert isinstance(result, Rewritten | Unroutable)


@settings(max_examples=300)
@given(text=st.lists(st.sampled_from([*"ADEGFHIJKLMOPSUX$\\^_01234@%+.:x"]), max_size=12).map("".join))
def test_clauses_of_any_text_answer(text: str) -> None:
    try:
        template = parse_clause_template(text)
    except ClauseError:
        return
    made = render_clause(template, INPUTS)
    assert made is None or isinstance(made, str)
