"""What a rerouted copy keeps, what is left where it is, and that killing in the middle loses nothing (decision 170)."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from posthouse.dispatcher import lock
from posthouse.mail.envelope import Recipient
from posthouse.mail.task import Forward, encode_task
from support.jobs_relay import LDIF, JobsRelay, Start, command, full, until
from support.lmtp_sink import Sink

HOSTS = "127.0.0.1 store1.example.com store2.example.com\n"
ANN = LDIF[LDIF.index("dn: uid=ann") :]
FOLDER = r"fileinto @$4O:$U+$S@$D"
HOUR = 3600_000


def people(relay: JobsRelay, store: str, names: Sequence[str] = ("ann",), more: str = "") -> None:
    """The directory from now on: these users, with their mailboxes on a store."""
    entries = [ANN.replace("ann", name).replace("store1", store) + more for name in names]
    path = relay.root / "config" / "people.ldif"
    path.with_suffix(".new").write_text(LDIF[: LDIF.index("dn: uid=ann")].lstrip() + "\n".join(entries))
    path.with_suffix(".new").rename(path)


def recipient(place: int = 0, address: str = "ann", *, intermediate: str = "ann@example.com", **fields: object) -> Recipient:
    """Somebody whose mailbox is on store1."""
    values = {"original": "team@example.com", "quota": "1000,10", "flags": 2, **fields}
    host = "store1.example.com.lmtp"
    return Recipient(
        place, 0, "tcp_lmtpcs", f"@{host}:{address}@lmtpcs-daemon", host=host, intermediate=intermediate, **values,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("state", ["journal", "file", "held", "stopped"])
async def test_a_rerouted_copy_keeps_all_but_its_store(start: Start, sink: Sink, state: str) -> None:
    busy = state == "journal"
    reply = "420 4.2.1 <{}> Mailbox busy" if busy else "452 4.2.2 <{}> over quota"
    sink.script.final = lambda address, _: reply.format(address)
    relay = await start(hosts=HOSTS, keywords=FOLDER)
    people(relay, "store1")
    person = recipient(
        0, "ann+Work", intermediate="Ann+other@example.com", flags=3, notify="NEVER", orcpt="rfc822;team@example.com",
        imap_flags=r"\Seen", original="Team@Example.COM",
    )  # fmt: skip
    accepted = int(time.time() * 1000) - 2 * HOUR
    old = await relay.put_recipients([person], sender="list@example.net", enqueued=accepted, envid="QQ314", ret="HDRS")
    standing = "journal" if busy else "file"
    await relay.until_list(lambda copies: [c["state"] for c in copies if c["attempts"]] == [standing])
    if state == "held":
        command(relay, "hold", old)
    if state == "stopped":
        await relay.stop_writer()
        await relay.close()
    assert command(relay, "reroute", "--all")["unchanged"] == 1
    people(relay, "store2", more="mailQuota: 5000\n")
    answer = command(relay, "reroute", "--to", "team@*")
    assert (answer["done"], answer["unchanged"], answer["stayed"]) == (1, 0, []), answer
    if state == "stopped":
        await relay.start(writer=False)
    held = state == "held"
    (row,) = await relay.until_list(lambda copies: len(copies) == 1 and (not held or copies[0]["state"] == "held"))
    (copy,) = command(relay, "show", row["id"])
    assert copy["id"] != old
    assert copy["enqueued"] == time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(accepted // 1000)) + f".{accepted % 1000:03d}Z"
    assert (copy["sender"], copy["envid"], copy["ret"]) == ("list@example.net", "QQ314", "HDRS")
    (new,) = copy["states"]
    assert new["address"] == "@store2.example.com.lmtp:ann+Work@lmtpcs-daemon", "the folder a script has chosen"
    assert (new["original"], new["orcpt"], new["notify"]) == ("Team@Example.COM", "rfc822;team@example.com", "NEVER")
    assert (new["quota"], new["intermediate"]) == ("5000,-2", "Ann+other@example.com")
    if held:
        assert copy["why"] == "held by an operator"
        assert command(relay, "release", "--all")["done"] == 1
    full(sink)
    await relay.retry()
    await relay.empty()
    await until(lambda: [record["ho"] for record in relay.records("D") if record.get("tr")] == ["store2.example.com"])
    assert [command for command in sink.commands if command.startswith("RCPT")][-1].endswith("XDFLG=3")


async def test_who_stays_says_why(start: Start, sink: Sink) -> None:
    full(sink, "ann", "bob", "eve", "joe")
    relay = await start(hosts=HOSTS)
    people(relay, "store1", ["ann", "joe"])
    forward = encode_task(Forward("ann@example.com"))
    await relay.put_recipients(
        [recipient(0), recipient(1, "bob", intermediate="bob@example.com"), recipient(2, "eve", intermediate="")]
    )
    await relay.put_recipients([Recipient(0, 0, "tcp_local", "sue@example.net", "sue@example.net", "example.net")])
    await relay.put_recipients([Recipient(0, 0, "hold", "x@example.net", "joe@example.com", task=forward, held=True)])
    await relay.until_list(lambda copies: len(copies) == 3 and all(c["attempts"] or c["state"] == "held" for c in copies))
    people(relay, "store2", ["ann", "joe"])
    answer = command(relay, "reroute", "--all")
    assert (answer["copies"], answer["done"], answer["unchanged"], answer["failed"]) == (3, 1, 2, 0)
    (some,) = [text for text in answer["stayed"] if "550" in text]
    assert "unknown" in some
    assert some.endswith("(1 others stay, too)")
    assert sum("does not wait for a user's mailbox" in text for text in answer["stayed"]) == 2
    copies = await relay.copies()
    assert sorted(copy["host"] for copy in copies if copy["channel"] == "tcp_lmtpcs") == [
        "store1.example.com.lmtp", "store2.example.com.lmtp",
    ]  # fmt: skip


async def test_a_directory_that_does_not_answer_leaves_everything_where_it_is(start: Start, sink: Sink) -> None:
    full(sink, "ann")
    relay = await start(hosts=HOSTS)
    number = await relay.put_recipients([recipient()])
    await relay.until_list(lambda copies: [copy["state"] for copy in copies] == ["file"])
    await relay.stop_writer()
    await relay.close()
    option = relay.root / "config" / "option.dat"
    closed = "LDAP_HOST=127.0.0.1\nLDAP_PORT=9\nLDAP_TIMEOUT=2"
    option.write_text(option.read_text().replace("LDAP_LDIF_FILE=people.ldif", closed))
    before = relay.files()
    answer = command(relay, "reroute", "--all", code=70)
    assert (answer["done"], answer["failed"]) == (0, 1)
    assert answer["faults"][0].startswith(f"{number}: team@example.com: 450 4.3.0")
    assert relay.files() == before


COPIES = 60


@pytest.mark.parametrize("whom", ["controller", "worker"])
async def test_killed_in_the_middle_nothing_is_lost(start: Start, sink: Sink, whom: str) -> None:
    users = [f"user{at}" for at in range(COPIES)]
    full(sink, *users)
    relay = await start(hosts=HOSTS)
    supervisors = lock.take(relay.root / "data" / "lock")  # no command starts a controller of its own meanwhile
    people(relay, "store1", users)
    for user in users:
        await relay.put_recipients([recipient(0, user, intermediate=f"{user}@example.com", original=f"{user}@example.com")])
    await relay.until_list(lambda copies: [copy["state"] for copy in copies] == ["file"] * COPIES, 30)
    people(relay, "store2", users)
    words = [sys.executable, "-m", "posthouse.cli", "queue", "reroute", "--all", "--instance", str(relay.root)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as order:
        await until(lambda: len(relay.files()) < COPIES)
        await relay.strike(whom)
        order.wait(60)
    everybody = {f"{user}@example.com" for user in users}
    await relay.until_list(lambda copies: {c["recipients"][0]["original"] for c in copies} == everybody, 30)
    subprocess.run(words, capture_output=True, check=False, timeout=60)
    copies = await relay.until_list(lambda copies: {copy["host"] for copy in copies} == {"store2.example.com.lmtp"}, 30)
    assert {copy["recipients"][0]["original"] for copy in copies} == everybody
    assert len(copies) <= COPIES + 20, "twice at most what was under way"
    full(sink)
    async with asyncio.timeout(30):
        while await relay.copies():  # one that is under way with the old reply is not hurried by a retry
            await relay.retry()
    sent = {f"rfc822;{user}@example.com" for user in users}
    await until(lambda: {record["od"] for record in relay.records("D") if record.get("tr")} == sent)
    os.close(supervisors)
