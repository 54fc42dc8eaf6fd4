"""SRS: the way there and back, over several forwarders, and what is not believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.relay.routing.srs import Srs, SrsFault

OURS = Srs("example.com", (b"first secret of ours", b"an older one of ours"))
NEXT = Srs("next.test", (b"the secret of another",))
THIRD = Srs("third.test", (b"and of a third one here",))
DAY = 20_780


def test_there_and_back() -> None:
    made = OURS.rewritten("bob.b+x=y@Remote.test", DAY)
    assert made.startswith("SRS0=")
    assert made.endswith("=Remote.test=bob.b+x=y@example.com")
    assert OURS.reverse(made, DAY) == "bob.b+x=y@Remote.test"
    assert OURS.reverse(made.lower(), DAY + 21) == "bob.b+x=y@remote.test"


def test_over_three_forwarders() -> None:
    first = NEXT.rewritten("bob@remote.test", DAY)
    second = OURS.rewritten(first, DAY)
    third = THIRD.rewritten(second, DAY)
    assert second.startswith("SRS1=")
    assert third.startswith("SRS1=")
    assert third.count("@") == 1
    assert THIRD.reverse(third, DAY) == first
    assert OURS.reverse(second, DAY) == first
    assert NEXT.reverse(first, DAY) == "bob@remote.test"


@pytest.mark.parametrize("sender", ["", "bob", "bob@example.com", "SRS0=x@example.com", "bob@[192.0.2.1]", '"b b"@remote.test'])
def test_senders_left_alone(sender: str) -> None:
    assert OURS.rewritten(sender, DAY) == sender


def test_an_older_secret_is_believed() -> None:
    old = Srs("example.com", OURS.secrets[1:])
    assert OURS.reverse(old.rewritten("bob@remote.test", DAY), DAY) == "bob@remote.test"


@pytest.mark.parametrize(
    "address", ["SRS0=AAAAAAAA=AA=remote.test=bob@example.com", "SRS0==@example.com", "SRS0=@example.com", "srs1=x=y@example.com"]
)
def test_forgeries(address: str) -> None:
    with pytest.raises(SrsFault):
        OURS.reverse(address, DAY)


def test_after_the_days() -> None:
    made = OURS.rewritten("bob@remote.test", DAY)
    for days in (22, 500, 1000):
        with pytest.raises(SrsFault):
            OURS.reverse(made, DAY + days)
    with pytest.raises(SrsFault):
        OURS.reverse(made, DAY - 1)


@pytest.mark.parametrize("address", ["bob@example.com", "SRS0=AAAA=AA=r.test=b@remote.test", "srs0@example.com", "x"])
def test_other_addresses_are_none_of_its_business(address: str) -> None:
    assert OURS.reverse(address, DAY) is None


@given(st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,40}", fullmatch=True), st.integers(0, 1 << 20))
def test_every_sender_comes_back(local: str, day: int) -> None:
    sender = f"{local}@remote.test"
    back = OURS.reverse(OURS.rewritten(sender, day), day)
    assert back is not None
    if not local.upper().startswith(("SRS0", "SRS1")):
        assert back == sender
