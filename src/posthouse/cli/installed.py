"""Whether the program on disk is the one that runs: an upgrade beneath running processes takes effect piece by piece."""

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import posthouse

TEXT = "the installed program was changed after this instance was started: restart it"


def changed_since(rows: Sequence[dict[str, Any]], package: Path | None = None) -> float | None:
    """When the installed modules were changed last, if that was after the supervisor among these processes began.

    Args:
        rows: processes as `status` shows them.
        package: the package's folder; ours if None.
    """
    began = next((row["since"] for row in rows if row["role"] == "supervisor"), None)
    if began is None:
        return None
    changed = _newest(package or Path(posthouse.__file__).parent)
    return changed if changed >= datetime.fromisoformat(began).timestamp() + 1 else None


def _newest(package: Path) -> float:
    """The last change of a module's file; its time of writing may be that of the package's making, years ago."""
    newest = 0.0
    for folder, _, names in os.walk(package):  # unlike rglob it goes on where a folder has just gone
        for name in names:
            if name.endswith(".py"):
                with suppress(OSError):  # an upgrade takes it away just now, or an editor's link that leads nowhere
                    newest = max(newest, Path(folder, name).stat().st_ctime)
    return newest
