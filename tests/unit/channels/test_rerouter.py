"""Where `queue reroute` sends whom, and who stays: folders, scripts, forwards, groups, ways to other machines."""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from posthouse.mail.envelope import Recipient
from posthouse.mail.message_id import MessageIds
from posthouse.relay.channels.rerouter import Rerouter
from posthouse.relay.channels.settings import read_all
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.job_controller.backoff import Verdict
from posthouse.relay.job_controller.protocol import Job, Lease, Result, Upward
from posthouse.relay.notices.notifier import Wording
from posthouse.relay.queue.recovery import recover
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.routing.result import ON_HOLD
from posthouse.testing.failing_disk import FailingDisk, disk_full
from posthouse.trace.counters import Counters
from posthouse.trace.options import LogOptions
from posthouse.trace.writer import TransactionLog
from support.crash_orders import AtOnce
from support.jobs_relay import LDIF
from support.queue_world import Accepting, make_folders, message, open_places
from support.relay_files import OPTIONS, relay_configuration

BODY = b"Subject: s\r\n\r\ntext\r\n"
TREE, ANN = LDIF[: LDIF.index("dn: uid=ann")], LDIF[LDIF.index("dn: uid=ann") :].replace("store1", "store2")
SCRIPT = 'mailSieveRuleSource: require "fileinto"; fileinto "Elsewhere"; redirect "ann@example.net";\n'
FORWARDS = "mailDeliveryOption: forward\nmailForwardingAddress: ann@example.net\n"
PROGRAM = "mailDeliveryOption: program\nmailProgramDeliveryInfo: print\n"
GENERAL = {"general.txt": "lmtp|store1.example.com yes\n"}
"""store2 has a full MTA"""


class World:
    """A worker that is given orders."""

    def __init__(self, folder: Path, more: str, general: bool) -> None:
        tables = "USE_TEXT_DATABASES=1\n" if general else ""
        ann = ANN.replace("mailUserStatus: active\n", "") if "mailUserStatus" in more else ANN
        people = {"people.ldif": TREE.lstrip() + ann.rstrip("\n") + "\n" + more, **(GENERAL if general else {})}
        configuration = relay_configuration(folder, options=OPTIONS + "LDAP_LDIF_FILE=people.ldif\n" + tables, more=people)
        disk = self.disk = FailingDisk()
        root = disk.open_dir(str(folder))
        make_folders(disk, root)
        disk.close(root)
        self.places = open_places(disk, str(folder))
        (folder / "log").mkdir()
        (folder / "counters").mkdir()
        rules = routing_rules.compile(configuration, chance=lambda: 0.0, clock=lambda: 0.0)
        options = LogOptions.from_options(configuration.options.integer)
        counters = Counters(folder / "counters", asyncio.get_running_loop().call_later)
        log = TransactionLog(folder / "log", options, [], counters)
        wording = Wording.from_configuration(configuration, "relay1.example.com")
        self.told: list[Upward] = []
        self.fault: Callable[[str, str], OSError | None] | None = None
        shop = Workshop(
            asyncio.get_running_loop(), configuration, rules, read_all(configuration), self.places, log,
            AtOnce(disk, self.places.journal), "relay1.example.com", wording, self.told.extend,
        )  # fmt: skip
        self.given = asyncio.Event()
        self.shop = shop
        self.rerouter = Rerouter(shop, MessageIds(lambda: 1_700_000_000.0, secrets.randbits), self.given.set)

    async def reroute(self, **fields: Any) -> tuple[Result, list[Recipient]]:
        """Ann's waiting recipient with these fields; what is told, and what waits afterwards beside it."""
        envelope = message(1, size=len(BODY), channel=fields.get("channel", "tcp_lmtpcs"))
        plain = {"host": "store1.example.com.lmtp", "intermediate": "ann@example.com", "original": "team@example.com"}
        person = msgspec.structs.replace(envelope.recipients[0], **{**plain, **fields})
        accepting = Accepting(self.places.disk, self.places.journal)
        (ref,) = accepting.accept([(msgspec.structs.replace(envelope, recipients=(person,)), BODY)])
        accepting.end()
        self.disk.fault = self.fault
        self.rerouter.put(Lease(1, Job.REROUTE, person.channel, person.host, 0, ref, "", (0,), 0, instant=True))
        await asyncio.wait_for(self.given.wait(), 20)
        self.shop.flush()
        self.disk.fault = None
        self.shop.enqueuer.stop()
        (result,) = [each for each in self.told if isinstance(each, Result)]
        found = recover(self.places, 1_700_000_100.0)
        return result, [each for copy in found.copies for each in copy.recipients if copy.envelope.id != envelope.id]


