"""An instance's transaction log while it is being written."""

import json
from pathlib import Path
from typing import Any


def log_records(folder: Path) -> list[dict[str, Any]]:
    """The records of the instance in this folder, as far as their lines are whole: the last one may be about to be written."""
    path = folder / "log" / "transactions.jsonl"
    whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return [json.loads(line) for line in whole.splitlines()]
