"""What the demo shows: progress while it works, then tables, or one JSON object."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from posthouse.cli.demo.journey import Journey
from posthouse.cli.demo.samples import End
from posthouse.cli.demo.tiers import TwoTiers

_WIDE = 160
"""columns of a table nobody sees on a terminal"""


def console(*, errors: bool) -> Console:
    """Where it is shown: stdout, or stderr."""
    found = Console(stderr=errors)
    return found if found.is_terminal or "COLUMNS" in os.environ else Console(stderr=errors, width=_WIDE)


@contextmanager
def status(console: Console, text: str) -> Iterator[None]:
    """A spinner on a terminal, one line elsewhere."""
    if console.is_terminal:
        with console.status(text):
            yield
    else:
        console.print(text, highlight=False)
        yield


@contextmanager
def progress(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A live bar on a terminal; the value is called after each sample with its name."""
    if not console.is_terminal:
        console.print(f"sending {total} samples", highlight=False)
        yield lambda _name: None
        return
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda name: bar.update(task, advance=1, description=name)


def counts(journeys: Sequence[Journey]) -> dict[str, int]:
    """Recipients accepted, delivered, deferred and refused."""
    outcomes = [journey.outcome for journey in journeys]
    refused = outcomes.count(End.REFUSED)
    return {
        "accepted": len(outcomes) - refused,
        "delivered": outcomes.count(End.DELIVERED),
        "deferred": outcomes.count(End.DEFERRED),
        "refused": refused,
    }


def summary(journeys: Sequence[Journey]) -> str:
    """The last line."""
    return ", ".join(f"{number} {word}" for word, number in counts(journeys).items())


def as_json(journeys: Sequence[Journey]) -> dict[str, Any]:
    """The facts for --json."""
    return {
        **counts(journeys),
        "recipients": [
            {
                "sample": journey.sample.name,
                "recipient": journey.expected.address,
                "expected": journey.expected.words,
                "outcome": str(journey.outcome),
                "reply": journey.reply,
                "mailbox": journey.mailbox,
            }
            for journey in journeys
        ],
    }


def tables(console: Console, journeys: Sequence[Journey], boxes: Sequence[tuple[str, str, str, int, int]]) -> None:
    """The journey of every recipient, then the mailboxes."""
    table = Table(title="Every recipient's journey", title_justify="left")
    for column in ("sample", "recipient", "outcome", "where", "last reply", ""):
        table.add_column(column, overflow="fold")
    for journey in journeys:
        mark = "[green]as expected[/]" if journey.good else f"[red]expected {journey.expected.words}[/]"
        table.add_row(journey.sample.name, journey.expected.address, journey.outcome, journey.mailbox or "-", journey.reply, mark)
    console.print(table)
    listing = Table(title="Mailboxes", title_justify="left")
    for column in ("store", "owner", "folder"):
        listing.add_column(column)
    for column in ("messages", "octets"):
        listing.add_column(column, justify="right")
    for store, owner, folder, messages, octets in boxes:
        listing.add_row(store, owner, folder, str(messages), f"{octets:,}")
    console.print(listing)


def what_to_try(console: Console, tiers: TwoTiers) -> None:
    """Commands for a person who keeps the demo running."""
    relay, store = tiers.relay, tiers.stores[0]
    ours = Path(sys.executable).with_name("posthouse")
    command = ours if ours.exists() and not shutil.which("posthouse") else "posthouse"
    lines = [
        f"The relay hears SMTP on {relay.address}:{relay.port}. In another terminal try:",
        f"  swaks --server {relay.address}:{relay.port} --from me@outside.test --to john.doe@example.com",
        f"  {command} route john.doe@example.com --explain --instance {relay.folder}",
        f"  {command} queue list --instance {relay.folder}",
        f"  {command} trace john.doe@example.com --instance {relay.folder}",
        f"  {command} status --instance {store.folder}",
        f"  ls {store.folder}/data/store/primary/jdoe/new",
        "Ctrl-C stops everything.",
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
