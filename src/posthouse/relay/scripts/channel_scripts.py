"""What is wrong with the Sieve scripts of channels, found before mail comes (docs/sieve.md)."""

from collections.abc import Iterator

from posthouse.config.configuration import Configuration
from posthouse.config.fault import Fault, Severity
from posthouse.relay.filtering.compiler import compile_script
from posthouse.relay.filtering.fault import ScriptError


def check(configuration: Configuration) -> Iterator[Fault]:
    """Scripts that do not compile; a warning for one that wants to answer in somebody's name."""
    for one in configuration.channel_filters:
        where = f"channel {one.channel}: {one.side} {one.name}"
        try:
            script = compile_script(one.script)
        except ScriptError as error:
            for problem in error.problems:
                yield Fault(one.file, one.line, f"{where}: {problem}")
            continue
        if script.required & {"vacation", "vacation-seconds"}:
            reason = f"{where}: vacation does nothing there, since a channel is nobody who could be away"
            yield Fault(one.file, one.line, reason, Severity.WARNING)
