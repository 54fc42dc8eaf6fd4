"""Senders' addresses become primary ones: octet for octet in the header, on the envelope, and only where that is wanted."""

import asyncio
import base64
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from posthouse.cli.demo.samples import people
from posthouse.config.instance import Instance
from posthouse.relay.directory.directory import Directory
from posthouse.relay.directory.drive import drive
from posthouse.relay.directory.question import Answer, NeedEntry, Question, Unknown
from posthouse.relay.routing.rules import Rules
from posthouse.relay.smtp_server import backward
from posthouse.relay.smtp_server.relay import Relay
from posthouse.testing.directory import MemoryDirectory
from support.relay_files import OPTIONS, relay_rules
from support.smtp_world import Client, Queued, SmtpWorld, relay_files

REVERSE = "REVERSE_URL=ldap:///$V?$N?sub?$R\n"
PRIMARY, GIVEN = "john.doe@example.com", "jd@example.com"
BODY = b'From: "jd@example.com" <jd@example.com>\r\nTo: jd@example.com\r\nSubject: x\r\n\r\nFrom: jd@example.com\r\n'
MENDED = b'From: "jd@example.com" <john.doe@example.com>\r\nTo: jd@example.com\r\nSubject: x\r\n\r\nFrom: jd@example.com\r\n'
MANY = b"0123456\r\n" * 50_000
TRACE = re.compile(rb"Received: [^\r]+\r\n by [^\r]+\r\n(?: for [^\r]+\r\n)?")


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Rules:
    return relay_rules(tmp_path_factory.mktemp("rules"), options=OPTIONS + REVERSE)


def never() -> bool:
    return False


async def reversed_header(rules: Rules, header: bytes, *, utf8: bool = False) -> bytes:
    found = await drive(backward.edits(rules, header, {}, never, utf8=utf8), MemoryDirectory(people()))
    return backward.apply(found, header)


@pytest.mark.parametrize("name", ["From", "sender", "Reply-To", "RESENT-FROM", "Resent-Sender", "Resent-Reply-To",
                                  "Disposition-Notification-To", "From "])  # fmt: skip
@pytest.mark.parametrize(
    "value",
    [
        b" %s", b"%s", b" <%s>", b"\r\n\t<%s>\r\n ", b' "Doe, John \\" <jd@example.com>" <%s> (at (home) jd@example.com)',
        b" =?utf-8?q?J=C3=B6?= <%s>", b" J\xc3\xb6 <%s>", b" J\xf6 \xff <%s>", b" jd@example.com <%s>", b" (x) %s (y)",
        b" a@b.test,\r\n %s, <%s>;", b" friends: %s, b <%s>;", b" <@relay.test:%s>", b" %s\xc2\xa0", b" ,,%s,",
    ],
)  # fmt: skip
async def test_an_address_changes_and_nothing_around_it(rules: Rules, name: str, value: bytes) -> None:
    line = name.encode() + b":" + value + b"\r\n"
    header = b"Subject: jd@example.com\r\n" + line + b"To: <jd@example.com>\r\nX-From: jd@example.com\r\n"
    there = header.replace(line, line.replace(b"%s", b"john.doe@example.com"))
    assert await reversed_header(rules, header.replace(b"%s", b"jd@example.com")) == there
    assert await reversed_header(rules, there) == there


@pytest.mark.parametrize(
    "value",
    [
        b"jd @example.com", b"jd(x)@example.com", b"<jd@\r\n example.com>", b"<jd@example.com", b"jd@example.com jd@example.com",
        b'"jd@example.com"', b"(jd@example.com)", b"jd@example.com@example.com", b"jd", b"", b"<>", b"x:;", b"jd@[example.com]",
        b"\xffjd@example.com", b'"jd@example.com', b"jd@example.com\\", b"(((" * 100 + b"jd@example.com",
        b"jd@example.com" + b" " * 80 + b"x" * 905, b"a@elsewhere.test, nobody@example.com",
    ],
)  # fmt: skip
async def test_what_is_no_address_in_one_piece_stays(rules: Rules, value: bytes) -> None:
    header = b"From: " + value + b"\r\n"
    assert await reversed_header(rules, header) == header


