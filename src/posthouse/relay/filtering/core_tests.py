"""The tests of RFC 5228 5, with those of envelope, variables, imap4flags, mailbox, ihave and environment.

address allof anyof envelope exists false header not size string true hasflag mailboxexists ihave environment
"""

from collections.abc import Callable, Iterable, Sequence

import posthouse
from posthouse.relay.filtering import capabilities
from posthouse.relay.filtering.address_list import Mailbox, addresses, envelope_address
from posthouse.relay.filtering.arguments import INDEX, MATCH, PART, Signature, TagUse, Taken, Tests, Want
from posthouse.relay.filtering.context import Context, Test, TestBuilder, Texts
from posthouse.relay.filtering.flags import words
from posthouse.relay.filtering.matcher import Comparison, comparison, matcher
from posthouse.relay.filtering.matching import Comparator, MatchType
from posthouse.relay.filtering.run import INBOX, Run, bad_folder, canonical_folder, charge_words, value, values
from posthouse.relay.filtering.syntax import Node

ADDRESS_FIELDS = frozenset(
    {
        "from", "to", "cc", "bcc", "sender", "reply-to", "resent-from", "resent-to", "resent-cc", "resent-bcc",
        "resent-sender", "resent-reply-to", "return-receipt-to", "errors-to", "mail-reply-to",
        "mail-followup-to", "delivered-to", "x-original-to", "apparently-to", "x-envelope-to", "abuse-reports-to",
        "x-complaints-to",
    }
)  # fmt: skip
"""fields with a list of addresses (RFC 5228 5.1)"""
_READING = 4
"""units of work that a character of a list of addresses is"""
_ENVELOPE = {"from": "sender", "to": "recipient", "auth": "auth"}
"""parts of the envelope, and where `Envelope` has them"""


def selected(context: Context, taken: Taken, line: int) -> Callable[[list[str]], list[str]] | None:
    """What `:index` and `:last` make of a field's values (RFC 5260 6)."""
    index, last = taken.amount("index"), "last" in taken.tags
    if index is None:
        if last:
            context.fault(line, ":last needs :index")
        return None
    if index == 0:
        context.fault(line, ":index counts from 1")

    def one(found: list[str]) -> list[str]:
        if not 1 <= index <= len(found):
            return []
        return [found[-index] if last else found[index - 1]]

    return one


def _fields(run: Run, names: Texts, line: int) -> list[str]:
    """The names of the fields wanted, in lower case; finding them is charged."""
    wanted = [name.lower() for name in values(names, run)]
    run.spend(run.message.seeking(wanted), line)
    return wanted


def header(context: Context, node: Node, taken: Taken) -> Test:
    """`header`."""
    names = context.texts(taken.strings(0))
    select = selected(context, taken, node.line)
    match = matcher(context, comparison(context, taken, node), context.texts(taken.strings(1)))
    fixed = [name.lower() for name in names if isinstance(name, str)]
    if len(fixed) == len(names) == 1 and select is None:
        only, line = fixed[0], node.line

        def single(run: Run) -> bool:
            message = run.message
            run.spend(message.seeking((only,)), line)
            return match(run, message.texts(only))

        return single

    def test(run: Run) -> bool:
        wanted = _fields(run, names, node.line)
        found: list[str] = []
        for name in wanted:
            texts = run.message.texts(name)
            found += select(texts) if select else texts
        return match(run, found)

    return test


def address_part(taken: Taken, compare: Comparison) -> str:
    """The part that is compared; what is counted are addresses, whatever their parts."""
    given = taken.tags.get("address part")
    return given.name if given is not None and compare.type is not MatchType.COUNT else "all"


def part_of(mailbox: Mailbox, part: str, separator: str) -> str | None:
    """That part of an address; None when it has none."""
    if part == "all":
        return mailbox.raw
    if part == "domain":
        return mailbox.domain
    if mailbox.local is None:
        return None
    if part == "localpart":
        return mailbox.local
    user, found, detail = mailbox.local.partition(separator)
    if part == "user":
        return user
    return detail if found or not mailbox.raw else None


