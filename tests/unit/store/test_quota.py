"""Limits and the decision of message-store 4: a golden table, and properties."""

import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.mail.message_id import MessageIds, made_at
from posthouse.store.mailbox.maildirsize import SizeFile, Sizes, sum_changes
from posthouse.store.quota.decision import QuotaPolicy, Usage, Verdict, decide
from posthouse.store.quota.limits import GivenLimits, Limits, parse_limits
from posthouse.store.quota.saved import LENGTH, NOTHING_SAVED, SavedQuota, decode_saved
from posthouse.testing.crash_disk import CrashDisk
from support.store_files import LmtpTalk, running_store, store_instance
from support.store_world import World

BODY = b"Subject: x\r\n\r\nbody\r\n"
NOW = 1_000_000.0
STRICT = QuotaPolicy(enforced=True, overdraft=False, grace=3600.0)
D, E, P = Verdict.DELIVER, Verdict.EXCEEDED, Verdict.PERSISTENT


@pytest.mark.parametrize(
    ("usage", "size", "limits", "since", "verdict", "remembered"),
    [
        # exactly the limit is not over
        ((900, 1), 100, (1000, -1), None, D, None),
        ((900, 1), 101, (1000, -1), None, E, NOW),
        ((0, 9), 5, (-1, 10), None, D, None),
        ((0, 10), 5, (-1, 10), None, E, NOW),
        # unlimited is never compared
        ((1 << 60, 1 << 40), 5, (-1, -1), NOW - 9999, D, None),
        # 0 refuses for good at once
        ((0, 0), 1, (0, -1), None, P, None),
        ((0, 0), 1, (-1, 0), None, P, None),
        # larger than the whole quota is an ordinary refusal
        ((0, 0), 1001, (1000, -1), None, E, NOW),
        # grace
        ((1000, 1), 1, (1000, -1), NOW - 3599, E, NOW - 3599),
        ((1000, 1), 1, (1000, -1), NOW - 3600, P, NOW - 3600),
        # a delivery that fits forgets the grace period
        ((900, 1), 100, (1000, -1), NOW - 9999, D, None),
        # a clock that was set back, and will be right again; one that was wrong by more than a day begins the period anew
        ((1000, 1), 1, (1000, -1), NOW + 5 * 3600, E, NOW + 5 * 3600),
        ((1000, 1), 1, (1000, -1), NOW + 86_401, E, NOW),
    ],
)
def test_strict(
    usage: tuple[int, int], size: int, limits: tuple[int, int], since: float | None, verdict: Verdict, remembered: float | None
) -> None:
    decision = decide(Usage(*usage), size, Limits(*limits), since, STRICT, bypass=False, now=NOW)
    assert decision == (verdict, remembered)


@pytest.mark.parametrize(
    ("usage", "size", "verdict", "remembered"),
    [
        ((500, 1), 100, D, None),
        ((1000, 1), 100, D, NOW),  # may cross once
        ((1001, 1), 100, E, NOW),
        ((0, 1), 1001, E, NOW),  # itself larger than the quota
    ],
)
def test_overdraft(usage: tuple[int, int], size: int, verdict: Verdict, remembered: float | None) -> None:
    policy = QuotaPolicy(enforced=True, overdraft=True, grace=3600.0)
    assert decide(Usage(*usage), size, Limits(1000, -1), None, policy, bypass=False, now=NOW) == (verdict, remembered)


@pytest.mark.parametrize(("grace", "verdict"), [(0.0, P), (-1.0, E)])
def test_grace_zero_is_at_once_and_negative_never(grace: float, verdict: Verdict) -> None:
    policy = QuotaPolicy(enforced=True, overdraft=False, grace=grace)
    assert decide(Usage(5, 1), 9, Limits(5, -1), 1.0, policy, bypass=False, now=NOW).verdict is verdict


def test_the_grace_period_begins_with_what_xdflg_2_let_in_over_the_limit() -> None:
    assert decide(Usage(5, 1), 9, Limits(10, -1), None, STRICT, bypass=True, now=NOW) == (D, NOW)
    assert decide(Usage(14, 2), 9, Limits(10, -1), NOW - 5, STRICT, bypass=True, now=NOW) == (D, NOW - 5)


def test_xdflg_2_and_no_enforcement_deliver_always() -> None:
    off = QuotaPolicy(enforced=False, overdraft=False, grace=0)
    for limits in (Limits(0, 0), Limits(1, 1)):
        assert decide(Usage(50, 50), 9, limits, None, STRICT, bypass=True, now=NOW).verdict is D
        assert decide(Usage(50, 50), 9, limits, None, off, bypass=False, now=NOW).verdict is D


