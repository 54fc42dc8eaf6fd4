"""What an SMTP worker says keeps it from taking mail: from when on, in which words, until when."""

import errno
from collections.abc import Sequence

import pytest

from posthouse.dispatcher.trouble import Trouble, gathered
from posthouse.relay.smtp_server import troubles as module
from posthouse.relay.smtp_server.data import disk_reply
from posthouse.relay.smtp_server.troubles import Troubles
from posthouse.testing.directory import MemoryDirectory

FULL = OSError(errno.ENOSPC, "No space left on device")


class Said:
    """What is told at a time of our own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: Sequence[Trouble] = ()
        self.troubles = Troubles(self._tell, lambda: self.now)
        self.directory = MemoryDirectory("dn: o=x\nobjectClass: organization\no: x\n")

    def _tell(self, troubles: Sequence[Trouble]) -> None:
        self.told = troubles

    def at(self, now: float, journal: OSError | None = None) -> list[tuple[str, float, str]]:
        self.now = now
        self.troubles.look(self.directory, journal)
        return [(each.what, each.since, each.text) for each in self.told]


@pytest.fixture
def said() -> Said:
    return Said()


async def test_a_directory_that_is_down_is_told_since_then_and_asked_meanwhile(said: Said) -> None:
    assert said.at(1000.0) == []
    said.directory.failing = "down: ldap://a: refused"
    text = "no directory server answers (ldap://a: refused): recipients that are not in the cache get 450"
    assert said.at(1001.0) == said.at(1009.0) == [("directory", 1001.0, text)]
    said.directory.failing = ""
    assert said.at(1010.0) == []


async def test_an_ldif_file_that_is_bad_is_told_and_one_of_several_servers_is_not(said: Said) -> None:
    said.directory.failing = "old content in use: people.ldif:3: there is no colon"
    assert [text for *_, text in said.at(1.0)] == ["directory: old content in use: people.ldif:3: there is no colon"]
    said.directory.failing = "degraded: ldap://b: refused"
    assert said.at(2.0) == []


def test_refusals_count_until_none_has_come_for_a_while_and_the_journal_can_grow(said: Said) -> None:
    early = "the journal cannot grow (No space left on device): senders get 452 when its last segment is full"
    assert said.at(1000.0, FULL) == [("queue", 1000.0, early)]
    said.troubles.refused(FULL, disk_reply(FULL))
    late = "mail is refused (No space left on device): senders get 452"
    assert said.at(1001.0, FULL) == [("queue", 1000.0, late)]
    assert said.at(1002.0 + module.KEPT, FULL) == [("queue", 1000.0, late)], "it still cannot grow"
    assert said.at(1003.0 + module.KEPT) == []
    fault = OSError(errno.EIO, "Input/output error")
    said.troubles.refused(fault, disk_reply(fault))
    assert said.at(1100.0) == [("queue", 1100.0, "mail is refused (Input/output error): senders get 451")]


def test_what_several_workers_say_is_said_once_since_the_first() -> None:
    said = [Trouble("queue", 5.0, "full"), Trouble("directory", 4.0, "down"), Trouble("queue", 3.0, "full")]
    assert gathered(said) == [Trouble("queue", 3.0, "full"), Trouble("directory", 4.0, "down")]
