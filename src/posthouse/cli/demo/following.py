"""Follows accepted messages by the relay's transaction log, and looks for them in the mailboxes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from posthouse.cli.demo.samples import End, Expected, Sample
from posthouse.trace.reader import read_records
from posthouse.trace.record import Action

_ENDS = {
    Action.DEQUEUED: End.DELIVERED,
    Action.DEFERRED: End.DEFERRED,
    Action.PARTLY: End.DEFERRED,
    Action.RETURNED: End.RETURNED,
}


@dataclass(frozen=True, slots=True)
class Ended:
    """The newest thing the log says of a recipient."""

    outcome: End
    reply: str


def outcomes(log: Path, messages: Iterable[str]) -> dict[tuple[str, str], Ended]:
    """(message id, original recipient) -> where it is, for what has been tried at least once."""
    wanted = set(messages)
    found: dict[tuple[str, str], Ended] = {}
    for record in read_records(log):
        if record.ei in wanted and record.ac in _ENDS:
            reply = f"{record.co} {record.en} {record.tx}".replace("  ", " ").strip()
            found[record.ei, record.od.partition(";")[2]] = Ended(_ENDS[record.ac], reply)
    return found


def mailbox_with(stores: dict[str, Path], sample: Sample, recipient: Expected) -> str:
    """`store owner folder` where the message stands for this recipient, or ""."""
    root = stores[recipient.store] / "data" / "store" / "primary" / recipient.owner
    folder = root if recipient.folder == "INBOX" else root / ("." + recipient.folder.replace("/", "."))
    needle = f"Message-ID: {sample.message_id}".encode()
    for path in sorted((folder / "new").glob("*"), reverse=True) if folder.is_dir() else []:
        with path.open("rb") as file:
            if needle in file.read(16384):
                return f"{recipient.store} {recipient.owner} {recipient.folder}"
    return ""


def mailboxes(stores: dict[str, Path]) -> list[tuple[str, str, str, int, int]]:
    """Every folder that holds mail: store, owner, folder, messages, octets."""
    rows = []
    for store, instance in stores.items():
        for new in sorted((instance / "data" / "store").glob("*/*/**/new")):
            folder = new.parent
            sizes = [path.stat().st_size for path in new.iterdir()]
            if not sizes:
                continue
            is_inbox = not folder.name.startswith(".")
            owner = folder.name if is_inbox else folder.parent.name
            rows.append((store, owner, "INBOX" if is_inbox else folder.name[1:].replace(".", "/"), len(sizes), sum(sizes)))
    return rows
