"""Whether the files that the running processes have read are still what they were: an edit counts after `posthouse reload`.

Nothing is said of a file that only the user who started them may read.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from posthouse.config.instance import Instance
from posthouse.config.source import digest_of
from posthouse.dispatcher.trouble import Trouble


def edited(place: Instance, read: Mapping[str, str]) -> list[Trouble]:
    """What is to be said of it: one line, or none.

    Args:
        place: the instance.
        read: digests of files by path, as of the last start or reload; empty for one that was not there.
    """
    others = [path for path in map(Path, read) if digest_of(path) not in {read[str(path)], None}]
    if not others:
        return []
    names = ", ".join(sorted(place.name_of(path) for path in others))
    return [Trouble("configuration", max(map(_changed, others)), f"{names}: changed and not read yet: posthouse reload")]


def _changed(path: Path) -> float:
    """When, in Unix seconds; of a file that is gone, when its folder was changed last."""
    for each in (path, path.parent):
        with suppress(OSError):
            return each.stat().st_ctime
    return 0.0