@given(st.integers(0, 5000), st.integers(0, 50), st.integers(1, 3000), st.integers(1, 4000), st.integers(1, 40), st.booleans())
def test_raising_a_limit_never_refuses_what_was_delivered(
    used: int, count: int, size: int, limit: int, messages: int, overdraft: bool
) -> None:
    policy = QuotaPolicy(enforced=True, overdraft=overdraft, grace=0)
    if decide(Usage(used, count), size, Limits(limit, messages), None, policy, bypass=False, now=NOW).verdict is D:
        for more in (Limits(limit + 1, messages), Limits(-1, messages), Limits(limit, -1), Limits(limit, messages + 1)):
            assert decide(Usage(used, count), size, more, None, policy, bypass=False, now=NOW).verdict is D


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000,10", (1000, 10)), ("-1,-1", (-1, -1)), ("-2,-2", (-2, -2)), ("0,0", (0, 0)), ("10K", (10240, None)),
        ("1m,5", (1 << 20, 5)), ("2G,", (2 << 30, None)), (",7", (None, 7)), ("5", (5, None)),
        (f"{(1 << 63) - 1},{1 << 63}", ((1 << 63) - 1, (1 << 63) - 1)), ("9999999999999G,1", ((1 << 63) - 1, 1)),
    ],
)  # fmt: skip
def test_xquota(text: str, expected: tuple[int | None, int | None]) -> None:
    assert parse_limits(text) == expected


@pytest.mark.parametrize("text", ["x", "1,2,3", "-3,0", "1.5,2", "1 ,2", "9" * 41, "1,2K", "\uff11,2"])
def test_bad_xquota(text: str) -> None:
    with pytest.raises(ValueError, match="not a quota"):
        parse_limits(text)


def test_halves_left_empty_stay() -> None:
    assert GivenLimits(None, 7).over(Limits(5, 6)) == (5, 7)
    assert GivenLimits(9, None).over(Limits(5, 6)) == (9, 6)
    assert Limits(-2, 4).resolved(Limits(100, 200)) == (100, 4)


_times = st.integers(0, 1 << 41)


_limit = st.integers(-2, (1 << 63) - 1)


@given(_limit, _limit, st.none() | st.integers(1, 1 << 41), st.tuples(_times, _times, _times, _times))
def test_what_is_saved_is_read_again(octets: int, messages: int, over: int | None, times: tuple[int, ...]) -> None:
    saved = SavedQuota(Limits(octets, messages), None if over is None else over / 1000, *(each / 1000 for each in times))
    encoded = saved.encode()
    assert len(encoded) == LENGTH
    assert decode_saved(encoded) == saved


def test_anything_else_is_nothing_saved() -> None:
    good = SavedQuota(Limits(5, 6), 7.0, 8.0).encode()
    assert decode_saved(b"") == NOTHING_SAVED
    for at in range(LENGTH):
        assert decode_saved(good[:at]) == NOTHING_SAVED
        changed = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        assert decode_saved(changed) in {NOTHING_SAVED, decode_saved(good)}


def test_what_was_saved_before_limits_had_a_time_is_read() -> None:
    text = b"PHQ2 5 6 7000 8000 9000 0 "
    old = (text + b"%08x" % zlib.crc32(text)).ljust(LENGTH - 1) + b"\n"
    assert decode_saved(old) == SavedQuota(Limits(5, 6), 7.0, 8.0, 9.0)


@given(st.lists(st.integers(0, 20), min_size=1), st.data())
def test_the_limits_known_last_stay_in_whatever_order_messages_come(known: list[int], data: st.DataObject) -> None:
    """The directory says 100 + N octets from the Nth day on; mail of these days comes from some relays, by and by."""
    saved, day = NOTHING_SAVED, 86_400.0
    for number in data.draw(st.permutations(known)):
        saved = saved.heard(GivenLimits(100 + number, -1), 1000.0 + number * day, Limits(-1, -1), 1000.0 + 21 * day)
    assert saved.limits == Limits(100 + max(known), -1)


def test_a_clock_that_was_ahead_and_is_put_right_ends_no_knowledge() -> None:
    given, defaults = GivenLimits(5, 5), Limits(-1, -1)
    relays = NOTHING_SAVED.heard(GivenLimits(9, 9), 1e10, defaults, 2e9)  # the relay's clock
    assert relays.heard(given, 2e9 + 1, defaults, 2e9 + 1).limits == (5, 5)
    assert relays.heard(given, 2e9 - 1, defaults, 2e9 + 1) is relays
    ours = NOTHING_SAVED.heard(GivenLimits(9, 9), 2e9, defaults, 2e9)
    assert ours.heard(given, 1e9, defaults, 1e9).limits == (5, 5)
    assert ours.heard(GivenLimits(9, 9), 1e9, defaults, 1e9).told == 1e9


