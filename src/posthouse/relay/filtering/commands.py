"""The action commands: keep, discard, fileinto, redirect, reject, ereject, vacation, flags and variables.

keep [:flags]   fileinto [:copy] [:create] [:flags] FOLDER   redirect [:copy] ADDRESS   discard   reject REASON
set [modifiers] NAME VALUE   setflag addflag removeflag [VARIABLE] FLAGS   vacation ... REASON   error MESSAGE
"""

import re
from string import ascii_lowercase, ascii_uppercase

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.actions import Action, Discard, FileInto, Keep, Redirect, Reject, Vacation
from posthouse.relay.filtering.address_list import addresses
from posthouse.relay.filtering.arguments import Signature, TagUse, Taken, Want
from posthouse.relay.filtering.context import Command, CommandBuilder, Context, Texts
from posthouse.relay.filtering.fault import RunFault
from posthouse.relay.filtering.flags import merged, without, words
from posthouse.relay.filtering.matching import quoted_wildcards
from posthouse.relay.filtering.run import Run, Template, bad_folder, charge_words, value, values
from posthouse.relay.filtering.strings import IDENTIFIER
from posthouse.relay.filtering.syntax import Node, Strings

DAY = 86_400
LEAST_DAYS, MOST_DAYS, DEFAULT_DAYS = 1, 365, 7
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REGEX_SPECIAL = str.maketrans({char: "\\" + char for char in r"\^$.[]|()?*+{}"})
_TO_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_TO_UPPER = str.maketrans(ascii_lowercase, ascii_uppercase)


def _do(context: Context, run: Run, line: int, action: Action) -> None:
    run.add(action, line)
    if context.explain:
        context.step(run, line, f"action {describe(action)}")


def describe(action: Action) -> str:
    """One action in words."""
    match action:
        case Keep():
            return "keep" + _with(action.flags)
        case FileInto():
            return f'fileinto "{action.folder}"' + _with(action.flags)
        case Redirect():
            return f'redirect "{action.address}"'
        case Discard():
            return "discard"
        case Reject():
            return ("ereject " if action.extended else "reject ") + f'"{_one_line(action.reason)}"'
        case Vacation():
            return f'vacation "{_one_line(action.reason)}"'


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "..."


def _with(flags: tuple[str, ...]) -> str:
    return f" with the flags {' '.join(flags)}" if flags else ""


def _flags_of(context: Context, taken: Taken) -> Texts | None:
    given = taken.text("flags")
    return None if given is None else context.texts(given)


def _flags_now(run: Run, given: Texts | None, line: int) -> tuple[str, ...]:
    if given is None:
        return run.flags
    found = values(given, run)
    charge_words(run, found, line)
    return words(found)


def keep(context: Context, node: Node, taken: Taken) -> Command:
    """`keep`."""
    flags = _flags_of(context, taken)

    def command(run: Run) -> None:
        run.implicit_keep = False
        _do(context, run, node.line, Keep(_flags_now(run, flags, node.line)))

    return command


def discard(context: Context, node: Node, taken: Taken) -> Command:
    """`discard`."""
    del taken

    def command(run: Run) -> None:
        run.implicit_keep = False
        _do(context, run, node.line, Discard())

    return command


def fileinto(context: Context, node: Node, taken: Taken) -> Command:
    """`fileinto`."""
    strings = taken.strings(0)
    folder, flags = context.one(strings), _flags_of(context, taken)
    copy, create = "copy" in taken.tags, "create" in taken.tags
    if isinstance(folder, str) and (why := bad_folder(folder)):
        context.fault(strings.line, why)

    def command(run: Run) -> None:
        name = value(folder, run)
        if why := bad_folder(name):
            raise RunFault(node.line, why)
        if not copy:
            run.implicit_keep = False
        _do(context, run, node.line, FileInto(name, _flags_now(run, flags, node.line), create))

    return command


