"""Owners that stand for many: groups and forwards (directory.md 6 and 8).

    policy -> moderators or members: mgrpDeliverTo, memberURL, uniqueMember, mgrpRFC822MailMember -> each of them routed

* One address that is refused refuses no other: it goes to the reprocess channel, where the refusal becomes a notice to the
  copy's sender (mgrpErrorsTo, else the message's), a temporary one a later try. When all are refused, so is the recipient.
  What is too deep is not expanded there anew, level 0 again: a circle longer than the limit would go round for ever.
* A group is expanded once in a decision: one inside itself, or met on two ways, adds nothing the second time.
* Eight users who all forward to each other are met on 100,000 ways: after FORWARDS forwards each is followed once.
* Of members by name or address a streaming decision tells SLICE ahead: their entries are looked up together.
* More than `expandlimit` members, or anything that changes the message: put off to the reprocess channel. There targets are
  handed over in batches of SLICE while the rest is still being found (`Batch`).
* Somebody named twice gets one copy, unless a group on the way has mgrpNoDuplicateChecks: then one for each time.
* Members whose entry is gone are passed over. Who decides (route.py) refuses a group without anybody, 5.1.1.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol
from urllib.parse import quote

import msgspec

from posthouse.mail.address import parse_address
from posthouse.mail.task import Refused, encode_task
from posthouse.relay.directory.question import Entry, Kind, NeedDn, NeedEntry, Question
from posthouse.relay.routing.connect import destination_host
from posthouse.relay.routing.expansion import Expansion, Made
from posthouse.relay.routing.inquiry import AmbiguousEntry, Asking, Inquiry
from posthouse.relay.routing.list_edit import list_edit
from posthouse.relay.routing.list_policy import Judgement, ListPolicy, address_of
from posthouse.relay.routing.refusal import Refusal
from posthouse.relay.routing.result import Ahead, Batch, RouteRequest, Step, Streaming, Target
from posthouse.relay.routing.rewrite import Rewritten
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.standing import Refuse, TooDeep
from posthouse.relay.routing.target import delivers
from posthouse.relay.routing.way import Postpone, Stop, Way

SLICE = 250
EXPAND_LIMIT = 256
"""`expandlimit` of a channel that has none: what a session waits for"""
FORWARDS = 64
"""as long as there are no more, a forward is followed on each way that leads to its user"""
_YES = frozenset({"yes", "true", "1"})
_URLS = ("ldap://", "ldaps://", "ldapi://")


class Router(Protocol):
    """The decision under way."""

    rules: Rules
    request: RouteRequest
    inquiry: Inquiry
    level: int
    """how many owners the address under way has come through"""
    expanded: int
    """members found so far"""
    groups: set[str]
    """keys of the groups expanded so far"""
    followed: int
    """forwards followed so far"""
    forwards: dict[str, int]
    """whose, by key, and the smallest level where"""
    deep: dict[Target, TooDeep]
    """who was too deep, as told by the reprocess channel unless he is met on a shorter way, too"""

    @property
    def expand_limit(self) -> int:
        """Members that may be expanded here and now."""

    def note(self, step: Step) -> None:
        """Record a step, where they are recorded."""

    def rewrite(self, address: str, *, keep_route: bool = False, step: int = 2) -> Asking[Rewritten]:
        """Find its channel."""

    def may_be_forwarded_to(self, there: Rewritten) -> Asking[bool]:
        """Whether a user may forward to this delivery channel."""

    def deliver(self, there: Rewritten, way: Way) -> Streaming[list[Target]]:
        """The targets of one rewritten address."""


def fan_out(router: Router, address: str, expansion: Expansion, way: Way) -> Streaming[list[Target]]:
    """The targets of an owner that stands for many.

    Raises:
        Refuse, Stop, AmbiguousEntry: nobody it stands for can be sent to, or a group's policy refuses.
        Postpone: not here and now.
        NoAnswer: the directory is silent.
    """
    below = way._replace(visited=way.visited | {expansion.key}, level=way.level + 1)
    gathered = _Gathered(router)
    follow = _is_followed(router, expansion.key, way.level)
    for one in expansion.made:
        if one.forwarded and not follow:
            router.note(Step(4, one.address, "", text="the forward has been followed already"))
            continue
        onward = below._replace(
            owner=one.owner, held=below.held or one.held, forwarded=below.forwarded or one.forwarded, answers=one.answers
        )
        yield from gathered.add(one, onward)
    if expansion.group is not None:
        yield from _expand_group(router, address, expansion.group, below._replace(owner=None), gathered)
    return gathered.end()


def _is_followed(router: Router, key: str, level: int) -> bool:
    """Whether an owner's forward is: after FORWARDS of them each only once, but anew where less is too deep."""
    router.followed += 1
    known = router.forwards.get(key)
    if known is not None and known <= level and router.followed > FORWARDS:
        return False
    router.forwards[key] = level if known is None else min(known, level)
    return True


