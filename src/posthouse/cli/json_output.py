"""`--json`, the same in every command: one value on one line of stdout, in UTF-8 whatever the locale says."""

import json
import sys
from typing import Annotated, Any

from cyclopts import Parameter

Json = Annotated[bool, Parameter(name="--json", negative=())]


def print_json(value: Any) -> None:
    """Print it; what is no character, such as an octet of a name that is no UTF-8, shows as `?`."""
    text = json.dumps(value, ensure_ascii=False) + "\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    sys.stdout.flush()