def redirect(context: Context, node: Node, taken: Taken) -> Command:
    """`redirect`."""
    strings = taken.strings(0)
    target, copy = context.one(strings), "copy" in taken.tags
    if isinstance(target, str) and redirect_address(target) is None:
        context.fault(strings.line, f"redirect: {target[:80]!r} is no address")

    def command(run: Run) -> None:
        text = value(target, run)
        address = redirect_address(text)
        if address is None:
            raise RunFault(node.line, f"redirect: {text[:80]!r} is no address")
        if not copy:
            run.implicit_keep = False
        _do(context, run, node.line, Redirect(address))

    return command


def redirect_address(text: str) -> str | None:
    """The one address a text is, or None."""
    found = addresses(text.strip()) if "\n" not in text.strip() else []
    if len(found) != 1 or not found[0].local or not found[0].domain or text.count("@") > found[0].raw.count("@"):
        return None
    raw = found[0].raw
    try:
        raw.encode()
    except UnicodeEncodeError:
        return None
    return raw if len(raw) <= 320 and not _CONTROL.search(raw) else None


def reject(context: Context, node: Node, taken: Taken) -> Command:
    """`reject` and `ereject`."""
    reason, extended = context.one(taken.strings(0)), node.name == "ereject"

    def command(run: Run) -> None:
        run.implicit_keep = False
        _do(context, run, node.line, Reject(value(reason, run), extended))

    return command


def vacation(context: Context, node: Node, taken: Taken) -> Command:
    """`vacation` (RFC 5230 4, RFC 6131)."""
    days, wanted = taken.amount("days"), taken.amount("seconds")
    if days is not None and wanted is not None:
        context.fault(node.line, "vacation: either :days or :seconds")
    seconds = wanted if wanted is not None else min(max(DEFAULT_DAYS if days is None else days, LEAST_DAYS), MOST_DAYS) * DAY
    seconds = min(seconds, MOST_DAYS * DAY)
    subject, sender, handle = (_optional(context, taken.text(name)) for name in ("subject", "from", "handle"))
    given = taken.text("addresses")
    own = context.texts(given) if given is not None else ()
    reason, mime = context.one(taken.strings(0)), "mime" in taken.tags
    if "from" in taken.tags and isinstance(sender, str) and redirect_address(sender) is None:
        context.fault(node.line, f"vacation: :from {sender[:80]!r} is no address")

    def command(run: Run) -> None:
        origin = value(sender, run)
        if origin and redirect_address(origin) is None:
            raise RunFault(node.line, f"vacation: :from {origin[:80]!r} is no address")
        title = value(subject, run)
        action = Vacation(
            value(reason, run), seconds, title, origin, tuple(values(own, run)), mime, value(handle, run)
        )  # fmt: skip
        _do(context, run, node.line, action)

    return command


def _optional(context: Context, strings: Strings | None) -> str | Template:
    return "" if strings is None else context.one(strings)


def set_variable(context: Context, node: Node, taken: Taken) -> Command:
    """`set` (RFC 5229 4)."""
    strings = taken.strings(0)
    name, what = _variable_name(context, strings), context.one(taken.strings(1))
    chosen = [taken.tags[group].name for group in _MODIFIERS if group in taken.tags]

    def command(run: Run) -> None:
        text = value(what, run)
        if chosen:
            text = text[: limits.STRING_OCTETS]
            run.spend(len(chosen) * len(text), node.line)
            text = _modified(text, chosen)
        run.variables[name] = text[: limits.VARIABLE_CHARACTERS]
        if context.explain:
            context.step(run, node.line, f'set {name} to "{_one_line(run.variables[name])}"')

    return command


def _variable_name(context: Context, strings: Strings) -> str:
    """A variable that a command changes, in lower case."""
    given = context.constant(strings, "a variable's name")
    if given is None:
        return ""
    name, line = given.lower(), strings.line
    if "." in name:
        context.fault(line, f"variable in the unknown namespace '{name.partition('.')[0]}'")
    elif not IDENTIFIER.match(name):
        context.fault(line, f"'{name[:60]}' is no variable's name")
    elif len(name) > limits.VARIABLE_NAME:
        context.fault(line, f"the variable name '{name[:40]}' is longer than {limits.VARIABLE_NAME} characters")
    context.names.add(name)
    if len(context.names) == limits.VARIABLES + 1:
        context.fault(line, f"more than {limits.VARIABLES} variables")
    return name


