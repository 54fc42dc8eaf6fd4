"""`--json`, the same in every command: one value on one line of stdout, in UTF-8 whatever the locale says."""

import json
import re
import sys
from typing import Annotated, Any

from cyclopts import Parameter

_ACTS = re.compile(r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""what a terminal obeys, or hides, and JSON lets stand"""
Json = Annotated[bool, Parameter(name="--json", negative=())]


def print_json(value: Any) -> None:
    """Print it; an octet of a name that is no UTF-8 shows as `?`, what cannot be seen is escaped."""
    text = json.dumps(value, ensure_ascii=False) + "\n"
    text = _ACTS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.flush()
