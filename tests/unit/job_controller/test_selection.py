"""Which copies and recipients a FILTER means."""

import pytest

from posthouse.mail.envelope import Envelope, Recipient
from posthouse.mail.status import Status
from posthouse.relay.job_controller.cargo import Cargo
from posthouse.relay.job_controller.selection import Matcher, Selection

NOW = 1_795_428_000.0
ID = "0T8K00A01BCDEF0001"
HOST = "store1.example.com.lmtp"
PEOPLE = (
    Recipient(0, 0, "tcp_lmtpcs", f"@{HOST}:jdoe@lmtpcs-daemon", "John.Doe@example.com", HOST),
    Recipient(1, 0, "tcp_lmtpcs", f"@{HOST}:sue@lmtpcs-daemon", "sue@example.com", HOST),
)
ENVELOPE = Envelope(ID, "ann@remote.test", "tcp_local", "", 0, 0, PEOPLE)
REPLIES = {0: Status(452, "4.2.2", "over quota"), 1: Status(420, "4.2.0", "Mailbox Locked")}


def meant(selection: Selection, *, state: str = "file", age: float = 100.0, sender: str = "ann@remote.test") -> tuple[int, ...]:
    matcher = Matcher(selection, NOW)
    if not matcher.copy(ID, "tcp_lmtpcs", "store1.example.com.lmtp", state, NOW - age):
        return ()
    envelope = Envelope(ID, sender, "tcp_local", "", 0, 0, PEOPLE)
    return matcher.people(envelope, PEOPLE, REPLIES.get)


@pytest.mark.parametrize(
    ("selection", "people"),
    [
        (Selection(), ()),
        (Selection(every=True), (0, 1)),
        (Selection(ids=(ID,)), (0, 1)),
        (Selection(ids=("other", f"tcp_lmtpcs/003/ZY{ID}0000.HELD")), (0, 1)),
        (Selection(ids=("other",)), ()),
        (Selection(every=True, ids=("other",)), ()),
        (Selection(channels=("TCP_*",)), (0, 1)),
        (Selection(channels=("tcp",)), ()),
        (Selection(hosts=("store1.example.com",)), (0, 1)),
        (Selection(hosts=("*.lmtp",)), (0, 1)),
        (Selection(hosts=("store?.example.com",)), (0, 1)),
        (Selection(hosts=("store1xexample.com",)), ()),
        (Selection(hosts=("*or*1*m", "x")), (0, 1)),
        (Selection(hosts=("*1*or*",)), ()),
        (Selection(hosts=("store*tore1*",)), ()),
        (Selection(hosts=("**?.e*?*com**",)), (0, 1)),
        (Selection(senders=("ANN@*",)), (0, 1)),
        (Selection(senders=("<>",)), ()),
        (Selection(recipients=("john.doe@example.com",)), (0,)),
        (Selection(recipients=("*:sue@*",)), (1,)),
        (Selection(recipients=("sue@*", "john*")), (0, 1)),
        (Selection(statuses=("452",)), (0,)),
        (Selection(statuses=("4.2.*",)), (0, 1)),
        (Selection(statuses=("5*",)), ()),
        (Selection(statuses=("4.2.2",), recipients=("sue@*",)), ()),
        (Selection(older=100.0), (0, 1)),
        (Selection(older=101.0), ()),
        (Selection(newer=100.0), ()),
        (Selection(newer=101.0), (0, 1)),
        (Selection(states=("file",)), (0, 1)),
        (Selection(states=("waiting",)), (0, 1)),
        (Selection(states=("held", "journal")), ()),
    ],
)
def test_what_a_filter_means(selection: Selection, people: tuple[int, ...]) -> None:
    assert meant(selection) == people


def test_held_copies_do_not_wait() -> None:
    assert meant(Selection(states=("waiting",)), state="held") == ()
    assert meant(Selection(states=("held",)), state="held") == (0, 1)


def test_the_null_sender_and_a_copys_own_sender() -> None:
    assert meant(Selection(senders=("<>",)), sender="") == (0, 1)
    own = (Recipient(0, 0, "tcp_local", "a@b", "a@b", sender="owner-list@example.com"),)
    assert Matcher(Selection(senders=("owner-*",)), NOW).people(ENVELOPE, own, REPLIES.get) == (0,)


def test_a_pattern_of_many_wildcards_is_answered_at_once() -> None:
    """It is asked in the job controller's loop, for every copy."""
    sender = "a" * 250 + "@remote.test"
    assert meant(Selection(senders=("*a" * 60 + "*x@*",)), sender=sender) == ()
    assert meant(Selection(senders=("*a" * 60 + "*t",)), sender=sender) == (0, 1)


@pytest.mark.parametrize(
    ("given", "pattern", "is_meant"),
    [
        ("@store1.example.com:sue@example.com", "sue@example.com", True),
        ("@a.test,@b.test:sue@example.com", "SUE@*", True),
        ("@store1.example.com:sue@example.com", "@store1.example.com:sue@example.com", True),
        ("@store1.example.com:sue@example.com", "store1*", False),
        ("@no route", "sue@example.com", False),
    ],
)
def test_a_recipient_is_known_without_its_source_route(given: str, pattern: str, is_meant: bool) -> None:
    """As a relay sends it to a whole MTA: what is on hold there is found by the user's address."""
    people = (Recipient(0, 0, "hold", f"@hold-daemon:{given}", given, "hold-daemon"),)
    envelope = Envelope(ID, "ann@remote.test", "tcp_local", "", 0, 0, people)
    assert Matcher(Selection(recipients=(pattern,)), NOW).people(envelope, people, REPLIES.get) == ((0,) if is_meant else ())


@pytest.mark.parametrize("pattern", ["team@example.com", "sue@example.com", "*:sue@*"])
def test_who_gets_mail_by_a_group_is_known_by_his_own_address_too(pattern: str) -> None:
    """He is moved to another store, and all that waits for him is to follow."""
    people = (
        Recipient(0, 0, "tcp_lmtpcs", f"@{HOST}:sue@lmtpcs-daemon", "team@example.com", HOST, intermediate="sue@example.com"),
    )
    cargo = Cargo(
        Envelope(ID, "ann@remote.test", "tcp_local", "", 0, 0, people), 0, people, None, f"tcp_lmtpcs/003/ZZ{ID}0000.00"
    )
    cargo.pack()
    for known in (people, cargo.recipients):
        assert Matcher(Selection(recipients=(pattern,)), NOW).people(ENVELOPE, known, REPLIES.get) == (0,)
