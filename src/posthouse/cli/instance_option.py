"""`--instance DIR`, the same in every command: else $POSTHOUSE_INSTANCE, else the current folder.

A folder that is no instance ends the command with 66: `stopped` or `nothing is known of it` would be said of the wrong folder.
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


def here(given: Path | None) -> Instance:
    """The instance meant, with an absolute path.

    Raises:
        SystemExit: 66, after it was said that the folder has neither `config` nor `data`.
    """
    instance = Instance(Path(os.path.abspath(given or ".")))  # noqa: PTH100 - resolve() would show other names than were given
    if not (instance.config.exists() or instance.data.exists()):
        sys.stderr.write(
            f"posthouse: {instance.root} is no instance: it has no config folder; "
            "name one with --instance or POSTHOUSE_INSTANCE, or make one with `posthouse init`\n"
        )
        raise SystemExit(NO_INSTANCE)
    return instance
