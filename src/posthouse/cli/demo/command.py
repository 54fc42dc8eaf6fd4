"""`posthouse demo`: the main job on embedded defaults, from nothing to mailboxes.

Starts one relay and two stores in a temporary folder, sends every sample, waits until each accepted recipient has been
tried, looks into the mailboxes and compares with what the samples expect. Exit 0 only when every recipient ended where its
sample says; else 1, and the folder is kept for a look.
"""

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from cyclopts import App
from rich.console import Console

from posthouse.cli.demo import report
from posthouse.cli.demo.following import mailbox_with, mailboxes, outcomes
from posthouse.cli.demo.journey import Journey
from posthouse.cli.demo.samples import End, Sample, load_samples, people
from posthouse.cli.demo.sending import Sent, send
from posthouse.cli.demo.tiers import TwoTiers, posthouse
from posthouse.cli.json_output import Json, print_json

app = App(name="demo", help="Start a relay and two stores, send sample mail, show where it went.")
SETTLE_SECONDS = 60.0


@app.default
def demo(*, keep: Path | None = None, as_json: Json = False) -> None:
    """Run it.

    Args:
        keep: leave it running in this (new or empty) folder until interrupted, and print what to try.
        as_json: print one JSON object instead of tables.
    """
    console = report.console(errors=as_json)
    if keep is not None and keep.exists() and any(keep.iterdir()):
        sys.stderr.write(f"posthouse demo: {keep}: not an empty folder\n")
        raise SystemExit(73)
    root = keep.resolve() if keep is not None else Path(tempfile.mkdtemp(prefix="posthouse-demo-"))
    root.mkdir(parents=True, exist_ok=True)
    (root / "people.ldif").write_text(people(), encoding="utf-8")
    options = ("--postmaster", "john.doe@example.com")
    tiers = TwoTiers(root, ["--ldif", str(root / "people.ldif")], relay_options=options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    good = False
    try:
        with report.status(console, "starting one relay and two stores"):
            tiers.start()
            _folders(tiers)
        journeys = _send_all(tiers, console)
        good = all(journey.good for journey in journeys)
        if as_json:
            print_json(report.as_json(journeys))
        else:
            report.tables(console, journeys, mailboxes(_store_folders(tiers)))
        if keep is not None:
            _wait(console, tiers)
    except KeyboardInterrupt:
        console.print("interrupted")
    finally:
        with report.status(console, "stopping"):
            tiers.stop()
        if keep is None and good:
            shutil.rmtree(root, ignore_errors=True)
        elif not good:
            console.print(f"not every recipient ended where it should; the instances are in {root}")
    if not as_json and good:
        console.print(report.summary(journeys), highlight=False)
    raise SystemExit(0 if good else 1)


def _store_folders(tiers: TwoTiers) -> dict[str, Path]:
    return {store.folder.name: store.folder for store in tiers.stores}


def _folders(tiers: TwoTiers) -> None:
    """Make the folders the samples name, with the right to post, as a user with an IMAP client would."""
    by_name = _store_folders(tiers)
    for sample in load_samples():
        for recipient in sample.recipients:
            if recipient.folder == "INBOX":
                continue
            instance = by_name[recipient.store]
            posthouse("store", "create", recipient.owner, "--instance", str(instance))
            folder = instance / "data" / "store" / "primary" / recipient.owner / ("." + recipient.folder.replace("/", "."))
            for part in ("tmp", "new", "cur"):
                (folder / part).mkdir(mode=0o700, parents=True)
            (folder / "maildirfolder").touch()
            (folder / "dovecot-acl").write_text("anyone p\n")


def _send_all(tiers: TwoTiers, console: Console) -> list[Journey]:
    samples = load_samples()
    journeys: list[Journey] = []
    with report.progress(console, len(samples)) as sent_one:
        for sample in samples:
            journeys += _journeys(sample, send(tiers.relay.address, tiers.relay.port, sample))
            sent_one(sample.name)
    stores = _store_folders(tiers)
    with report.status(console, "waiting until every accepted recipient has been tried"):
        _settle(tiers.relay.folder / "log", journeys)
    for journey in journeys:
        if journey.outcome is End.DELIVERED:
            journey.mailbox = mailbox_with(stores, journey.sample, journey.expected)
    return journeys


def _journeys(sample: Sample, sent: Sent) -> list[Journey]:
    made = []
    for expected, reply, taken in zip(sample.recipients, sent.replies, sent.taken, strict=True):
        outcome = End.UNKNOWN if taken else End.REFUSED
        made.append(Journey(sample, expected, sent.message_id if taken else "", outcome, reply))
    return made


def _settle(log: Path, journeys: list[Journey]) -> None:
    """Wait until the log has an end for each accepted recipient, or the time is up."""
    deadline = time.monotonic() + SETTLE_SECONDS
    open_ones = [journey for journey in journeys if journey.outcome is not End.REFUSED]
    while open_ones and time.monotonic() < deadline:
        found = outcomes(log, {journey.message_id for journey in open_ones})
        for journey in open_ones:
            ended = found.get((journey.message_id, journey.expected.address))
            if ended is not None:
                journey.outcome, journey.reply = ended.outcome, ended.reply
        open_ones = [journey for journey in open_ones if journey.outcome is End.UNKNOWN]
        time.sleep(0.1)


def _wait(console: Console, tiers: TwoTiers) -> None:
    report.what_to_try(console, tiers)
    signal.pause()
