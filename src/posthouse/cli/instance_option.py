"""`--instance DIR`, the same in every command: else $POSTHOUSE_INSTANCE, else the current folder.

A folder that is no instance ends the command with 66: `stopped` or `nothing is known of it` would be said of the wrong folder.
So does one whose path is not UTF-8: configuration files and what commands print are.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from posthouse.config.instance import Instance

InstanceOption = Annotated[Path | None, Parameter(name="--instance", env_var="POSTHOUSE_INSTANCE")]


NO_INSTANCE = 66
"""EX_NOINPUT"""


def is_utf8(text: str) -> bool:
    """Whether a word of the command line, of the environment or of a path was UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def here(given: Path | None) -> Instance:
    """The instance meant, with an absolute path.

    Raises:
        SystemExit: 66, after it was said that the folder has neither `config` nor `data`, or not a path we can write.
    """
    instance = Instance(Path(os.path.abspath(given or ".")))  # noqa: PTH100 - resolve() would show other names than were given
    if not is_utf8(str(instance.root)):
        sys.stderr.write(f"posthouse: {instance.root}: an instance's path must be UTF-8\n")
        raise SystemExit(NO_INSTANCE)
    if not (instance.config.exists() or instance.data.exists()):
        sys.stderr.write(
            f"posthouse: {instance.root} is no instance: it has no config folder; "
            "name one with --instance or POSTHOUSE_INSTANCE, or make one with `posthouse init`\n"
        )
        raise SystemExit(NO_INSTANCE)
    return instance
