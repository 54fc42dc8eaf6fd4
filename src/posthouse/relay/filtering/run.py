"""One evaluation under way: what a script may ask, what it has decided so far, and how much work it may still do."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from posthouse.relay.filtering import limits
from posthouse.relay.filtering.actions import Action, Discard, FileInto, Keep, Redirect, Reject, Step, Vacation
from posthouse.relay.filtering.address_list import Mailbox
from posthouse.relay.filtering.fault import RunFault
from posthouse.relay.filtering.matching import casemap
from posthouse.relay.filtering.message import Envelope, Message

INBOX = "INBOX"
_INBOX = re.compile(r"inbox(?=[/.]|\Z)", re.IGNORECASE)
_LONGEST_FOLDER = 480
_WORD_WORK = 2


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What does not change from script to script.

    Args:
        now: Unix time in seconds.
        zone: our own offset from UTC in minutes.
        mailboxes: the owner's folders, for `mailboxexists`; None: every folder counts as there, since it is made.
        host: our own name.
        separator: what divides user and detail (RFC 5233).
        items: further items for the test environment.
    """

    now: float = 0.0
    zone: int = 0
    mailboxes: frozenset[str] | None = None
    host: str = "localhost"
    separator: str = "+"
    items: tuple[tuple[str, str], ...] = ()


class Stop(Exception):  # noqa: N818 - the command `stop`
    """The script has ended."""


@dataclass(slots=True)
class Run:
    """The state of one evaluation."""

    message: Message
    envelope: Envelope
    around: Surroundings
    budget: int = limits.BUDGET
    variables: dict[str, str] = field(default_factory=dict)
    matched: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    actions: list[Action] = field(default_factory=list)
    implicit_keep: bool = True
    steps: list[Step] = field(default_factory=list)
    parts: dict[str, list[str]] = field(default_factory=dict)
    """decoded body, by what of it was asked"""
    mailboxes: dict[str, list[Mailbox]] = field(default_factory=dict)
    """addresses, by the field's value"""

    def spend(self, units: int, line: int) -> None:
        """Charge work.

        Raises:
            RunFault: it was too much.
        """
        self.budget -= units
        if self.budget < 0:
            raise RunFault(line, f"the script does too much: more than {limits.BUDGET} units of work for one message")

    def add(self, action: Action, line: int) -> None:
        """Decide something; what is decided already is not done twice.

        Raises:
            RunFault: it conflicts with what was decided before, or is too much.
        """
        if isinstance(action, Reject) and not all(isinstance(each, Discard) for each in self.actions):
            raise RunFault(line, "reject conflicts with another action of the script")
        if not isinstance(action, Discard) and any(isinstance(each, Reject) for each in self.actions):
            raise RunFault(line, "the script rejects the message already: nothing else can be done with it")
        if self._merge(action, line):
            return
        if len(self.actions) >= limits.ACTIONS:
            raise RunFault(line, f"more than {limits.ACTIONS} actions")
        self.actions.append(action)

    def _merge(self, action: Action, line: int) -> bool:
        if isinstance(action, Keep | FileInto):
            for place, each in enumerate(self.actions):
                if isinstance(each, Keep | FileInto) and folder_of(each) == folder_of(action):
                    self.actions[place] = _with_flags(each, action.flags)  # the last word counts
                    return True
            return False
        if isinstance(action, Redirect):
            others = [each.address for each in self.actions if isinstance(each, Redirect)]
            if any(_same_address(each, action.address) for each in others):
                return True
            if len(others) >= limits.REDIRECTS:
                raise RunFault(line, f"more than {limits.REDIRECTS} redirects")
            return False
        if isinstance(action, Vacation) and any(isinstance(each, Vacation) for each in self.actions):
            raise RunFault(line, "a second vacation for one message")
        return action in self.actions


def folder_of(action: Keep | FileInto) -> str:
    """The folder a message is stored in."""
    return INBOX if isinstance(action, Keep) else canonical_folder(action.folder)


def canonical_folder(name: str) -> str:
    """The name by which a folder is known: the inbox and what is below it are themselves in any case (RFC 3501 5.1)."""
    return _INBOX.sub(INBOX, name, count=1) if _INBOX.match(name) else name


def bad_folder(name: str) -> str:
    """Why a folder cannot have this name, or nothing."""
    if not name or "\0" in name:
        return f"fileinto: {name[:60]!r} is no folder's name"
    if len(name) > _LONGEST_FOLDER:
        return f"fileinto: the folder's name is longer than {_LONGEST_FOLDER} characters"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "fileinto: the folder's name is not UTF-8"
    return ""


def _with_flags(action: Keep | FileInto, flags: tuple[str, ...]) -> Keep | FileInto:
    if isinstance(action, Keep):
        return Keep(flags)
    return FileInto(action.folder, flags, action.create)


def _same_address(one: str, other: str) -> bool:
    local, _, domain = one.rpartition("@")
    local2, _, domain2 = other.rpartition("@")
    return local == local2 and casemap(domain) == casemap(domain2)


Text: TypeAlias = "str | Template"


@dataclass(frozen=True, slots=True)
class Template:
    """A string with variables: texts, names of variables and numbers of match variables in turn."""

    parts: tuple[tuple[str, str | int], ...]
    """("text", t), ("name", n) or ("match", i)"""
    line: int

    def render(self, run: Run) -> str:
        """The string with the variables' values."""
        out: list[str] = []
        for kind, what in self.parts:
            if kind == "text":
                out.append(str(what))
            elif kind == "name":
                out.append(run.variables.get(str(what), ""))
            elif int(what) < len(run.matched):
                out.append(run.matched[int(what)])
        made = "".join(out)
        run.spend(1 + len(made) // limits.GRAIN, self.line)
        return made[: limits.STRING_OCTETS]


def value(text: "str | Template", run: Run) -> str:
    """What a string argument is in this evaluation."""
    return text if type(text) is str else text.render(run)  # type: ignore[union-attr] # a str or a Template


def values(texts: "tuple[str | Template, ...]", run: Run) -> list[str]:
    """What a string list is in this evaluation."""
    return [value(text, run) for text in texts]


def charge_words(run: Run, texts: Iterable[str], line: int) -> None:
    """Charge taking texts apart into flags."""
    run.spend(sum(map(len, texts)) * _WORD_WORK, line)
