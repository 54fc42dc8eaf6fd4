"""What a user's Sieve script is run with."""

from posthouse.relay.directory.question import Entry, Kind
from posthouse.relay.routing.user_filter import UserFilter, user_filter

ADDRESSES = {"mail": ("John.Doe@Example.com",), "mailalternateaddress": ("jd@example.com", "@example.net", "jd@EXAMPLE.com")}


def test_his_addresses_are_those_that_name_him_alone() -> None:
    entry = Entry("uid=JDoe", Kind.USER, "JDoe", {**ADDRESSES, "mailsieverulesource": ("keep;",)})
    both = ("john.doe@example.com", "jd@example.com")
    assert user_filter(entry, "") == UserFilter("jdoe", "John.Doe@Example.com", both, "keep;", joined=False)
    hosted = user_filter(entry, "Example.com")
    assert hosted is not None
    assert hosted.owner == "jdoe@example.com"
    assert user_filter(Entry("uid=JDoe", Kind.USER, "JDoe", ADDRESSES), "") is None