def _mailboxes(run: Run, raw: str, line: int) -> list[Mailbox]:
    """The addresses of a field, read once. What is no address counts only where it has nothing else (RFC 5228 5.1)."""
    found = run.mailboxes.get(raw)
    if found is None:
        run.spend(_READING * len(raw), line)
        found = addresses(raw)
        if len(found) > 1:
            found = [each for each in found if each.local is not None] or found
        run.mailboxes[raw] = found
    run.spend(1 + len(found), line)
    return found


def address(context: Context, node: Node, taken: Taken) -> Test:
    """`address`."""
    strings = taken.strings(0)
    names = context.texts(strings)
    for name in names:
        if isinstance(name, str) and name.lower() not in ADDRESS_FIELDS:
            context.fault(strings.line, f"address: the header field '{name[:60]}' has no addresses")
    select, compare = selected(context, taken, node.line), comparison(context, taken, node)
    part = address_part(taken, compare)
    match = matcher(context, compare, context.texts(taken.strings(1)))

    def test(run: Run) -> bool:
        wanted = _fields(run, names, node.line)
        found: list[str] = []
        for name in wanted:
            raws = run.message.raws(name)
            for raw in select(raws) if select else raws:
                parts = (part_of(each, part, run.around.separator) for each in _mailboxes(run, raw, node.line))
                found += [text for text in parts if text is not None]
        return match(run, found)

    return test


def envelope(context: Context, node: Node, taken: Taken) -> Test:
    """`envelope`."""
    strings = taken.strings(0)
    names = context.texts(strings)
    for name in names:
        if isinstance(name, str) and name.lower() not in _ENVELOPE:
            context.fault(strings.line, f"envelope: unknown part '{name[:60]}' (from, to, auth)")
    compare = comparison(context, taken, node)
    part = address_part(taken, compare)
    match = matcher(context, compare, context.texts(taken.strings(1)))

    def test(run: Run) -> bool:
        given: list[str] = []
        for each in names:
            name = value(each, run).lower()
            text = getattr(run.envelope, _ENVELOPE[name]) if name in _ENVELOPE else ""
            if text.strip(" <>") or name == "from":
                mailbox = envelope_address(text)
                if mailbox.local is not None or name == "auth":  # no path: nothing there to be compared
                    found = part_of(mailbox, part, run.around.separator)
                    if found is not None:
                        given.append(found)
        return match(run, given)

    return test


def _is_there(run: Run, name: str, line: int) -> bool:
    run.spend(run.message.seeking((name,)), line)
    return run.message.has(name)


def exists(context: Context, node: Node, taken: Taken) -> Test:
    """`exists`."""
    names = context.texts(taken.strings(0))

    def test(run: Run) -> bool:
        run.spend(len(names), node.line)
        result = all(_is_there(run, name.lower(), node.line) for name in values(names, run))
        if context.explain:
            context.step(run, node.line, f"exists {', '.join(values(names, run))}: {'yes' if result else 'no'}")
        return result

    return test


def size(context: Context, node: Node, taken: Taken) -> Test:
    """`size`."""
    limit, given = taken.number(0), taken.tags.get("over or under")
    if given is None:
        context.fault(node.line, "size needs :over or :under")
    over = given is not None and given.name == "over"

    def test(run: Run) -> bool:
        result = run.message.size > limit if over else run.message.size < limit
        if context.explain:
            sign = "over" if over else "under"
            context.step(run, node.line, f"size {run.message.size} :{sign} {limit}: {'yes' if result else 'no'}")
        return result

    return test


def string(context: Context, node: Node, taken: Taken) -> Test:
    """`string` (RFC 5229 5): an empty string is not counted. Compared by i;octet unless told otherwise: decision 79."""
    sources, compare = context.texts(taken.strings(0)), comparison(context, taken, node, default=Comparator.OCTET)
    match = matcher(context, compare, context.texts(taken.strings(1)))
    counts = compare.type is MatchType.COUNT

    def test(run: Run) -> bool:
        found = values(sources, run)
        return match(run, [text for text in found if text] if counts else found)

    return test