async def test_a_line_never_becomes_too_long(rules: Rules) -> None:
    fits = b"From: <jd@example.com> (" + b"x" * (998 - 24 - 6 - 1) + b")\r\n"
    assert await reversed_header(rules, fits) == fits.replace(b"jd@", b"john.doe@")
    longer = fits.replace(b"x)", b"xx)")
    assert await reversed_header(rules, longer) == longer
    folded = longer.replace(b"(", b"\r\n (")
    assert await reversed_header(rules, folded) == folded.replace(b"jd@", b"john.doe@")


async def test_a_message_full_of_addresses_asks_for_some(rules: Rules) -> None:
    directory = MemoryDirectory(people(), at_hand=False)
    header = b"From: " + b",\r\n ".join(b"jd+%d@example.com" % number for number in range(500)) + b"\r\n"
    found = await drive(backward.edits(rules, header, {}, never, utf8=False), directory)
    assert len(found) == backward.MOST
    assert len(directory.asked) == 1 + 2 * backward.MOST


async def test_a_slow_directory_is_not_asked_about_all_of_them(rules: Rules) -> None:
    directory = MemoryDirectory(people(), at_hand=False)
    first, *others = [b"jd+%d@example.com" % number for number in range(backward.MOST)]
    header = b"From: " + b",\r\n ".join([first, *others, first]) + b"\r\n"
    found = await drive(backward.edits(rules, header, {}, lambda: len(directory.asked) > 3, utf8=False), directory)
    assert [header[edit.begin : edit.end] for edit in found] == [first, others[0]]
    assert len(directory.asked) == 5


async def test_one_address_ten_thousand_times_is_looked_at_some_times(rules: Rules) -> None:
    header = b"From: jd@example.com\r\n" * 10_000
    assert await reversed_header(rules, header) == header.replace(b"jd@", b"john.doe@", backward.MOST)


async def test_a_directory_is_not_asked_about_what_is_not_utf_8(rules: Rules) -> None:
    directory = MemoryDirectory(people(), at_hand=False)
    header = b'From: <\xff@example.com>, <jd@ex\xffample.com>,\r\n "\xed\xa0\x80"@example.com\r\n'
    assert await drive(backward.edits(rules, header, {}, never, utf8=True), directory) == ()
    assert directory.asked == []


# --- sessions ------------------------------------------------------------------------------------------------------------


def behind_trace(message: Queued) -> bytes:
    """The message without our field; its size is what the envelope says."""
    assert len(message.body) == message.envelope.size
    match = TRACE.match(message.body)
    assert match, message.body[:300]
    return message.body[match.end() :]


def sent(instance: Instance, body: bytes, *recipients: str, sender: str = GIVEN) -> Queued:
    with SmtpWorld(instance) as world:
        assert world.hello().message(body, *(recipients or (PRIMARY,)), sender=sender).startswith("250 ")
        (message,) = world.queued()
    return message


