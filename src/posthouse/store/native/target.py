r"""Whom an address of the native service names (imta-cnf 3.3, message-store 7).

    uid [ "+" folder ] [ "@" domain ]     a UNIX user; the folder is ignored: a UNIX mailbox has none
    "+/" path                             a file below the one configured folder (delivery option `file`)

A path's steps are names: no empty one, no `.` or `..`, none that begins with a dot or ends like a lock file, no NUL or other
control character. A path that begins with the configured folder itself means the same as the rest of it.
Anything else names no mailbox (`MailboxNonexistent`). The names of users are those a mailbox's owner can have, too.
"""

import re
from dataclasses import dataclass

from posthouse.store.mailbox.errors import MailboxNonexistent
from posthouse.store.mailbox.owner import Target, check_owner, local_and_domain, parse_target
from posthouse.store.native.locks import SUFFIX

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]")
_MAX_STEP = 200
_MAX_STEPS = 32


@dataclass(frozen=True, slots=True)
class FileTarget(Target):
    """A file below the configured folder; `folder` is its path as in the address."""

    owner: str = ""

    @property
    def steps(self) -> tuple[str, ...]:
        """The path's names."""
        return tuple(self.folder.split("/")[1:])


def parse_native(token: bytes, default_domain: str) -> Target:
    """The user or file a RCPT address names.

    Raises:
        MailboxNonexistent: it names none.
    """
    if b"+/" in token:
        text = token.decode("utf-8", "replace")
        local, _ = local_and_domain(text[1:-1] if text.startswith("<") and text.endswith(">") else text)
        if local.startswith("+/"):
            return _file(local[1:])
    target = parse_target(token, default_domain)
    if target.owner.endswith(SUFFIX):
        raise MailboxNonexistent(f"{target.owner}: the name of a lock file")
    return Target(check_owner(target.owner))


def _file(path: str) -> FileTarget:
    target = FileTarget(folder=path)
    steps = target.steps
    if _CONTROL.search(target.folder) or len(steps) > _MAX_STEPS or not all(_is_good(step) for step in steps):
        raise MailboxNonexistent(f"no mailbox can have the path {target.folder[:200]!r}")
    return target


def _is_good(step: str) -> bool:
    return bool(step) and not step.startswith(".") and not step.endswith(SUFFIX) and len(step.encode()) <= _MAX_STEP


def below(target: FileTarget, folder: str) -> tuple[str, ...]:
    """The steps from the configured folder, whether or not the path begins with it.

    Raises:
        MailboxNonexistent: the path is the folder itself.
    """
    steps, root = target.steps, tuple(step for step in folder.split("/") if step)
    if steps[: len(root)] == root:
        steps = steps[len(root) :]
    if not steps:
        raise MailboxNonexistent("the configured folder itself is no mailbox")
    return steps

