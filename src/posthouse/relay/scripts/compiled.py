"""Compiled scripts by their text: each is compiled once, whoever has it; a script with faults is remembered as that.

Bounded: at most SCRIPTS of them and TEXT characters of their texts, where a regular expression counts as the memory it takes;
the one used longest ago is forgotten first.
"""

from collections import OrderedDict

from posthouse.relay.filtering.compiler import Script, compile_script
from posthouse.relay.filtering.fault import ScriptError

SCRIPTS = 5000
TEXT = 16 << 20
_INSTRUCTION = 16


class CompiledScripts:
    """The memory of one process."""

    def __init__(self, scripts: int = SCRIPTS, text: int = TEXT) -> None:
        self._known: OrderedDict[tuple[str, bool], Script | ScriptError] = OrderedDict()
        self._limit = scripts
        self._text_limit = text
        self._text = 0

    def knows(self, text: str, *, joined: bool) -> bool:
        """Whether it is compiled already."""
        return (text, joined) in self._known

    def script(self, text: str, *, joined: bool) -> Script | ScriptError:
        """The compiled script, or what is wrong with it."""
        key = (text, joined)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        try:
            found = compile_script(text, joined=joined)
        except ScriptError as error:
            found = error.with_traceback(None)
        self._known[key] = found
        self._text += _weight(text, found)
        while len(self._known) > self._limit or (self._text > self._text_limit and len(self._known) > 1):
            (old, _), made = self._known.popitem(last=False)
            self._text -= _weight(old, made)
        return found


def _weight(text: str, made: Script | ScriptError) -> int:
    return len(text) + (_INSTRUCTION * made.regex_size if isinstance(made, Script) else 0)


SHARED = CompiledScripts()
"""of this process: scripts do not depend on its configuration"""
