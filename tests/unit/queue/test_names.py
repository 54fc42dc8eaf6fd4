import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.relay.queue import names


@pytest.mark.parametrize(
    ("attempts", "text"), [(0, "ZZ"), (1, "ZY"), (25, "ZA"), (35, "Z0"), (36, "YZ"), (1295, "00"), (9999, "00")]
)
def test_attempts_count_down_from_zz(attempts: int, text: str) -> None:
    assert names.prefix(attempts) == text
    assert names.attempts(text) == min(attempts, 1295)


ids = st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=14, max_size=20)


@given(ids, st.integers(0, 65535), st.integers(0, 1295), st.booleans())
def test_a_name_is_taken_apart_as_it_was_made(message: str, copy: int, attempts: int, held: bool) -> None:
    text = names.file_name(message, copy, attempts, held=held)
    found = names.parse(text)
    assert found == names.QueueName(message, copy, attempts, held)
    assert str(found) == text


def test_held_copies_of_one_message_have_different_names() -> None:
    assert names.file_name("A" * 18, 0, 0, held=True) != names.file_name("A" * 18, 1, 0, held=True)


@pytest.mark.parametrize(
    "name", [".tmp-ZZAAAAAAAAAAAAAAAAAA.00", "ZZshort.00", "zz" + "A" * 18 + ".00", "ZZ" + "A" * 18 + ".01", "README"]
)
def test_other_names_are_passed_over(name: str) -> None:
    assert names.parse(name) is None


def test_the_subfolder_depends_on_the_unchanging_part_only() -> None:
    assert names.subdir("A" * 22, 20) == names.subdir("A" * 22, 20)
    assert {names.subdir(f"{n:022d}", 20) for n in range(500)} == {f"{n:03d}" for n in range(20)}
    assert not names.subdir("A" * 22, 0)


def test_the_log_path_is_the_path_of_the_file() -> None:
    folder = names.subdir("A" * 18 + "0001", 20)
    assert names.log_path("/q", "tcp_lmtpcs", 20, "A" * 18, 1, 2) == f"/q/tcp_lmtpcs/{folder}/ZX{'A' * 18}0001.00"
    assert names.log_path("/q", "hold", 0, "A" * 18, 0, 0) == f"/q/hold/ZZ{'A' * 18}0000.00"
