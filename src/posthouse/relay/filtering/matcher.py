"""One test's comparison: match type, comparator and keys made into a function on values (RFC 5228 2.7, RFC 5231).

Keys without variables are folded and compiled when the script is; the others when they are used. Values are tried in their
order and for each value the keys in theirs; the first that fits counts, and `:matches` sets the match variables from it
unless the test must not (RFC 5173 6).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.arguments import Taken
from posthouse.relay.filtering.context import Context, Texts
from posthouse.relay.filtering.linear_regex import Expression, compile_expression
from posthouse.relay.filtering.matching import (
    RELATIONS,
    Comparator,
    MatchType,
    Pattern,
    as_is,
    casemap,
    number,
    order_key,
    pattern,
)
from posthouse.relay.filtering.run import Run, values
from posthouse.relay.filtering.syntax import Node, Strings

Matcher: TypeAlias = Callable[[Run, Sequence[str]], bool]
_COMPILING = 2
"""units of work that an instruction of a regular expression is"""
_PATTERN = 100
"""for each group of octets of a `:matches` key that has variables, which is compiled for every use"""
_SUBSTRINGS = {MatchType.CONTAINS, MatchType.MATCHES, MatchType.REGEX}


class Comparison(NamedTuple):
    """How one test compares."""

    type: MatchType
    comparator: Comparator
    relation: str
    name: str
    """of the test"""
    line: int
    sets_variables: bool


def comparison(
    context: Context, taken: Taken, node: Node, *, sets_variables: bool = True, default: Comparator = Comparator.CASEMAP
) -> Comparison:
    """What the tags of a test say; faults are told to the context."""
    given = taken.tags.get("match type")
    kind = MatchType(given.name) if given is not None else MatchType.IS
    relation = ""
    if kind in {MatchType.VALUE, MatchType.COUNT} and given is not None and isinstance(given.value, Strings):
        said = context.constant(given.value, f"the relation of :{kind}")
        relation = "eq" if said is None else said.lower()
        if relation not in RELATIONS:
            context.fault(given.line, f"unknown relation '{relation}': gt, ge, lt, le, eq or ne")
            relation = "eq"
    comparator = default
    named = taken.text("comparator")
    if named is not None:
        name = context.constant(named, "the comparator's name")
        if name is not None and name not in set(Comparator):
            context.fault(named.line, f"unknown comparator '{name}'")
        elif name is not None and f"comparator-{name}" not in context.allowed:
            context.fault(named.line, f"the comparator '{name}' needs require \"comparator-{name}\"")
        elif name is not None:
            comparator = Comparator(name)
    if comparator is Comparator.NUMERIC and kind in _SUBSTRINGS:
        context.fault(node.line, f"the comparator {comparator} has no :{kind}")
    sets_variables = sets_variables and "variables" in context.allowed
    return Comparison(kind, comparator, relation, node.name, node.line, sets_variables)


def matcher(context: Context, compare: Comparison, keys: Texts) -> Matcher:
    """The function that says whether any value fits any key."""
    constant = tuple(key for key in keys if isinstance(key, str))
    fixed = len(constant) == len(keys)
    match compare.type:
        case MatchType.COUNT:
            return _explained(context, _counter(compare, keys), compare, keys)
        case MatchType.IS if compare.comparator is not Comparator.NUMERIC:
            made = _is(compare, frozenset(map(_fold(compare), constant)) if fixed else None, keys)
        case MatchType.CONTAINS:
            made = _contains(compare, tuple(map(_fold(compare), constant)) if fixed else None, keys)
        case MatchType.MATCHES:
            made = _matches(compare, _patterns(compare, constant) if fixed else None, keys)
        case MatchType.REGEX:
            made = _regex(context, compare, keys)
        case _:
            made = _ordered(compare, keys)
    return _explained(context, made, compare, keys)


def _explained(context: Context, made: Matcher, compare: Comparison, keys: Texts) -> Matcher:
    if not context.explain:
        return made

    def shown(run: Run, found: Sequence[str]) -> bool:
        result = made(run, found)
        wanted = ", ".join(f'"{_short(key)}"' for key in values(keys, run)[:10])
        given = ", ".join(f'"{_short(text)}"' for text in found[:10]) or "nothing"
        relation = f' "{compare.relation}"' if compare.relation else ""
        context.step(run, compare.line, f"{compare.name} {given} :{compare.type}{relation} {wanted}: {'yes' if result else 'no'}")
        return result

    return shown


def _short(text: str) -> str:
    line = text.replace("\r", "\\r").replace("\n", "\\n")
    return line if len(line) <= 60 else line[:57] + "..."


def _fold(compare: Comparison) -> Callable[[str], str]:
    return casemap if compare.comparator is Comparator.CASEMAP else as_is


def _charge(run: Run, text: str, line: int, factor: int = 1) -> None:
    run.spend(1 + len(text) * factor // limits.GRAIN, line)


def _is(compare: Comparison, fixed: frozenset[str] | None, keys: Texts) -> Matcher:
    fold, line = _fold(compare), compare.line

    def match(run: Run, found: Sequence[str]) -> bool:
        wanted = fixed if fixed is not None else {fold(key) for key in values(keys, run)}
        for text in found:
            _charge(run, text, line)
            if fold(text) in wanted:
                return True
        return False

    return match


def _contains(compare: Comparison, fixed: tuple[str, ...] | None, keys: Texts) -> Matcher:
    fold, line = _fold(compare), compare.line

    def match(run: Run, found: Sequence[str]) -> bool:
        wanted = fixed if fixed is not None else tuple(fold(key) for key in values(keys, run))
        for text in found:
            run.spend((1 + len(text) // limits.GRAIN) * len(wanted), line)
            folded = fold(text)
            for key in wanted:
                if key in folded:
                    return True
        return False

    return match


def _patterns(compare: Comparison, keys: Iterable[str]) -> tuple[Pattern, ...]:
    fold = _fold(compare)
    return tuple(pattern(fold(key)) for key in keys)


def _matches(compare: Comparison, fixed: tuple[Pattern, ...] | None, keys: Texts) -> Matcher:
    fold, line, sets = _fold(compare), compare.line, compare.sets_variables

    def match(run: Run, found: Sequence[str]) -> bool:
        if fixed is None:
            now = values(keys, run)
            for one in now:
                _charge(run, one, line, _PATTERN)
            wanted = _patterns(compare, now)
        else:
            wanted = fixed
        for text in found:
            folded = fold(text)
            for key in wanted:
                _charge(run, text, line, key.cost)
                groups = key.match(folded, text)
                if groups is not None:
                    if sets:
                        run.matched = groups[: limits.MATCH_VARIABLES + 1]
                    return True
        return False

    return match


def _regex(context: Context, compare: Comparison, keys: Texts) -> Matcher:
    line, sets = compare.line, compare.sets_variables
    any_case = compare.comparator is Comparator.CASEMAP
    fixed: list[Expression] = []
    for key in keys:
        if not isinstance(key, str):
            break
        if context.regex_size > limits.REGEX_SIZE:
            break  # told already
        try:
            fixed.append(compile_expression(key, any_case=any_case))
        except ValueError as bad:
            context.fault(line, f"regular expression '{key[:60]}': {bad}")
            continue
        context.regex_size += fixed[-1].size
        if context.regex_size > limits.REGEX_SIZE:
            context.fault(line, f"the regular expressions of the script are more than {limits.REGEX_SIZE} instructions")
    all_fixed = len(fixed) == len(keys)

    def match(run: Run, found: Sequence[str]) -> bool:
        wanted = fixed
        if not all_fixed:
            wanted = []
            for key in values(keys, run):
                _charge(run, key, line, 200)
                try:
                    wanted.append(compile_expression(key, any_case=any_case))
                except ValueError:
                    return False
                run.spend(_COMPILING * wanted[-1].size, line)
        for text in found:
            for expression in wanted:
                _charge(run, text, line, expression.cost)
                groups = expression.search(text)
                if groups is not None:
                    if sets:
                        run.matched = groups[: limits.MATCH_VARIABLES + 1]
                    return True
        return False

    return match


def _ordered(compare: Comparison, keys: Texts) -> Matcher:
    relation, comparator, line = RELATIONS[compare.relation or "eq"], compare.comparator, compare.line

    def match(run: Run, found: Sequence[str]) -> bool:
        if not found:
            return False
        wanted = [order_key(comparator, key) for key in values(keys, run)]
        for text in found:
            _charge(run, text, line, len(wanted))
            ours = order_key(comparator, text)
            if any(relation(ours, key) for key in wanted):
                return True
        return False

    return match


def _counter(compare: Comparison, keys: Texts) -> Matcher:
    """`:count`: how many values there are, compared with the keys (RFC 5231 5)."""
    relation, comparator = RELATIONS[compare.relation or "eq"], compare.comparator

    def match(run: Run, found: Sequence[str]) -> bool:
        count = str(len(found))
        numeric = comparator is Comparator.NUMERIC
        ours = number(count) if numeric else order_key(comparator, count)
        return any(relation(ours, number(key) if numeric else order_key(comparator, key)) for key in values(keys, run))

    return match
