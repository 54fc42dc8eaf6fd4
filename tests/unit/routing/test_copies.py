from pathlib import Path

import pytest

from posthouse.relay.routing.copies import assign_copies
from posthouse.relay.routing.result import Target
from support.relay_files import CHANNELS, relay_rules


def target(channel: str, host: str, *, held: bool = False) -> Target:
    return Target(channel, f"@{host}:u@{channel}", host, held=held)


TWO_STORES = [
    target("tcp_lmtpcs", "a"),
    target("tcp_lmtpcs", "b"),
    target("tcp_lmtpcs", "a"),
    target("bitbucket", "x"),
    target("bitbucket", "y"),
    target("tcp_lmtpcs", "a", held=True),
]


@pytest.mark.parametrize(
    ("keyword", "copies"),
    [
        ("single_sys", (0, 1, 0, 2, 2, 3)),
        ("", (0, 1, 0, 2, 2, 3)),
        ("daemon router", (0, 0, 0, 1, 1, 2)),
        ("multiple", (0, 0, 0, 1, 1, 2)),
        ("single", (0, 1, 2, 3, 3, 4)),
        ("single_sys addrsperfile 1", (0, 1, 2, 3, 3, 4)),
        ("single_sys addrsperfile 2", (0, 1, 0, 2, 2, 3)),
    ],
)
def test_copies(tmp_path: Path, keyword: str, copies: tuple[int, ...]) -> None:
    block = CHANNELS.index("tcp_lmtpcs")
    channels = CHANNELS[:block] + CHANNELS[block:].replace("single_sys", keyword, 1)
    found = relay_rules(tmp_path, channels=channels).imta.channels
    assert assign_copies(found, TWO_STORES) == copies


def test_one_target_is_one_copy(tmp_path: Path) -> None:
    assert assign_copies(relay_rules(tmp_path).imta.channels, [target("tcp_lmtpcs", "a")]) == (0,)


def test_a_copy_has_one_sender_and_at_most_a_thousand_recipients(tmp_path: Path) -> None:
    found = relay_rules(tmp_path).imta.channels
    listed = Target("tcp_lmtpcs", "@a:l@tcp_lmtpcs", "a", sender="owner@example.com")
    assert assign_copies(found, [target("tcp_lmtpcs", "a"), listed, target("tcp_lmtpcs", "a"), listed]) == (0, 1, 0, 1)
    many = assign_copies(found, [target("tcp_lmtpcs", "a")] * 2500)
    assert [many.count(copy) for copy in (0, 1, 2)] == [1000, 1000, 500]