def postponed(rules: Rules, address: str) -> str | None:
    """The unexpanded address on its way to the reprocess channel; None without such a channel."""
    channel = rules.imta.channels.get("reprocess")
    if channel is None:
        return None
    return f"@{channel.official_host}{',' if address.startswith('@') else ':'}{address}"


def put_off(rules: Rules, target: Target) -> Target:
    """One of several as it waits for the reprocess channel to say why it is refused; itself where there is none."""
    address = target.intermediate or target.address
    waiting = postponed(rules, address)
    if waiting is None:
        return target
    return Target(
        "reprocess", waiting, destination_host(waiting), intermediate=address, sender=target.sender, shown=target.shown,
        listed=target.listed,
    )  # fmt: skip


class _Gathered:
    """Targets found so far, each final address on a channel once, or as often as it is named where a group wants that."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._targets: dict[tuple[str, str, int], Target] = {}
        self._refused: list[tuple[str, Way, Refuse | Stop | AmbiguousEntry]] = []
        self._some = False
        """targets have been handed over, or found elsewhere"""

    def add(self, one: Made, way: Way) -> Streaming[None]:
        """Route one address."""
        router = self._router
        router.level = way.level
        router.note(Step(4, one.address, "", one.file, one.line, one.why))
        try:
            there = yield from router.rewrite(one.address.strip(), keep_route=one.keep_route, step=5)
            if one.forwarded and delivers(there.channel) and not (yield from router.may_be_forwarded_to(there)):
                raise Refuse(Refusal.RELAYING, f"a forwarding address names the channel {there.channel.name}")
            found = yield from router.deliver(there, way)
        except (Refuse, Stop, AmbiguousEntry) as refused:
            if not (way.listed or one.forwarded):
                raise
            if isinstance(refused, TooDeep):
                self._tell(one.address.strip(), way, refused)
                return
            self._refused.append((one.address.strip(), way, refused))
            if router.request.from_reprocess:
                self._put_off()
            return
        self._some = self._some or not found  # it has been expanded already, for another
        for target in found:
            self._targets.setdefault((target.channel, target.address, target.repeat), target)
        if router.request.streaming and len(self._targets) >= SLICE:
            yield Batch(tuple(self._targets.values()))
            self._some = True
            self._targets.clear()

    def end(self) -> list[Target]:
        """Everything not handed over yet."""
        if self._refused and not self._targets and not self._some:
            raise next((one for *_, one in self._refused if _is_temporary(one)), self._refused[0][2])
        self._put_off()
        return list(self._targets.values())

    def _put_off(self) -> None:
        """Who was refused is told of by the reprocess channel."""
        for address, way, refused in self._refused:
            target = self._waiting(address, way, refused)
            self._targets.setdefault((target.channel, target.address, 0), target)
        self._refused.clear()

    def _tell(self, address: str, way: Way, refused: TooDeep) -> None:
        """Its sender is told of what is too deep, when all ways have been gone."""
        status = self._router.rules.refusals.status(refused.refusal, address)
        task = encode_task(Refused(status.enhanced, status.text))
        target = msgspec.structs.replace(self._waiting(address, way, refused), task=task)
        if refused.level != way.level:
            refused.key = ""  # others than he may be behind the address
        known = self._router.deep.setdefault(target, refused)
        known.key = known.key if known.key == refused.key else ""
        self._some = True

    def _waiting(self, address: str, way: Way, refused: Refuse | Stop | AmbiguousEntry) -> Target:
        rules = self._router.rules
        waiting = postponed(rules, address)
        if waiting is None:
            raise refused
        text = f"refused: {refused}; the copy's sender is told, or it is tried again"
        self._router.note(Step(4, waiting, "reprocess", text=text))
        shown = address if way.sender else ""
        return put_off(rules, Target("", address, "", sender=way.sender, shown=shown, listed=way.listed))


def _expand_group(router: Router, address: str, group: Entry, way: Way, gathered: _Gathered) -> Streaming[None]:
    key = group.dn.lower()
    router.level = way.level
    if key in router.groups:
        router.note(Step(4, address, "l", text=f"group {group.dn} has been expanded already"))
        return
    policy = ListPolicy(router.rules, router.inquiry, router.request, group)
    judgement = yield from policy.judge()
    for text in policy.notes:
        router.note(Step(4, address, "l", text=text))
    router.groups.add(key)
    if judgement is Judgement.MODERATORS:
        listed = way._replace(listed=True)
        for value in group.all("mgrpmoderator"):
            yield from _each_of(router, value, "mgrpModerator", listed, gathered)
    else:
        listed = yield from _as_list(router, address, group, policy, way)
        yield from _members(router, group, listed, gathered)


def _as_list(router: Router, address: str, group: Entry, policy: ListPolicy, way: Way) -> Asking[Way]:
    """The way of its members: errors-to, size, what is changed in the message."""
    sender = way.sender
    errors_to = group.first("mgrperrorsto").strip()
    if not router.request.sender:
        errors_to = ""  # a notice stays one: else a list that is its own mgrpErrorsTo would be told of its own notices for ever
    if errors_to and errors_to != "/":
        found = yield from _one_address(router.inquiry, errors_to)
        if found:
            sender = found
            router.note(Step(4, address, "l", text=f"envelope From of the copies is {sender} (mgrpErrorsTo)"))
        else:
            router.note(Step(4, address, "l", text=f"mgrpErrorsTo {errors_to} names nobody"))
    edit = list_edit(group)
    if edit is not None and router.request.header is None:
        raise Postpone(f"group {group.dn} changes the message")
    if edit is not None and way.edit is not None:
        edit = way.edit.then(edit)
    limits = [limit for limit in (way.block_limit, policy.block_limit) if limit]
    repeats = way.repeats or group.first("mgrpnoduplicatechecks").strip().lower() in _YES
    return way._replace(sender=sender, edit=edit or way.edit, block_limit=min(limits, default=0), listed=True, repeats=repeats)


def _members(router: Router, group: Entry, way: Way, gathered: _Gathered) -> Streaming[None]:
    """Everybody the attributes name, in the order of directory.md 8."""
    names = group.all("uniquemember")
    plain = (*group.all("mgrprfc822mailmember"), *group.all("rfc822mailmember"))
    _check_limit(router, len(names) + len(plain))
    for attribute in ("mgrpDeliverTo", "memberURL"):
        for url in group.all(attribute.lower()):
            yield from _each_of(router, url, attribute, way, gathered)
    for some in _slices(names):
        yield from _by_names(router, some, way, gathered)
    for some in _slices(plain):
        addresses = [address_of(address) for address in some]
        yield from _ahead(router, _entries_of(router, addresses))
        for address in addresses:
            yield from _member(router, address, "mgrpRFC822MailMember", way, gathered)


def _slices(values: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    return (values[at : at + SLICE] for at in range(0, len(values), SLICE))


def _by_names(router: Router, names: tuple[str, ...], way: Way, gathered: _Gathered) -> Streaming[None]:
    yield from _ahead(router, [NeedDn(dn.strip()) for dn in names])
    found = []
    for dn in names:
        entry = yield from router.inquiry.named(dn)
        found.append((dn, entry))
    yield from _ahead(router, _entries_of(router, [entry.first("mail") for _, entry in found if entry is not None]))
    for dn, entry in found:
        yield from _named(router, dn, entry, "uniqueMember", way, gathered)


def _ahead(router: Router, questions: Sequence[Question]) -> Streaming[None]:
    if router.request.streaming and questions:
        yield Ahead(tuple(questions))


def _entries_of(router: Router, addresses: Iterable[str]) -> list[Question]:
    """What routing will ask about these addresses, unless a rule says otherwise; of domains met before."""
    questions: list[Question] = []
    for address in addresses:
        local, _, given = address.rpartition("@")
        domain = router.inquiry.known_domain(given)
        if domain is not None:
            questions.append(NeedEntry(local, domain, given))
    return questions


def _check_limit(router: Router, coming: int) -> None:
    if not router.request.from_reprocess and router.expanded + coming > router.expand_limit:
        raise Postpone(f"more than {router.expand_limit} members")


def _member(router: Router, address: str, why: str, way: Way, gathered: _Gathered) -> Streaming[None]:
    router.expanded += 1
    if way.repeats:
        router.followed = 0
        router.forwards.clear()
    yield from gathered.add(Made(address, why), way)


def _each_of(router: Router, value: str, attribute: str, way: Way, gathered: _Gathered) -> Streaming[None]:
    """Members a URL, a DN or an address stands for."""
    value = value.strip()
    if value.lower().startswith(_URLS):
        limit = 0 if router.request.from_reprocess else router.expand_limit
        found = yield from router.inquiry.members(value, limit=limit)
        _check_limit(router, len(found))
        for address in found:
            yield from _member(router, address, f"{attribute} {value}", way, gathered)
    elif "=" in value and not value.lower().startswith("mailto:") and "=" in value.partition("@")[0]:
        yield from _by_name(router, value, attribute, way, gathered)
    elif value:
        yield from _member(router, address_of(value), attribute, way, gathered)


def _by_name(router: Router, dn: str, attribute: str, way: Way, gathered: _Gathered) -> Streaming[None]:
    entry = yield from router.inquiry.named(dn)
    yield from _named(router, dn, entry, attribute, way, gathered)


def _named(router: Router, dn: str, entry: Entry | None, attribute: str, way: Way, gathered: _Gathered) -> Streaming[None]:
    """A member named by its DN: its address; a group without one its members; another entry everybody below it."""
    if entry is None:
        router.note(Step(4, dn, "", text=f"{attribute}: there is no such entry"))
        return
    address = entry.first("mail")
    if address:
        yield from _member(router, address, f"{attribute} {dn}", way, gathered)
        return
    key = entry.dn.lower()
    if key in router.groups or way.level >= router.rules.max_levels:
        router.note(Step(4, dn, "", text=f"{attribute}: expanded already"))
        return
    router.groups.add(key)
    deeper = way._replace(level=way.level + 1, visited=way.visited | {key})
    if entry.kind is Kind.GROUP or any(entry.all(name) for name in ("uniquemember", "memberurl", "mgrpdeliverto")):
        yield from _members(router, entry, deeper, gathered)
    elif entry.kind is Kind.OTHER:
        url = f"ldap:///{_percent(entry.dn)}?mail?sub?{_percent(router.rules.class_filter)}"
        yield from _each_of(router, url, attribute, deeper, gathered)


def _percent(text: str) -> str:
    return quote(text, safe="")


def _one_address(inquiry: Inquiry, value: str) -> Asking[str]:
    """The address of mgrpErrorsTo: `mailto:`, plain, a URL or a DN."""
    if value.lower().startswith(_URLS):
        found = yield from inquiry.members(value)
        return found[0] if found else ""
    if not value.lower().startswith("mailto:") and "=" in value.partition("@")[0]:
        entry = yield from inquiry.named(value)
        return entry.first("mail") if entry is not None else ""
    address = address_of(value)
    try:
        parse_address(address)
    except ValueError:
        return ""
    return address


def _is_temporary(refused: Refuse | Stop | AmbiguousEntry) -> bool:
    if isinstance(refused, Refuse):
        return refused.refusal.value[1] < 500
    return isinstance(refused, Stop) and refused.status.is_temporary
