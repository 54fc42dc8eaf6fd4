"""Running one template: its steps in order, until the end or the first that fails."""

from collections.abc import Callable, Generator
from dataclasses import dataclass

from posthouse.mapping import template as t
from posthouse.mapping.question import DomainAttribute, LdapUrl, Question
from posthouse.mapping.throttle import IMAGE, Throttle

MAX_OUTPUT = 65_536
"""characters"""
Other = tuple[str, str]
"""another table and the string it is asked about"""


@dataclass(frozen=True, slots=True)
class World:
    """What templates may use besides the string."""

    general: Callable[[str], str | None]
    chance: Callable[[], float] | None
    throttle: Throttle | None


def quote_ldap(text: str) -> str:
    """The text as an assertion value of an LDAP filter (RFC 4515 3)."""
    return "".join(f"\\{ord(char):02x}" if char in "*()\\\0" else char for char in text)


class Expansion:
    """One run of a template.

    Args:
        steps: what to do.
        saved: the pattern's saved wildcards.
        flags: input flags.
        world: general database, chance, throttle.
    """

    __slots__ = ("case", "flags", "ldap", "saved", "steps", "world")

    def __init__(self, steps: t.Steps, saved: list[str], flags: frozenset[str], world: World) -> None:
        self.steps, self.saved, self.flags, self.world = steps, saved, flags, world
        self.case = t.Case.KEEP
        self.ldap = False

    def run(self) -> Generator[Question | Other, str | None, str | None]:
        """Yields what it must ask, is sent the answers; returns the output, or None when the entry fails."""
        out: list[str] = []
        size = 0
        for step in self.steps:
            if isinstance(step, str):
                text: str | None = self._cased(step)
            elif isinstance(step, t.Wildcard):
                text = self._substituted(self.saved[step.number])
            elif isinstance(step, t.Case):
                self.case = step
                continue
            elif isinstance(step, t.QuoteLdap):
                self.ldap = True
                continue
            elif isinstance(step, t.InputFlag | t.Percent):
                text = "" if self._met(step) else None
            else:
                text = yield from self._called(step)
                text = None if text is None else self._substituted(text)
            if text is None:
                return None
            out.append(text)
            size += len(text)
            if size > MAX_OUTPUT:
                return None
        return "".join(out)

    def _cased(self, text: str) -> str:
        if self.case is t.Case.KEEP:
            return text
        return text.lower() if self.case is t.Case.LOWER else text.upper()

    def _substituted(self, text: str) -> str:
        return self._cased(quote_ldap(text) if self.ldap else text)

    def _met(self, step: t.InputFlag | t.Percent) -> bool:
        if isinstance(step, t.InputFlag):
            return (step.flag in self.flags) is step.wanted
        return self.world.chance is not None and self.world.chance() < step.chance

    def _called(
        self, step: t.General | t.Table | t.Url | t.Domain | t.Routine | t.Number
    ) -> Generator[Question | Other, str | None, str | None]:
        if isinstance(step, t.General):
            return self.world.general(self._argument(step.key).lower())
        if isinstance(step, t.Table):
            return (yield step.name, self._argument(step.argument))
        if isinstance(step, t.Url):
            return (yield LdapUrl(self._argument(step.url)))
        if isinstance(step, t.Domain):
            return (yield DomainAttribute(self._argument(step.domain), self._argument(step.attribute)))
        if isinstance(step, t.Number):
            return None
        throttle = self.world.throttle
        if step.image == IMAGE and throttle and throttle.exceeded(step.routine, self._argument(step.argument)):
            return ""
        return None

    def _argument(self, steps: t.Steps) -> str:
        """The text of an argument. In a URL `$=` quotes what is substituted, as outside."""
        case = t.Case.KEEP
        out: list[str] = []
        for step in steps:
            if isinstance(step, t.Case):
                case = step
                continue
            text = step if isinstance(step, str) else ""
            if isinstance(step, t.Wildcard):
                text = quote_ldap(self.saved[step.number]) if self.ldap else self.saved[step.number]
            out.append(text if case is t.Case.KEEP else text.lower() if case is t.Case.LOWER else text.upper())
        return "".join(out)
