"""Two workers of one store on the same mailboxes: locks, sums and segments hold."""

import asyncio
from pathlib import Path

import pytest

from posthouse.config.configuration import load
from posthouse.config.fault import Severity
from posthouse.store.lmtp_server.settings import check
from posthouse.store.mailbox.base_name import notice_seconds
from support.store_files import LmtpTalk, running_store, store_instance

GOOD = b"Subject: hello\r\n\r\ntext\r\n"


async def test_two_workers_and_an_imap_server_keep_one_sum(tmp_path: Path) -> None:
    instance = store_instance(tmp_path, "store.defaultmessagequota = 150")
    root = instance.store / "primary" / "bob"
    async with running_store(instance) as (_, one), running_store(instance) as (_, two):
        first = await LmtpTalk.connect(one)
        await first.deliver(GOOD, "<bob>")
        imap = 0

        async def load(port: int, count: int) -> list[str]:
            nonlocal imap
            client = await LmtpTalk.connect(port)
            answers = []
            for number in range(count):
                answers += await client.deliver(GOOD, "<bob>")
                if number in {0, 5, 10, 15}:  # a message is copied here by somebody else
                    with (root / "maildirsize").open("ab", buffering=0) as file:
                        file.write(b"100 1\n")
                    imap += 1
            await client.close()
            return answers

        answers = [answer for each in await asyncio.gather(*(load(port, 40) for port in (one, two, one, two))) for answer in each]
        assert imap == 16
        # 1 was there, 16 came by other ways: 133 of 160 fit into 150, none too many.
        assert answers.count("250 2.5.0 <bob> OK") == 133
        assert answers.count("422 4.2.2 <bob> Quota Exceeded") == 27
        await first.close()
    names = [path.name for path in (root / "new").iterdir()]
    assert len(names) == len(set(names)) == 134
    lines = (root / "maildirsize").read_text().splitlines()[1:]
    assert sum(int(line.split()[1]) for line in lines) == 150
    assert not list(instance.journal.iterdir())


async def test_two_workers_tell_an_owner_once(tmp_path: Path) -> None:
    instance = store_instance(tmp_path, "store.defaultmessagequota = 20", "store.quotanotification = on", "store.quotawarn = 10")
    owners = [f"user{number}" for number in range(5)]
    async with running_store(instance) as (_, one), running_store(instance) as (_, two):

        async def load(port: int) -> None:
            client = await LmtpTalk.connect(port)
            for _ in range(6):
                await client.deliver(GOOD, *(f"<{owner}>" for owner in owners))
            await client.close()

        await asyncio.gather(*(load(port) for port in (one, two, one, two)))
    for owner in owners:
        names = [path.name for path in (instance.store / "primary" / owner / "new").iterdir()]
        assert sum(notice_seconds(name) is not None for name in names) == 1
        assert len(names) == 21


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("tcp_lmtpss", []), ("tcp_other", [("dispatcher.cnf", Severity.ERROR)]), ("l", [("dispatcher.cnf", Severity.WARNING)])],
)
def test_check_wants_an_lmtp_channel(tmp_path: Path, channel: str, expected: list[tuple[str, Severity]]) -> None:
    instance = store_instance(tmp_path)
    dispatcher = instance.config / "dispatcher.cnf"
    dispatcher.write_text(dispatcher.read_text().replace("tcp_lmtpss\n", f"{channel}\n"))
    imta = instance.config / "imta.cnf"
    imta.write_text(imta.read_text() + "\nl logging\nlocal-daemon\n")
    try:
        faults = check(load(instance))
    except Exception as error:
        faults = list(getattr(error, "faults", ()))
    assert [(Path(fault.file).name, fault.severity) for fault in faults] == expected
