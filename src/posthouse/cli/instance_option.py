"""`--instance DIR`, the same in every command: else $POSTHOUSE_INSTANCE, else the current folder."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from posthouse.config.instance import Instance

InstanceOption = Annotated[Path | None, Parameter(name="--instance", env_var="POSTHOUSE_INSTANCE")]


def here(given: Path | None) -> Instance:
    """The instance meant, with an absolute path; whether it is one is for the command to find out."""
    return Instance(Path(os.path.abspath(given or ".")))  # noqa: PTH100 - resolve() would show other names than were given
