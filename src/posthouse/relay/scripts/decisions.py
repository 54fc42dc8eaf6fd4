"""What scripts of channels and users make of one message's targets.

    keep      the target as it is           fileinto   the target with the folder in its address, XDFLG value 1
    discard   channel bitbucket             redirect   channel process, with the task Forward
    reject    channel process, with Bounce  vacation   channel process, with Answer
    a fault   keep, and Note for the owner

A script is run once for each recipient it decides about: that of the source channel, then that of the target's channel, then the
user's own, each for what the one before has left on the target's channel. Everything they want becomes recipients of the one
message, so that all of it is durable with the message or not at all. Nothing is lost: what cannot be done, for want of a channel
or because it would go round in circles, is a keep. A user whose script answers is not answered for by the directory as well.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

import msgspec

from posthouse.mail.imap_flags import flags_value
from posthouse.mail.subject import echoed
from posthouse.mail.task import Answer, Bounce, Forward, Note, Task, decode_task, encode_task
from posthouse.relay.filtering.actions import Action, Discard, FileInto, Keep, Outcome, Redirect, Reject, Vacation
from posthouse.relay.filtering.address_list import addresses
from posthouse.relay.filtering.compiler import Script
from posthouse.relay.filtering.matching import casemap
from posthouse.relay.filtering.message import Envelope, Message
from posthouse.relay.filtering.run import INBOX, Surroundings, folder_of
from posthouse.relay.routing.result import Target
from posthouse.relay.routing.rules import Rules
from posthouse.relay.routing.user_filter import UserFilter
from posthouse.relay.scripts.compiled import SHARED, CompiledScripts
from posthouse.relay.scripts.fileinto import folder_address, inbox_address

REDIRECTED = "x-sieve-redirected-from"
MOST_REDIRECTED = 10
"""redirects one message may have behind it"""
_LONGEST_MARK = 1000
"""characters of the field that says so"""
TRUSTED_FOLDER = 1
"""XDFLG: the subaddress is a folder name (lmtp.md 2)"""
COMPILING = 2
"""units of work that compiling a character counts as"""
PROCESS, BITBUCKET = "process", "bitbucket"
_UNFILTERED = frozenset({"hold", "reprocess", PROCESS, BITBUCKET})


def has_script(rules: Rules, source: str, targets: Iterable[Target]) -> bool:
    """Whether a script decides about any target: the user's own, or one of the channels the message comes from and goes to."""
    there = rules.destination_filters
    if source in rules.source_filters:
        return True
    for target in targets:  # noqa: SIM110 -- every message comes here, and a generator is dear
        if target.filter is not None or target.channel in there:
            return True
    return False