@pytest.mark.parametrize("more", [b"", MANY], ids=["whole", "streamed"])
class TestSessions:
    def test_envelope_and_header(self, tmp_path: Path, more: bytes) -> None:
        message = sent(relay_files(tmp_path, option_dat=REVERSE), BODY + more)
        assert message.envelope.sender == PRIMARY
        assert behind_trace(message) == MENDED + more
        assert [each.sender for each in message.envelope.recipients] == [""]

    def test_the_end_of_the_header_is_found_where_it_is_now(self, tmp_path: Path, more: bytes) -> None:
        body = BODY.replace(b"Subject: x", b"Message-ID: <jd@example.com>") + more
        message = sent(relay_files(tmp_path, option_dat=REVERSE), body)
        assert message.envelope.message_id == "<jd@example.com>"

    def test_a_slow_directory_is_asked_for_a_while(self, tmp_path: Path, more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backward, "SECONDS", -1.0)
        message = sent(relay_files(tmp_path, option_dat=REVERSE), BODY + more, sender="alice@outside.test")
        assert behind_trace(message) == BODY + more

    def test_off_without_the_option(self, tmp_path: Path, more: bytes) -> None:
        message = sent(relay_files(tmp_path), BODY + more)
        assert (message.envelope.sender, behind_trace(message)) == (GIVEN, BODY + more)

    def test_the_header_only(self, tmp_path: Path, more: bytes) -> None:
        message = sent(relay_files(tmp_path, option_dat=REVERSE + "REVERSE_ENVELOPE=0\n"), BODY + more)
        assert (message.envelope.sender, behind_trace(message)) == (GIVEN, MENDED + more)

    @pytest.mark.parametrize("sender", ["", "alice@outside.test", PRIMARY])
    def test_a_sender_who_stays_and_a_header_that_does_not(self, tmp_path: Path, more: bytes, sender: str) -> None:
        message = sent(relay_files(tmp_path, option_dat=REVERSE), BODY + more, sender=sender)
        assert (message.envelope.sender, behind_trace(message)) == (sender, MENDED + more)

    def test_channels_with_noreverse_get_what_was_written(self, tmp_path: Path, more: bytes) -> None:
        message = sent(noreverse(tmp_path), BODY + more, PRIMARY, "ann.smith@example.com")
        assert message.envelope.sender == PRIMARY
        assert [each.sender for each in message.envelope.recipients] == [GIVEN, GIVEN]
        assert behind_trace(message) == BODY + more

    def test_one_channel_that_wants_it_decides_for_the_header(self, tmp_path: Path, more: bytes) -> None:
        message = sent(noreverse(tmp_path), BODY + more, PRIMARY, "bob@example.com")
        assert {each.channel: each.sender for each in message.envelope.recipients} == {"tcp_lmtpcs": GIVEN, "tcp_local": ""}
        assert behind_trace(message) == MENDED + more

    def test_what_is_put_in_makes_no_message_too_large(self, tmp_path: Path, more: bytes) -> None:
        limit = {"tcp_lmtpcs": f"blocklimit {len(BODY + more)}"}
        instance = with_keywords(relay_files(tmp_path, option_dat=REVERSE + "BLOCK_SIZE=1\n"), limit)
        with SmtpWorld(instance) as world:
            client = world.hello()
            assert client.message(BODY + more, PRIMARY, sender=GIVEN).startswith("250 ")
            assert client.message(BODY + more + b"x\r\n", PRIMARY, sender=GIVEN).startswith("55")
            (message,) = world.queued()
        assert behind_trace(message) == MENDED + more

    def test_a_submission_loses_bcc_as_well(self, tmp_path: Path, more: bytes) -> None:
        instance = relay_files(
            tmp_path, keywords="submit mustsaslserver", options="AUTH_IN_CLEAR=1\n", passwords={"jdoe": "secret"},
            option_dat=REVERSE, imta="\ntcp_auth smtp\ntcp_auth-daemon\n",
        )  # fmt: skip
        head = b"Date: x\r\nMessage-ID: <y@z>\r\n"
        with SmtpWorld(instance) as world:
            client = world.hello()
            assert client.ask("AUTH PLAIN " + base64.b64encode(b"\0jdoe\0secret").decode()).startswith("235 ")
            assert client.message(b"Bcc: a@b.test\r\n" + head + BODY + more, PRIMARY, sender=GIVEN).startswith("250 ")
            (message,) = world.queued()
        assert behind_trace(message) == head + MENDED + more

    def test_line_ends_made_good_and_an_end_that_was_missing(self, tmp_path: Path, more: bytes) -> None:
        body = BODY.replace(b"\r\n", b"\n") + more
        message = sent(relay_files(tmp_path, option_dat=REVERSE, keywords="smtp_lf"), body + b"\r\n")
        assert behind_trace(message) == MENDED + more + b"\r\n"


def noreverse(folder: Path) -> Instance:
    return with_keywords(relay_files(folder, option_dat=REVERSE), {"tcp_lmtpcs": "noreverse"})