@pytest.fixture
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    more, general = getattr(request, "param", ("", False))
    world = World(tmp_path, more, general)
    yield world
    world.places.close()


def lmtp(local: str, store: str = "store1") -> str:
    return f"@{store}.example.com.lmtp:{local}@lmtpcs-daemon"


@pytest.mark.parametrize("world", [(SCRIPT + FORWARDS + PROGRAM, False)], indirect=True)
@pytest.mark.parametrize(
    ("before", "after", "flags"),
    [
        (("ann", "ann@example.com", 0), "ann", 0),
        (("ann+Lists.a", "ann@example.com", 3), "ann+Lists.a", 3),
        (("ann+Lists.a", "ann+other@example.com", 3), "ann+Lists.a", 3),
        (("ann", "ann+other@example.com", 2), "ann", 2),
        (("ann+other", "ann+other@example.com", 2), "ann+other", 2),
    ],
)
async def test_only_the_mailbox_is_asked_for_and_the_folder_stays(
    world: World, before: tuple[str, str, int], after: str, flags: int
) -> None:
    local, asked, given = before
    result, made = await world.reroute(address=lmtp(local), intermediate=asked, flags=given, imap_flags=r"\Seen")
    assert (result.verdict, result.settled, result.code, result.text) == (Verdict.DONE, ((0, "D"),), 0, "")
    (new,) = made
    assert (new.channel, new.address) == ("tcp_lmtpcs", lmtp(after, "store2"))
    assert (new.flags, new.imap_flags, new.original) == (flags, r"\Seen", "team@example.com")


@pytest.mark.parametrize("world", [("mailUserStatus: hold\n", False)], indirect=True)
async def test_a_user_who_is_on_hold_by_now_has_it_held(world: World) -> None:
    result, (new,) = await world.reroute(address=lmtp("ann"))
    assert result.verdict is Verdict.DONE
    assert (new.channel, new.address, new.held) == ("hold", "@hold-daemon:ann@example.com", True)


OPERATOR, LOOP = "held by an operator", "held: it goes in circles"


@pytest.mark.parametrize("world", [("mailUserStatus: hold\n", False)], indirect=True)
@pytest.mark.parametrize(("why", "because"), [("", OPERATOR), (OPERATOR, OPERATOR), (LOOP, LOOP)])
async def test_what_was_held_stays_so_for_that_reason_also_for_a_user_on_hold(world: World, why: str, because: str) -> None:
    result, (new,) = await world.reroute(address=lmtp("ann"), held=True, why=why)
    assert result.verdict is Verdict.DONE
    assert (new.channel, new.held, new.why) == ("hold", True, because)


@pytest.mark.parametrize(("why", "held"), [("", False), (ON_HOLD, False), (OPERATOR, True), (LOOP, True)])
async def test_when_the_user_is_well_again_only_what_was_held_for_another_reason_stays_held(
    world: World, why: str, held: bool
) -> None:
    address = "@hold-daemon:ann@example.com"
    result, (new,) = await world.reroute(channel="hold", host="hold-daemon", address=address, held=True, why=why)
    assert result.verdict is Verdict.DONE
    assert (new.address, new.held, new.why) == (lmtp("ann", "store2"), held, why if held else "")