class Decisions:
    """The scripts of one message.

    Args:
        rules: the configuration.
        sender: envelope From.
        message: the message, its body perhaps cut off.
        around: time, zone and name.
        report: takes a line for the process log.
        scripts: memory of compiled scripts.
        work: units that all scripts of the message may take together; what is left then is decided on channel `process`.
            None: no limit.
        user: who has logged in to send it, or empty.
    """

    def __init__(
        self, rules: Rules, sender: str, message: Message, around: Surroundings, report: Callable[[str], None],
        scripts: CompiledScripts = SHARED, work: int | None = None, user: str = "",
    ) -> None:  # fmt: skip
        self._rules = rules
        self._sender = sender
        self._message = message
        self._around = around
        self._report = report
        self._scripts = scripts
        self._work = work
        self._user = user
        self._outcomes: dict[tuple[UserFilter, str, str], Outcome] = {}
        self._answering: set[str] = set()
        """addresses that led to users whose script answers"""

    def targets(self, original: str, targets: Iterable[Target], source: str = "", by: str = "") -> tuple[Target, ...]:
        """The targets a recipient has when all scripts have decided.

        Args:
            original: the recipient as given at RCPT TO.
            targets: what routing found.
            source: the channel the message came in on, or empty: its script has been run.
            by: whose script has sent it to this recipient, as `Forward` has it: that one is not asked again.
        """
        made: dict[tuple[str, str, str, int], Target] = {}
        found = tuple(targets)
        for target in found:  # his forwards and answers are made anew with the rest of him
            if self._is_put_off(original, target) and casemap(target.intermediate) == casemap(original):
                return (self._put_off(target),)
        for target in found:
            scripts = self._of(target, source, by)
            for one in self._decided(original, target, scripts) if scripts else (target,):
                made.setdefault((one.channel, one.address, one.task, one.repeat), one)
        return tuple(each for each in made.values() if not (each.answers and each.intermediate in self._answering))

    def _of(self, target: Target, source: str, by: str) -> list[UserFilter]:
        """The scripts that decide about a target, in their order."""
        if target.channel in _UNFILTERED:
            return []
        rules = self._rules
        found = (rules.source_filters.get(source), rules.destination_filters.get(target.channel), target.filter)
        return [each for each in found if each is not None and (not by or each.mail != by)]

    def _decided(self, original: str, target: Target, scripts: Sequence[UserFilter]) -> Sequence[Target]:
        if self._is_put_off(original, target):
            return (self._put_off(target),)
        return self._through(scripts, original, msgspec.structs.replace(target, filter=None))

    def _through(self, scripts: Sequence[UserFilter], original: str, target: Target) -> list[Target]:
        """What all of the scripts make of a target: the next one sees what this one leaves on the target's channel."""
        found: list[Target] = []
        for made in self._run(scripts[0], original, target):
            stays = made.channel == target.channel and not made.task
            found += self._through(scripts[1:], original, made) if stays and len(scripts) > 1 else [made]
        return found

    def _run(self, user: UserFilter, original: str, plain: Target) -> list[Target]:
        outcome = self._outcome(user, original, plain.sender or self._sender)
        found: list[Target] = []
        for action in outcome.actions:
            found += self._acted(action, plain, user, original)
        if outcome.error:
            self._report(f"Sieve script of {user.owner}: {outcome.error}; the message is kept")
            if user.mail and self._has(PROCESS):
                found.append(self._task(user.mail, Note(user.owner, outcome.error, _digest(user.script)), user))
        if plain.held:
            found = [msgspec.structs.replace(one, held=True, why=plain.why) for one in found]
        return found or [plain]

    def _is_put_off(self, original: str, target: Target) -> bool:
        """Whether the others' scripts have used up the work, and the address can find its way here again."""
        user = target.filter
        if user is None or self._work is None or self._work > 0 or not self._has(PROCESS):
            return False
        known = (user, original, self._sender) in self._outcomes
        return not known and bool(target.intermediate) and not target.sender and target.edit is None

    def _put_off(self, target: Target) -> Target:
        return Target(
            PROCESS, target.intermediate, self._process_host, intermediate=target.intermediate, held=target.held,
            why=target.why, listed=target.listed,
        )  # fmt: skip

    def _outcome(self, user: UserFilter, original: str, sender: str) -> Outcome:
        key = (user, original, sender)
        known = self._outcomes.get(key)
        if known is None:
            if self._work is not None and not self._scripts.knows(user.script, joined=user.joined):
                self._work -= COMPILING * len(user.script)
            script = self._scripts.script(user.script, joined=user.joined)
            if isinstance(script, Script):
                known = script.evaluate(self._message, Envelope(sender, original, self._user), self._around)
            else:
                known = Outcome((Keep(),), str(script.problems[0]), implicit_keep=True)
            self._outcomes[key] = known
            if self._work is not None:
                self._work -= known.work
        return known

    def _has(self, channel: str) -> bool:
        return channel in self._rules.imta.channels

    def _acted(self, action: Action, target: Target, user: UserFilter, original: str) -> Sequence[Target]:
        match action:
            case Keep():
                return (_flagged(target, action.flags),)
            case FileInto():
                return (_flagged(self._filed(action, target), action.flags),)
            case Discard():
                swallowed = Target(BITBUCKET, target.address, BITBUCKET, intermediate=target.intermediate)
                return (swallowed,) if self._has(BITBUCKET) else ()
            case Redirect():
                return self._redirected(action.address, target, user)
            case Reject():
                is_told = bool(target.sender or self._sender)  # nobody gets a notice about the null sender's mail
                bounce = Bounce(action.reason, exact=is_told and not (action.extended or action.reason.isascii()))
                return (self._task(original, bounce, user, target),) if self._has(PROCESS) else (target,)
            case Vacation():
                return self._answered(action, target, user)

    def _filed(self, action: FileInto, target: Target) -> Target:
        separator = self._rules.subaddress_char
        folder = folder_of(action)
        if folder == INBOX:
            return msgspec.structs.replace(target, address=inbox_address(target.address, separator))
        keyword = self._rules.imta.channels[target.channel].value("fileinto")
        address = folder_address(keyword, target.address, folder, separator)
        if address is None:
            return target
        return msgspec.structs.replace(target, address=address, flags=target.flags | TRUSTED_FOLDER)

    def _redirected(self, address: str, target: Target, user: UserFilter) -> Sequence[Target]:
        if not self._has(PROCESS) or casemap(address) in user.addresses or self._has_been_redirected(user):
            return (target,)
        return (self._task(address, Forward(user.mail), user, target),)

    def _has_been_redirected(self, user: UserFilter) -> bool:
        before = self._message.raws(REDIRECTED)
        if len(before) >= MOST_REDIRECTED:
            return True
        ours = {casemap(each.raw) for value in before for each in addresses(value[:_LONGEST_MARK])}
        return not ours.isdisjoint({casemap(user.mail), *user.addresses})

    def _answered(self, action: Vacation, target: Target, user: UserFilter) -> Sequence[Target]:
        if not self._sender or not self._has(PROCESS) or not user.addresses:
            return ()  # a channel's script answers in nobody's name
        origin = action.sender or user.mail
        found = addresses(origin)
        mail = found[0].raw if found and found[0].local else user.mail
        own = {*user.addresses, casemap(user.mail), *(casemap(each) for each in action.addresses)}
        if target.intermediate:
            own.add(casemap(target.intermediate))  # with the subaddress that was written to (RFC 5230 4.5)
        answer = Answer(
            owner=user.owner, mail=mail, addresses=tuple(sorted(own)), text=action.reason,
            subject=action.subject or self._subject(), seconds=float(action.seconds), handle=action.handle or _handle(action),
            mime=action.mime, personal=origin.partition("<")[0].strip().strip('"') if "<" in origin else "",
        )  # fmt: skip
        self._answering.add(target.intermediate)
        return (self._task(user.mail, answer, user, target),)

    def _subject(self) -> str:
        """Without :subject: the original one behind `Auto: ` (RFC 5230 4.4)."""
        subject = "".join(self._message.texts("subject")[:1])
        return echoed(f"Auto: {subject}") if subject else "Automatic answer"

    @property
    def _process_host(self) -> str:
        return self._rules.imta.channels[PROCESS].official_host.lower()

    def _task(self, address: str, task: Task, user: UserFilter, target: Target | None = None) -> Target:
        """A target on `process`; what comes of it has the envelope From of the user's own copy, so a list's owner hears of it."""
        made = Target(PROCESS, address, self._process_host, intermediate=user.mail, task=encode_task(task))
        if target is None:
            return made
        return msgspec.structs.replace(made, sender=target.sender, shown=target.shown, listed=target.listed)


def _flagged(target: Target, flags: tuple[str, ...]) -> Target:
    """With the flags the script has set (RFC 5232 4)."""
    return msgspec.structs.replace(target, imap_flags=flags_value(flags)) if flags else target


def _handle(action: Vacation) -> str:
    """RFC 5230 4.2: without a handle what is said names the answer."""
    return _digest("\0".join((action.reason, action.subject, action.sender, str(action.mime))))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def rejection(targets: Iterable[Target]) -> str | None:
    """The reason, when nothing but rejections has come of all scripts, and a reply can say it."""
    reason: str | None = None
    for target in targets:
        task = decode_task(target.task) if target.task else None
        if not isinstance(task, Bounce) or task.exact:
            return None
        reason = task.reason if reason is None else reason
    return reason
