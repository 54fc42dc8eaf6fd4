"""The usual recipient: a plain address of a user with a mailbox and nothing else, decided without going the whole way.

Promise: what comes out here is what route.py's general way comes to for the same answers, and no question is asked that it
would not ask; for everything else the answer is None, and the general way decides from the beginning (the questions already
asked are not asked again). Most users of a domain differ in their names only: from the first of them the general way's own
functions make a recipe, the target with a gap for the uid; it serves for all whose entries have the same shape
(standing.py) and whose mail comes in on the same channel.
"""

import re
from typing import NamedTuple

from posthouse.mail.address import MAX_OCTETS
from posthouse.relay.directory.question import Entry, Found, Kind, NeedEntry
from posthouse.relay.routing.clause_template import Whole, differs_by_uid, render_clause
from posthouse.relay.routing.expansion import clause_inputs
from posthouse.relay.routing.host_part import Place, join, split_plain
from posthouse.relay.routing.inquiry import Asking, Inquiry
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.rewrite import Rewritten
from posthouse.relay.routing.rule_table import Purpose
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.standing import Standing, twin
from posthouse.relay.routing.target import target_of
from posthouse.relay.routing.way import OwnerFacts, Way

_LONGEST = 64
_NAME = rf"(?![^@]{{{_LONGEST + 1}}})[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*"
PLAIN = re.compile(rf"({_NAME})@([A-Za-z0-9._-]{{1,200}})")
"""addresses that can be usual: no subaddress, no route, nothing quoted"""
_PLAIN_NAME = re.compile(_NAME)
_GAP = "uQiDgApQ"
"""a uid in whose place others are put; nothing else in a recipe has it"""
_KEYWORDS = ("aliaslocal", "routelocal", "enqueueremoveroute")
"""of channels whose targets depend on more than the host"""


class Recipe(NamedTuple):
    """A target with a gap."""

    target: Target
    before: str
    after: str


def usual_rewrite(rules: Rules, inquiry: Inquiry, address: str, purpose: Purpose) -> Asking[Rewritten | None]:
    """A PLAIN address on channel `l`, or None.

    Raises:
        NoAnswer: the directory is silent.
    """
    local, _, host = address.partition("@")
    rewriter = rules.rewriter
    settled = rewriter.settled(host, Place.AT, purpose)
    if settled is None or settled.channel.name != "l" or settled.route:
        return None
    for name in settled.ours:
        domain = yield from inquiry.domain(name)
        if domain is None or rewriter.local_hosts.routing_host(domain):
            return None
    return Rewritten(f"{local}@{settled.host}", settled.channel, settled.host, "")


def usual_target(rules: Rules, inquiry: Inquiry, first: Rewritten, purpose: Purpose) -> Asking[Target | None]:
    """The one target of what `usual_rewrite` has given, or None.

    Raises:
        NoAnswer: the directory does not say whether the domain is ours.
    """
    address = first.address
    domain = yield from inquiry.domain(first.host)
    if domain is None:
        return None
    question = NeedEntry(address.partition("@")[0], domain, first.host)
    answer = yield question
    inquiry.answered = (question, answer)
    if not isinstance(answer, Found) or not isinstance(answer.value, Entry):
        return None
    uid = answer.value.uid
    stands = twin(rules, domain, answer.value)
    if stands is None or stands.recipes is None or _PLAIN_NAME.fullmatch(uid) is None:
        return None
    if purpose.source not in stands.recipes:
        stands.recipes[purpose.source] = _recipe(rules, stands, purpose)
    recipe: Recipe | None = stands.recipes[purpose.source]
    if recipe is None:
        return None
    model = recipe.target
    made = recipe.before + uid + recipe.after
    return Target(model.channel, made, model.host, model.quota, 0, address, model.held, model.blocklimit)


def _recipe(rules: Rules, stands: Standing, purpose: Purpose) -> Recipe | None:
    """What becomes of all users who stand so; None when not all become the same."""
    if stands.entry.kind is not Kind.USER or stands.filter is not None or stands.offline or rules.max_levels < 1:
        return None
    made = _only_address(rules, stands)
    part = split_plain(made) if made else None
    if part is None or part.rest.count(_GAP) != 1 or _GAP in part.host:
        return None
    settled = rules.rewriter.settled(part.host, part.place, purpose)
    if settled is None or settled.ours or settled.channel.name == "l" or any(map(settled.channel.has, _KEYWORDS)):
        return None
    there = Rewritten(join(part.rest, settled.host, settled.route), settled.channel, settled.host, settled.route)
    owner = OwnerFacts("", stands.quota, stands.block_limit)
    target = target_of(rules, there, Way(owner=owner, held=stands.clauses[0].hold))
    before, gap, after = target.address.partition(_GAP)
    if not gap or split_plain(target.address) is None or max(len(made or ""), len(target.address)) > MAX_OCTETS - _LONGEST:
        return None
    return Recipe(target, before, after)


def _only_address(rules: Rules, stands: Standing) -> str | None:
    """The address of the only clause for a user whose uid is the gap."""
    if stands.values is None or len(stands.clauses) != 1:
        return None
    clause = stands.clauses[0]
    if clause.template.whole is not Whole.TEXT or clause.autoreply or not differs_by_uid(clause.template):
        return None
    return render_clause(clause.template, clause_inputs(rules, stands.values._replace(uid=_GAP), "", "", "", ""))
