"""Flags that a user's Sieve script sets are what IMAP shows: through the relay's queue, over LMTP, into the mailbox."""

import base64
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.testing.tiers import TwoTiers
from support.family_rig import wait_for
from support.imap_tier import Imap, dovecot_of, readable
from support.interop_daemon import needs_root, open_folder
from support.interop_tiers import STORE_USER, arrived, run_as
from support.journey_mail import connect
from support.journey_tiers import journey
from support.slapd import many_people

pytestmark = needs_root
SCRIPT = r"""require ["imap4flags", "fileinto"];
if header :contains "subject" "read" { addflag "\\Seen"; }
if header :contains "subject" "star" { addflag ["\\Flagged", "$Work", "later"]; }
if header :contains "subject" "filed" { fileinto :flags ["\\Answered", "$Work"] "Lists/flags"; }
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder("flags") as made:
        yield made


@pytest.fixture(scope="module")
def tiers(folder: Path) -> Iterator[TwoTiers]:
    coded = base64.b64encode(SCRIPT.encode()).decode()
    line = "mail: user0@example.com\n"
    ldif = many_people(2, stores=("store1.example.com",)).replace(line, f"{line}mailSieveRuleSource:: {coded}\n")
    (folder / "people.ldif").write_text(ldif)
    with readable(), journey(folder, directory=["--ldif", str(folder / "people.ldif")], stores=1, start=False) as made:
        if os.geteuid() == 0:
            run_as(made.stores[0], STORE_USER)
        made.start()
        yield made


@pytest.fixture(scope="module")
def imap(tiers: TwoTiers, folder: Path) -> Iterator[Imap]:
    with dovecot_of(tiers.stores[0], folder / "dovecot", users=("user0", "user1")) as running:
        yield running


def send(tiers: TwoTiers, subject: str) -> None:
    text = f"From: a@outside.test\r\nTo: user0@example.com\r\nSubject: {subject}\r\n\r\nbody\r\n"
    with connect(tiers.relay) as client:
        assert client.sendmail("a@outside.test", ["user0@example.com", "user1@example.com"], text) == {}


def flags(imap: Imap, user: str, mailbox: str = "INBOX") -> dict[str, set[str]]:
    """Subject to flags; \\Recent is the session's, not the message's."""
    with imap.login(user) as client:
        answer, (count,) = client.select(f'"{mailbox}"', readonly=True)
        if answer != "OK" or count == b"0":
            return {}
        found = {}
        for item in client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]:
            if isinstance(item, tuple):
                shown = re.search(rb"FLAGS \(([^)]*)\)", item[0])
                assert shown is not None
                subject = item[1].decode().partition(":")[2].strip()
                found[subject] = set(shown[1].decode().split()) - {"\\Recent"}
        return found


def test_flags_of_a_script_are_shown_by_imap(tiers: TwoTiers, imap: Imap) -> None:
    for subject in ("plain", "read", "read and star", "filed"):
        send(tiers, subject)
    for owner, place, count in (("user1", "", 4), ("user0", "", 3), ("user0", "Lists/flags", 1)):
        arrived(tiers.stores[0], owner, "Subject: ", place, count=count)  # before Dovecot looks: it would hold its lock
    starred = {"\\Seen", "\\Flagged", "$Work", "later"}
    assert flags(imap, "user0") == {"plain": set(), "read": {"\\Seen"}, "read and star": starred}
    assert flags(imap, "user0", "Lists/flags") == {"filed": {"\\Answered", "$Work"}}
    assert set().union(*flags(imap, "user1").values()) == set()


def test_keywords_of_an_imap_client_and_of_a_script_do_not_mix(tiers: TwoTiers, imap: Imap) -> None:
    send(tiers, "first star")
    arrived(tiers.stores[0], "user0", "Subject: first star")  # before Dovecot looks: from now on the letters are known
    send(tiers, "his own")
    wait_for(lambda: "his own" in flags(imap, "user0"), 30)
    with imap.login("user0") as client:
        client.select()
        (numbers,) = client.search(None, "SUBJECT", '"his own"')[1]
        client.store(numbers.decode(), "+FLAGS", "(Mine $Forwarded)")
    send(tiers, "star again")
    wait_for(lambda: "star again" in flags(imap, "user0"), 30)
    shown = flags(imap, "user0")
    assert shown["his own"] == {"Mine", "$Forwarded"}
    assert shown["star again"] == {"\\Flagged", "$Work", "later"}


def test_a_message_that_waits_keeps_its_flags(tiers: TwoTiers, imap: Imap) -> None:
    tiers.stores[0].stop()
    send(tiers, "read after the night")
    tiers.relay.stop()  # what waits stands in a queue file now
    tiers.relay.start()
    tiers.stores[0].start()
    wait_for(lambda: "read after the night" in flags(imap, "user0"), 30)
    assert flags(imap, "user0")["read after the night"] == {"\\Seen"}