def with_keywords(instance: Instance, keywords: Mapping[str, str]) -> Instance:
    """The instance, with further keywords of these channels."""
    path = instance.config / "imta.cnf"
    text = path.read_text()
    for channel, words in keywords.items():
        assert f"\n{channel} " in text
        text = text.replace(f"\n{channel} ", f"\n{channel} {words} ")
    path.write_text(text)
    return instance


@pytest.mark.parametrize("keyword", ["", "noreverse"])
def test_from_access_is_asked_about_the_primary_address_and_has_the_last_word(tmp_path: Path, keyword: str) -> None:
    table = "\nFROM_ACCESS\n\n  *|SMTP/*|MAIL|*|john.doe@example.com|*  $Y$Jboss@example.com\n  *  $NNot$ you\n"
    with SmtpWorld(with_keywords(relay_files(tmp_path, option_dat=REVERSE, mappings=table), {"tcp_lmtpcs": keyword})) as world:
        client = world.hello()
        assert client.ask("MAIL FROM:<ann.smith@example.com>").startswith("550 5.7.1 Not you")
        assert client.message(BODY, PRIMARY, sender=GIVEN).startswith("250 ")
        (message,) = world.queued()
    assert message.envelope.sender == "boss@example.com"
    assert [each.sender for each in message.envelope.recipients] == [""], "whatever the channel"


@pytest.mark.parametrize("noreverse", ["", "noreverse"])
def test_scripts_see_the_primary_address(tmp_path: Path, noreverse: str) -> None:
    header = "" if noreverse else 'address :is "from" "john.doe@example.com", '
    script = f'require ["envelope", "reject"]; if allof ({header}envelope :is "from" "john.doe@example.com") {{ reject "seen"; }}'
    instance = relay_files(tmp_path, option_dat=REVERSE, keywords="sourcefilter file:IMTA_TABLE:seen.sieve")
    with_keywords(instance, {"tcp_lmtpcs": noreverse})
    (tmp_path / "relay" / "config" / "seen.sieve").write_text(script)
    with SmtpWorld(instance) as world:
        assert world.hello().message(BODY, PRIMARY, sender=GIVEN) == "550 5.7.1 seen"


# --- a directory that takes its time -------------------------------------------------------------------------------------


class Gated(MemoryDirectory):
    """Has no answer about one local part before the gate is opened; then what it knows, or Unknown."""

    def __init__(self, local: str, *, silent: bool = False) -> None:
        super().__init__(people())
        self._local, self._silent = local, silent
        self.gate = asyncio.Event()
        self.waiting = 0
        self.instead_of: Directory | None = None

    def cached(self, question: Question) -> Answer | None:
        return None if self._is_gated(question) else super().cached(question)

    async def answer(self, question: Question) -> Answer:
        if not self._is_gated(question):
            return await super().answer(question)
        self.waiting += 1
        await self.gate.wait()
        return Unknown("silent") if self._silent else await super().answer(question)

    async def close(self) -> None:
        assert self.instead_of is not None
        await self.instead_of.close()
        await super().close()

    def _is_gated(self, question: Question) -> bool:
        return isinstance(question, NeedEntry) and question.local == self._local


def gated(folder: Path, directory: Gated) -> SmtpWorld:
    def put(relay: Relay) -> None:
        directory.instead_of, relay.directory = relay.directory, directory

    return SmtpWorld(relay_files(folder, option_dat=REVERSE), prepare=put)


def begun(world: SmtpWorld, directory: Gated, octets: bytes) -> Client:
    """A client whose message waits for the directory."""
    client = world.hello()
    client.begin("ann.smith@example.com")
    client.send(octets)
    world.until(lambda: directory.waiting > 0)
    return client


