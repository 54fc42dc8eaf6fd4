"""The nightly turn of the logs (logging.md 1): yesterday's text goes to the end of `mail.log`, today's becomes yesterday's.

    mail.log_yesterday    appended to mail.log, then replaced by mail.log_current
    transactions.jsonl    becomes .1, .1 becomes .2 ...; KEEP of them, which `trace` reads too

Writers open new files within a second. Nobody else may turn them. Killed between the appending and the renaming, a day
stands in mail.log twice; nothing is lost.
"""

import contextlib
import shutil
from pathlib import Path

from posthouse.trace.writer import JSON_LOG, TEXT_LOG

KEEP = 14
YESTERDAY = "mail.log_yesterday"
WHOLE = "mail.log"


def rotate(folder: Path) -> None:
    """Turn the logs of a folder.

    Raises:
        OSError: one of them could not be turned; the next time does it.
    """
    yesterday, current = folder / YESTERDAY, folder / TEXT_LOG
    if current.exists():
        with contextlib.suppress(FileNotFoundError), yesterday.open("rb") as old, (folder / WHOLE).open("ab") as whole:
            shutil.copyfileobj(old, whole)
        current.replace(yesterday)
    if (folder / JSON_LOG).exists():
        (folder / f"{JSON_LOG}.{KEEP}").unlink(missing_ok=True)
        for number in range(KEEP - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                (folder / f"{JSON_LOG}.{number}").replace(folder / f"{JSON_LOG}.{number + 1}")
        (folder / JSON_LOG).replace(folder / f"{JSON_LOG}.1")