def hasflag(context: Context, node: Node, taken: Taken) -> Test:
    """`hasflag` (RFC 5232 4): flags of the named variables or of the internal one."""
    names = () if taken.positions[0] is None else context.constants(taken.strings(0), "a variable's name")
    if names and "variables" not in context.allowed:
        context.fault(node.line, 'hasflag with a variable needs require "variables"')
    compare = comparison(context, taken, node)
    keys = context.texts(taken.strings(1))
    splits = compare.type in {MatchType.IS, MatchType.CONTAINS, MatchType.MATCHES}
    fixed = all(isinstance(key, str) for key in keys)
    if splits and fixed:
        keys = _words(key for key in keys if isinstance(key, str))
    match = matcher(context, compare, keys)
    if splits and not fixed:
        parts = context.texts(taken.strings(1))

        def match(run: Run, found: Sequence[str]) -> bool:
            given = values(parts, run)
            charge_words(run, given, compare.line)
            return matcher(context, compare, _words(given))(run, found)

    def test(run: Run) -> bool:
        if not names:
            return match(run, run.flags)
        held = [run.variables.get(name.lower(), "") for name in names]
        charge_words(run, held, node.line)
        return match(run, [word for text in held for word in words([text])])

    return test


def _words(keys: Iterable[str]) -> tuple[str, ...]:
    """Keys as flags: a string of several words is a list of them (RFC 5232 2)."""
    return tuple(word for key in keys for word in key.split()) or ("",)


def mailbox_exists(context: Context, node: Node, taken: Taken) -> Test:
    """`mailboxexists` (RFC 5490 3.1): a name that `fileinto` refuses is no folder's."""
    names = context.texts(taken.strings(0))

    def test(run: Run) -> bool:
        run.spend(len(names), node.line)
        there = run.around.mailboxes
        found = [canonical_folder(name) for name in values(names, run) if not bad_folder(name)]
        return len(found) == len(names) and all(there is None or name == INBOX or name in there for name in found)

    return test


def ihave(context: Context, _node: Node, taken: Taken) -> Test:
    """`ihave` (RFC 5463): what it finds counts as required behind it."""
    strings = taken.strings(0)
    wanted = context.constants(strings, "ihave")
    there = all(capabilities.may_be_tried(name) for name in wanted)
    if there:
        context.allowed.update(wanted)
    return lambda _: there


def environment(context: Context, node: Node, taken: Taken) -> Test:
    """`environment` (RFC 5183): an item that is not known is false."""
    name = context.one(taken.strings(0))
    match = matcher(context, comparison(context, taken, node), context.texts(taken.strings(1)))

    def test(run: Run) -> bool:
        items = {
            "name": "Posthouse", "version": posthouse.__version__, "location": "MTA", "phase": "during",
            "host": run.around.host, "domain": run.around.host.partition(".")[2], **dict(run.around.items),
        }  # fmt: skip
        found = items.get(value(name, run).lower())
        return found is not None and match(run, [found])

    return test


def _constant(result: bool) -> TestBuilder:
    return lambda context, node, taken: lambda run: result  # noqa: ARG005 -- a builder's signature


def _strings(*positions: Want) -> tuple[Want, ...]:
    return positions


_TWO = _strings(Want.STRINGS, Want.STRINGS)
_SIZE = {"over": TagUse("over or under"), "under": TagUse("over or under")}
TESTS: dict[str, tuple[Signature, TestBuilder]] = {
    "address": (Signature(_TWO, {**MATCH, **PART, **INDEX}), address),
    "envelope": (Signature(_TWO, {**MATCH, **PART}, requires=("envelope",)), envelope),
    "environment": (Signature(_strings(Want.STRING, Want.STRINGS), MATCH, requires=("environment",)), environment),
    "exists": (Signature(_strings(Want.STRINGS)), exists),
    "false": (Signature(), _constant(False)),
    "hasflag": (Signature(_TWO, MATCH, requires=("imap4flags",), optional=1), hasflag),
    "header": (Signature(_TWO, {**MATCH, **INDEX}), header),
    "ihave": (Signature(_strings(Want.STRINGS), requires=("ihave",)), ihave),
    "mailboxexists": (Signature(_strings(Want.STRINGS), requires=("mailbox",)), mailbox_exists),
    "size": (Signature(_strings(Want.NUMBER), _SIZE), size),
    "string": (Signature(_TWO, MATCH, requires=("variables",)), string),
    "true": (Signature(), _constant(True)),
}
"""all but allof, anyof and not, whose tests the compiler builds"""
GROUPS: dict[str, Signature] = {
    "allof": Signature(tests=Tests.LIST),
    "anyof": Signature(tests=Tests.LIST),
    "not": Signature(tests=Tests.ONE),
}
