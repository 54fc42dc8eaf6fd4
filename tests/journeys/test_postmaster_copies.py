"""What the postmaster hears: copies by keyword, double bounces once, and never a loop."""

from support.jobs_relay import JobsRelay, Start, until
from support.lmtp_sink import Sink

LOCAL = "ann@example.com"


def name_postmaster(relay: JobsRelay) -> None:
    """Mail for postmaster goes to joe, who is a user of store1."""
    config = relay.root / "config"
    (config / "aliases").write_text("postmaster: joe@example.com\n")
    people = (config / "people.ldif").read_text()
    ann = people[people.index("dn: uid=ann") :]
    (config / "people.ldif").write_text(people + "\n" + ann.replace("ann", "joe"))


async def begin(start: Start, keywords: str) -> JobsRelay:
    relay = await start(keywords=keywords)
    name_postmaster(relay)
    imta = relay.root / "config" / "imta.cnf"
    imta.write_text(imta.read_text().replace("defaults logging", f"defaults {keywords} logging"))
    relay.kill(15)
    await relay.ended()
    return await relay.start(writer=False)


def refuse(sink: Sink, *users: str) -> None:
    sink.script.rcpt = lambda address: f"550 5.1.1 <{address}> no such user" if address in users else f"250 2.1.5 <{address}> ok"


def bodies(sink: Sink, user: str) -> list[str]:
    return [taken.body.decode() for taken in sink.taken if taken.addresses == [user]]


async def test_a_copy_with_the_header_only(start: Start, sink: Sink) -> None:
    refuse(sink, "bob")
    relay = await begin(start, "copysendpost postheadonly")
    await relay.put("bob", sender=LOCAL)
    await relay.empty()
    await until(lambda: bodies(sink, "joe") and bodies(sink, "ann"))
    (copy,), (notice,) = bodies(sink, "joe"), bodies(sink, "ann")
    assert "Hello\r\n" in notice
    assert "Hello\r\n" not in copy
    for text in (copy, notice):
        assert "Diagnostic-Code: smtp;550 5.1.1 <bob> no such user" in text
    assert "To: postmaster@relay1.example.com\r\n" in copy
    await until(lambda: len([record for record in relay.records("E") if record["dc"] == "process"]) == 2)
    assert len(relay.records("R")) == 1


async def test_mail_of_the_null_sender_is_told_of_where_the_keywords_say_so(start: Start, sink: Sink) -> None:
    refuse(sink, "bob")
    relay = await begin(start, "errsendpost")
    await relay.put("bob", sender="")
    await relay.put("bob", sender=LOCAL)
    await relay.empty()
    await until(lambda: bodies(sink, "joe") and bodies(sink, "ann"))
    assert (len(bodies(sink, "joe")), len(bodies(sink, "ann"))) == (1, 1)
    why = "Remote SMTP server has rejected address"
    assert sorted(record["re"] for record in relay.records("R")) == [why, f"{why}; only the postmaster is told: null sender"]


async def test_a_postmaster_who_cannot_be_reached_is_not_told_of_that(start: Start, sink: Sink) -> None:
    refuse(sink, "bob", "joe", "ann")
    relay = await begin(start, "sendpost")
    await relay.put("bob", sender=LOCAL)
    await relay.empty()
    await until(lambda: len(relay.records("K")) == 2)
    notices = [record for record in relay.records("E") if record["dc"] == "process"]
    assert len(notices) == 3, "to ann, to the postmaster, and to the postmaster that ann could not be told"
    assert sink.taken == []
