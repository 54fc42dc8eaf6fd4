"""An expansion that ends between two of its steps and begins again: what was enqueued before is not enqueued again."""

import asyncio
import secrets
from pathlib import Path

import msgspec

from posthouse.journal.disk import LinuxDisk
from posthouse.mail.message_id import MessageIds
from posthouse.mail.task import Told, encode_task
from posthouse.relay.channels.expander import Expander
from posthouse.relay.channels.settings import read_all
from posthouse.relay.channels.workshop import Workshop
from posthouse.relay.notices.notifier import Wording
from posthouse.relay.queue.copy_ref import JournalCopy
from posthouse.relay.queue.open_copy import OpenRecord
from posthouse.relay.queue.recovery import recover
from posthouse.relay.routing import rules as routing_rules
from posthouse.relay.routing.list_edit import ListEdit
from posthouse.relay.routing.result import Target
from posthouse.trace.counters import Counters
from posthouse.trace.options import LogOptions
from posthouse.trace.writer import TransactionLog
from support.crash_orders import AtOnce
from support.queue_world import Accepting, make_folders, message, open_places
from support.relay_files import relay_configuration

BODY = b"Subject: s\r\n\r\ntext\r\n"
PLAIN = Target("tcp_local", "ann@other.test", "other.test", listed=True)
EDITED = Target("tcp_local", "bob@other.test", "other.test", listed=True, edit=ListEdit(suffix="-- the list\n"))
TOLD = encode_task(Told(final=False))


def _shop(folder: Path) -> Workshop:
    configuration = relay_configuration(folder)
    disk = LinuxDisk()
    root = disk.open_dir(str(folder))
    make_folders(disk, root)
    disk.close(root)
    places = open_places(disk, str(folder))
    (folder / "log").mkdir()
    rules = routing_rules.compile(configuration, chance=lambda: 0.0, clock=lambda: 0.0)
    counters = Counters(folder / "counters", asyncio.get_running_loop().call_later)
    log = TransactionLog(folder / "log", LogOptions.from_options(configuration.options.integer), [], counters)
    wording = Wording.from_configuration(configuration, "relay1.example.com")
    return Workshop(
        asyncio.get_running_loop(), configuration, rules, read_all(configuration), places, log,
        AtOnce(disk, places.journal), "relay1.example.com", wording, lambda _messages: None,
    )  # fmt: skip


def _asked(shop: Workshop) -> OpenRecord:
    """A message to a group whose sender wants to hear of success, and waits on reprocess."""
    envelope = message(1, size=len(BODY), channel="reprocess")
    asks = msgspec.structs.replace(envelope.recipients[0], notify="SUCCESS", original="list@example.com")
    accepting = Accepting(shop.places.disk, shop.places.journal)
    (ref,) = accepting.accept([(msgspec.structs.replace(envelope, recipients=(asks,)), BODY)])
    accepting.end()
    return OpenRecord(shop.places, JournalCopy(ref.segment, ref.offset, 0))


async def _expand(shop: Workshop, opened: OpenRecord) -> None:
    """All steps, and then a crash: the recipient is not marked."""
    ids = MessageIds(lambda: 1_700_000_000.0, secrets.randbits)
    expander = Expander(shop, ids, opened, "tcp_local", "reprocess", asyncio.Semaphore(1))
    await expander.begin(opened.recipients[0], resumed=True)
    await expander.add([PLAIN, EDITED])
    expander.end(accepted=True)
    await expander.settle()
    await expander.close(settled=False)


async def test_a_step_that_is_written_down_is_not_made_again(tmp_path: Path) -> None:
    shop = _shop(tmp_path)
    opened = _asked(shop)
    await _expand(shop, opened)
    await _expand(shop, opened)
    shop.enqueuer.stop()
    waiting = [each for copy in recover(shop.places, 1_700_000_100.0).copies for each in copy.recipients]
    found = sorted(each.address for each in waiting if each.channel == "tcp_local")
    assert found == ["ann@other.test", "bob@other.test", "bob@other.test"]  # the last step is not written down
    assert [each.task for each in waiting if each.channel == "process"] == [TOLD]
    opened.close()
    shop.places.close()
