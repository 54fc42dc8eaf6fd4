"""Waiting copies as a table: one line for each recipient."""

import sys
from typing import Any

from posthouse.cli.rows import show

_COLUMNS = ("id", "state", "channel", "host", "tries", "next try", "size", "sender", "recipient", "status")


def table(waiting: list[dict[str, Any]], nothing: str = "nothing waits") -> None:
    """Print elements of `queue list`; `nothing` where there are none."""
    if not waiting:
        sys.stdout.write(nothing + "\n")
        return
    rows = []
    for copy in waiting:
        for recipient in copy["recipients"]:
            status = recipient["status"]
            words = f"{status['code']} {status['enhanced']} {status['text']}" if status else ""
            rows.append((
                copy["id"], copy["state"], copy["channel"], copy["host"], str(copy["attempts"]), copy["next_try"] or "",
                str(copy["size"]), copy["sender"] or "<>", recipient["original"], copy.get("reason") or words,
            ))  # fmt: skip
        if not copy["recipients"]:  # a file that cannot be read
            rows.append((copy["id"], copy["state"], copy["channel"], copy["file"], "", "", str(copy["size"]), "", "",
                         copy.get("reason", "")))  # fmt: skip
    show(_COLUMNS, rows)