def test_limits_that_stay_the_same_are_not_written_with_each_message_of_a_relay_whose_clock_is_days_behind() -> None:
    given, defaults = GivenLimits(5, 5), Limits(-1, -1)
    saved = NOTHING_SAVED.heard(given, 1e9, defaults, 2e9)
    assert saved.heard(given, 1e9 + 3600, defaults, 2e9 + 3600) is saved


@pytest.mark.parametrize("other", [b"", b"0" * 18, b"0" * 19 + b".1", b"0" * 18 + b".x", b"0" * 18 + b"-0000.1", b"0.1"])
def test_only_an_id_of_ours_says_when_a_message_was_taken(other: bytes) -> None:
    made = MessageIds(lambda: 1_800_000_000.25, lambda bits: bits).next().encode()
    assert made_at(made + b".12") == 1_800_000_000.25
    assert made_at(other) is None


_LINE = re.compile(rb"[ \t]*([+-]?[0-9]{1,20})[ \t]+([+-]?[0-9]{1,20})[ \t\r]*")
_changes = st.lists(st.tuples(st.integers(-(10**15), 10**15), st.integers(-5, 5)), max_size=8)
_lines = _changes.map(lambda changes: b"".join(b"%d %d\n" % each for each in changes))
_SCRAPS = (b"1 2\n", b"-3 -1\n", b"0", b"7", b"-", b"+", b" ", b"\t", b"\r", b"\n", b"x", b"\0")
_scraps = st.lists(st.sampled_from(_SCRAPS), max_size=9)


@given(_lines | _scraps.map(b"".join) | st.tuples(_lines, st.binary(max_size=3)).map(b"".join), st.sampled_from([b"", b"3C\n"]))
def test_changes_are_summed_as_line_by_line(lines: bytes, head: bytes) -> None:
    *each, rest = lines.split(b"\n")
    found = [_LINE.fullmatch(line) for line in each]
    wanted = None
    if not rest and None not in found:
        wanted = Sizes(sum(int(line[1]) for line in found if line), sum(int(line[2]) for line in found if line))
    assert sum_changes(head + lines, len(head)) == wanted


@pytest.mark.parametrize("number", [b"1" * 21, b"1" * 5000])
def test_a_number_beyond_all_sizes_is_none(number: bytes) -> None:
    assert sum_changes(b"1 1\n" + number + b" 1\n") is None
    assert sum_changes(b"1 1\n\t" + number + b" 1\n") is None


def test_what_another_server_appends_around_a_rewrite_is_kept_even_when_the_mailbox_is_closed() -> None:
    """Dovecot has opened the old file, we replace it, Dovecot writes; then this process needs the mailbox no more."""
    disk = CrashDisk()
    root = disk.open_dir("/")
    disk.mkdir("tmp", root)
    ours = SizeFile(disk, root, disk.open_dir("tmp", root))
    ours.write(b"100S", Sizes(50, 5), "first", 1.0)
    theirs = disk.open_file("maildirsize", root, append=True)
    ours.add(10, 1)
    ours.write(b"200S", Sizes(60, 6), "second", 2.0)
    disk.write(theirs, b"-20 -2\n")
    ours.close()
    again = SizeFile(disk, root, disk.open_dir("tmp", root))
    assert again.load(3.0) == Sizes(40, 4)
    assert again.limits == b"200S"


def test_raised_defaults_hold_for_the_next_message_of_who_has_no_limits_of_his_own() -> None:
    world = World(CrashDisk(), defaults=Limits(-1, 1))
    world.send(BODY, "<bob>", "<bob>")
    assert len(world.refused) == 1
    world.delivery.settings = world.delivery.settings._replace(defaults=Limits(-1, 2))
    world.send(BODY, "<bob>", "<bob>")
    assert len(world.accepted) == 2
    assert len(world.refused) == 2


async def test_a_directorys_largest_number_is_a_limit_and_no_bounce(tmp_path: Path) -> None:
    instance = store_instance(tmp_path)
    async with running_store(instance) as (_, port):
        client = await LmtpTalk.connect(port)
        for value in (f"{(1 << 63) - 1},{(1 << 63) - 1}", f"{'9' * 20}G,{'9' * 20}"):
            assert await client.deliver(b"A: b\r\n\r\n", f"<bob> XQUOTA={value}") == ["250 2.5.0 <bob> OK"]
            shown = (instance.store / "primary" / "bob" / "maildirsize").read_text().splitlines()[0]
            assert shown == f"{(1 << 63) - 1}S,{(1 << 63) - 1}C"
        await client.close()