@pytest.mark.parametrize("more", [b"", MANY], ids=["whole", "streamed"])
@pytest.mark.parametrize("silent", [False, True], ids=["slow", "silent"])
def test_others_go_on_meanwhile_and_nothing_is_refused(tmp_path: Path, more: bytes, silent: bool) -> None:
    directory = Gated("jd", silent=silent)
    with gated(tmp_path, directory) as world:
        client = begun(world, directory, (BODY + more)[:270_000] if more else BODY + b".\r\n")
        assert world.hello().message(b"Subject: y\r\n\r\n", PRIMARY).startswith("250 ")
        world.call(directory.gate.set)
        client.send((BODY + more)[270_000:] + b".\r\n" if more else b"")
        assert client.reply().startswith("250 ")
        assert client.ask("NOOP").startswith("250 ")
        found = [each for each in world.queued() if b"Subject: y" not in each.body]
    assert [behind_trace(each) for each in found] == [(BODY if silent else MENDED) + more]


@pytest.mark.parametrize("silent", [False, True])
def test_the_sender_of_envelope_and_header_is_asked_about_once(tmp_path: Path, silent: bool) -> None:
    directory = Gated("jd", silent=silent)
    directory.gate.set()
    with gated(tmp_path, directory) as world:
        assert world.hello().message(BODY, PRIMARY, sender=GIVEN).startswith("250 ")
        (message,) = world.queued()
    assert directory.waiting == 1
    assert (message.envelope.sender, behind_trace(message)) == ((GIVEN, BODY) if silent else (PRIMARY, MENDED))


def test_a_whole_body_that_streams_in_at_once(tmp_path: Path) -> None:
    directory = Gated("jd")
    body = BODY + MANY[: 262_144 + 100 - len(BODY)]
    with gated(tmp_path, directory) as world:
        client = begun(world, directory, body + b"\r\n.\r\n")
        world.call(directory.gate.set)
        assert client.reply().startswith("250 ")
        (message,) = world.queued()
    assert behind_trace(message) == MENDED + body[len(BODY) :] + b"\r\n"


def test_a_client_that_leaves_in_the_middle_of_the_body(tmp_path: Path) -> None:
    directory = Gated("jd")
    with gated(tmp_path, directory) as world:
        begun(world, directory, (BODY + MANY)[:270_000]).close()
        world.call(directory.gate.set)
        world.until(lambda: world.closed == 1)
        assert world.call(lambda: world.relay.memory.held) == 0
        assert list((world.instance.journal / "body").iterdir()) == []
        assert world.hello().message(BODY, PRIMARY, sender=GIVEN).startswith("250 ")
        (message,) = world.queued()
    assert message.envelope.sender == PRIMARY


def test_a_body_that_is_given_up_leaves_the_connection_as_it_was(tmp_path: Path) -> None:
    directory = Gated("jd")
    with gated(tmp_path, directory) as world:
        client = world.hello()
        client.send(b"MAIL FROM:<alice@outside.test>\r\nRCPT TO:<ann.smith@example.com>\r\n")
        assert [each[:3] for each in client.replies(2)] == ["250", "250"]
        client.send(b"BDAT 257000\r\n" + (BODY + MANY)[:257_000])
        assert client.reply().startswith("250 ")
        client.send(b"BDAT 1800\r\n" + MANY[:1800] + b"RSET\r\nNOOP\r\n")  # too much to stay in memory
        assert [each[:3] for each in client.replies(3)] == ["250", "250", "250"]
        assert directory.waiting == 1
        world.call(directory.gate.set)
        assert [client.ask("NOOP")[:3] for _ in range(3)] == ["250"] * 3
        assert client.message(BODY + MANY, PRIMARY, sender=GIVEN).startswith("250 ")
        assert len(list((world.instance.journal / "body").iterdir())) == 1
        (message,) = world.queued()
    assert behind_trace(message) == MENDED + MANY


def test_no_more_is_read_before_the_directory_has_answered(tmp_path: Path) -> None:
    directory = Gated("jd")
    with gated(tmp_path, directory) as world:
        client = begun(world, directory, (BODY + MANY)[:270_000])
        with pytest.raises(TimeoutError):
            client.send(b"0123456\r\n" * 3_000_000, patience=0.5)
        assert 258_048 <= world.call(lambda: world.relay.memory.held) <= 1 << 20
        client.close()
        world.call(directory.gate.set)