TWICE = "store2.example.com would do again what the user wants beside his mailbox"


@pytest.mark.parametrize(
    ("world", "stays"),
    [(("", True), ""), ((SCRIPT, True), TWICE), ((FORWARDS, True), TWICE)],
    indirect=["world"],
)
async def test_a_machine_that_expands_itself_gets_who_has_a_mailbox_only(world: World, stays: str) -> None:
    result, made = await world.reroute(address=lmtp("ann"))
    assert result.text == (f"team@example.com: {stays}" if stays else "")
    assert (result.verdict, result.code) == (Verdict.AGAIN if stays else Verdict.DONE, 0)
    assert [(each.channel, each.address) for each in made] == (
        [] if stays else [("tcp_intranet", "@store2.example.com:ann@example.com")]
    )


SMTP = {"channel": "tcp_intranet", "address": "@store1.example.com:ann@example.com", "intermediate": "", "host": "store1"}


@pytest.mark.parametrize("world", [(SCRIPT, True)], indirect=True)
async def test_mail_on_its_way_to_another_machine_goes_to_the_one_that_is_his_now(world: World) -> None:
    result, (new,) = await world.reroute(**SMTP)
    assert (result.verdict, result.text) == (Verdict.DONE, "")
    assert (new.channel, new.address) == ("tcp_intranet", "@store2.example.com:ann@example.com")


@pytest.mark.parametrize(
    ("world", "folder", "onward"),
    [((SCRIPT, False), "+Elsewhere", "process"), ((FORWARDS, False), "", "tcp_local")],
    indirect=["world"],
)
async def test_what_has_not_been_done_for_a_user_yet_is_done(world: World, folder: str, onward: str) -> None:
    result, made = await world.reroute(**SMTP)
    assert result.verdict is Verdict.DONE
    wanted = {(onward, "ann@example.net"), ("tcp_lmtpcs", lmtp(f"ann{folder}", "store2"))}
    assert {(each.channel, each.address) for each in made} == wanted
    assert len(made) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"channel": "tcp_local", "address": "sue@example.net", "intermediate": "ann@example.com"},
        {"channel": "pipe", "address": "ann%print@pipe-daemon"},
        {"channel": "process", "address": "ann@example.com"},
        {"channel": "bitbucket", "address": "ann+day@bitbucket", "answers": True},
        {"address": lmtp("ann"), "intermediate": ""},
    ],
)
async def test_what_waits_for_no_mailbox_stays(world: World, fields: dict[str, Any]) -> None:
    result, made = await world.reroute(**fields)
    assert (result.verdict, result.settled, result.code, made) == (Verdict.AGAIN, (), 0, [])
    assert result.text == "team@example.com does not wait for a user's mailbox"


async def test_who_has_not_moved_stays_without_a_word(world: World) -> None:
    result, made = await world.reroute(address=lmtp("ann", "store2"))
    assert (result.verdict, result.settled, result.text, made) == (Verdict.AGAIN, (), "", [])


async def test_on_a_full_disk_it_stays_where_it_is(world: World) -> None:
    world.fault = disk_full
    result, made = await world.reroute(address=lmtp("ann"))
    assert (result.verdict, result.settled, result.code, made) == (Verdict.AGAIN, (), 451, [])
    assert "No space left on device" in result.text


async def test_who_cannot_be_marked_is_told_of_and_stays_to_do(world: World) -> None:
    def fault(operation: str, name: str) -> OSError | None:
        marks = operation == "pwrite" and name.endswith(".seg")  # a segment of its own is written before it has that name
        return OSError(errno.EIO, os.strerror(errno.EIO)) if marks else None

    world.fault = fault
    result, made = await world.reroute(address=lmtp("ann"))
    assert (result.settled, result.code, result.text) == ((), 451, "delivered, but the queue could not be written")
    assert [each.host for each in made] == ["store2.example.com.lmtp"], "it is durable and goes twice rather than never"
