"""Memory of one connection is bounded whatever SIZE says: 50 MiB stream to disk, what is only announced costs nothing."""

import smtplib
import threading
from pathlib import Path

import pytest

from posthouse.testing.tiers import RunningInstance
from support.journey_mail import mailboxes
from support.journey_tiers import append, journey, pids

LIMIT = 52_428_800
MIB = 1 << 20
LINE = b"0123456789" * 7 + b"\r\n"
FEW_MIB = 6


def peak(pid: int) -> float:
    """The most memory the process ever had, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def begin(store: RunningInstance, size: int, owner: str) -> smtplib.LMTP:
    """A connection that has announced so much and may send it."""
    client = smtplib.LMTP(store.address, store.port, timeout=60)
    client.ehlo("relay1")
    assert client.docmd(f"MAIL FROM:<s@example.org> SIZE={size}")[0] == 250
    assert client.docmd(f"RCPT TO:<{owner}>")[0] == 250
    assert client.docmd("DATA")[0] == 354
    return client


def send_whole(client: smtplib.LMTP, size: int) -> tuple[int, bytes]:
    """So many octets, by the megabyte."""
    head = b"Subject: large\r\n\r\n"
    client.send(head)
    block = LINE * (MIB // len(LINE))
    left = size - len(head)
    while left > len(block):
        client.send(block)
        left -= len(block)
    client.send(b"x" * (left - 2) + b"\r\n.\r\n")
    return client.getreply()


def test_fifty_mebibytes_on_four_connections_stream_to_disk(tmp_path: Path) -> None:
    with journey(tmp_path, users=4, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        store.start()
        (worker,) = pids(store, "lmtp")
        for number in range(4):  # whatever is made once
            client = begin(store, 2 * MIB, f"user{number}")
            assert send_whole(client, 2 * MIB)[0] == 250
            client.close()
        before = peak(worker)
        answers: list[tuple[int, bytes]] = []

        def one(number: int) -> None:
            client = begin(store, LIMIT, f"user{number}")
            answers.append(send_whole(client, LIMIT))
            client.close()

        threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert sorted(answers) == [(250, b"2.5.0 <user%d> OK" % number) for number in range(4)]
        print(f"{peak(worker) - before:.1f} MiB more for four messages of 50 MiB")
        assert peak(worker) - before < 4 * FEW_MIB
        large = [found.octets for found in mailboxes([store]) if len(found.octets) > 3 * MIB]
        assert {len(octets) + octets.count(b"\n") for octets in large} == {LIMIT + len(b"Return-Path: <s@example.org>\r\n")}
        assert not list(store.folder.glob("data/store/primary/*/tmp/*"))


def test_what_is_only_announced_takes_no_memory_and_too_much_is_refused_at_mail(tmp_path: Path) -> None:
    with journey(tmp_path, users=1, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        store.start()
        (worker,) = pids(store, "lmtp")
        before = peak(worker)
        clients = [begin(store, LIMIT, "user0") for _ in range(90)]
        for client in clients:
            client.send(b"Subject: not yet\r\n")
        assert peak(worker) - before < 10
        for client in clients:
            client.close()
        with smtplib.LMTP(store.address, store.port, timeout=20) as client:
            client.ehlo("relay1")
            assert client.docmd(f"MAIL FROM:<s@example.org> SIZE={LIMIT + 1}") == (
                552, b"5.3.4 message size exceeds the limit of 52428800 octets",
            )  # fmt: skip
            assert client.docmd(f"MAIL FROM:<s@example.org> SIZE={LIMIT}")[0] == 250


@pytest.mark.parametrize(("setting", "size", "code"), [("1M", MIB, 250), ("1M", MIB + 1, 552)])
def test_the_limit_is_a_setting(tmp_path: Path, setting: str, size: int, code: int) -> None:
    with journey(tmp_path, users=1, stores=1, start=False) as tiers:
        (store,) = tiers.stores
        append(store, "store.conf", f"store.maxmessagesize = {setting}\n")
        store.start()
        with smtplib.LMTP(store.address, store.port, timeout=20) as client:
            client.ehlo("relay1")
            assert client.esmtp_features["size"] == str(MIB)
            assert client.docmd(f"MAIL FROM:<s@example.org> SIZE={size}")[0] == code