def _modified(text: str, chosen: list[str]) -> str:
    for modifier in chosen:
        match modifier:
            case "lower":
                text = text.translate(_TO_LOWER)
            case "upper":
                text = text.translate(_TO_UPPER)
            case "lowerfirst":
                text = text[:1].translate(_TO_LOWER) + text[1:]
            case "upperfirst":
                text = text[:1].translate(_TO_UPPER) + text[1:]
            case "quotewildcard":
                text = quoted_wildcards(text)
            case "quoteregex":
                text = text.translate(_REGEX_SPECIAL)
            case "length":
                text = str(len(text))
    return text


def change_flags(context: Context, node: Node, taken: Taken) -> Command:
    """`setflag`, `addflag` and `removeflag` (RFC 5232 3): on a variable or the internal one."""
    name = ""
    if taken.positions[0] is not None:
        strings = taken.strings(0)
        if "variables" in context.allowed:
            name = _variable_name(context, strings)
        else:
            context.fault(strings.line, f'{node.name} with a variable needs require "variables"')
    flags, kind = context.texts(taken.strings(1)), node.name

    def command(run: Run) -> None:
        texts, held = values(flags, run), [run.variables.get(name, "")] if name else []
        charge_words(run, [*texts, *held, *run.flags], node.line)
        given = words(texts)
        before = words(held) if name else run.flags
        if kind == "addflag":
            given = merged(before, given)
        elif kind == "removeflag":
            given = without(before, given)
        if name:
            run.variables[name] = " ".join(given)[: limits.VARIABLE_CHARACTERS]
        else:
            run.flags = given

    return command


def error(context: Context, node: Node, taken: Taken) -> Command:
    """`error` (RFC 5463 5): ends the script with this message."""
    text = context.one(taken.strings(0))

    def command(run: Run) -> None:
        raise RunFault(node.line, f"error: {_one_line(value(text, run))}")

    return command


_FLAGS = {"flags": TagUse("flags", Want.STRINGS, ("imap4flags",))}
_COPY = {"copy": TagUse("copy", None, ("copy",))}
_CREATE = {"create": TagUse("create", None, ("mailbox",))}
_MODIFIERS = ("case", "first", "quote", "length")
"""in the order they are applied: highest precedence first"""
_SET = {
    "lower": TagUse("case"), "upper": TagUse("case"), "lowerfirst": TagUse("first"), "upperfirst": TagUse("first"),
    "quotewildcard": TagUse("quote"), "quoteregex": TagUse("quote", None, ("regex",)), "length": TagUse("length"),
}  # fmt: skip
_VACATION = {
    "days": TagUse("days", Want.NUMBER), "seconds": TagUse("seconds", Want.NUMBER, ("vacation-seconds",)),
    "subject": TagUse("subject", Want.STRING), "from": TagUse("from", Want.STRING), "handle": TagUse("handle", Want.STRING),
    "addresses": TagUse("addresses", Want.STRINGS), "mime": TagUse("mime"),
}  # fmt: skip
_CHANGE = Signature((Want.STRING, Want.STRINGS), requires=("imap4flags",), optional=1)
COMMANDS: dict[str, tuple[Signature, CommandBuilder]] = {
    "addflag": (_CHANGE, change_flags),
    "discard": (Signature(), discard),
    "ereject": (Signature((Want.STRING,), requires=("ereject",)), reject),
    "error": (Signature((Want.STRING,), requires=("ihave",)), error),
    "fileinto": (Signature((Want.STRING,), {**_FLAGS, **_COPY, **_CREATE}, requires=("fileinto",)), fileinto),
    "keep": (Signature((), _FLAGS), keep),
    "redirect": (Signature((Want.STRING,), _COPY), redirect),
    "reject": (Signature((Want.STRING,), requires=("reject",)), reject),
    "removeflag": (_CHANGE, change_flags),
    "set": (Signature((Want.STRING, Want.STRING), _SET, requires=("variables",)), set_variable),
    "setflag": (_CHANGE, change_flags),
    "vacation": (Signature((Want.STRING,), _VACATION, requires=("vacation", "vacation-seconds")), vacation),
}
"""all but require, if, elsif, else and stop, which are the compiler's"""
