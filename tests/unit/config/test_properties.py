"""Whatever stands in the files: a configuration or a ConfigurationError with places and reasons, nothing else."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.config.configuration import load
from posthouse.config.fault import ConfigurationError
from posthouse.config.instance import Instance

FILES = [
    "imta.cnf",
    "option.dat",
    "mappings",
    "dispatcher.cnf",
    "job_controller.cnf",
    "imta_tailor",
    "aliases",
    "general.txt",
    "store.conf",
    "hosts",
    "tcp_lmtpss_option",
]
GOOD = {
    "imta.cnf": "\ntcp_lmtpss lmtp\ntcp_lmtpss-daemon\n",
    "dispatcher.cnf": "[SERVICE=A]\nPORT=1\nIMAGE=tcp_lmtp_server\n",
    "option.dat": "USE_TEXT_DATABASES=1\n",
}
WORDS = (Path(__file__).parent / "words").read_text().split(" ")
TEXT = st.lists(st.sampled_from([*WORDS, "\x80", "\xff", "\x00", "İ", "\n", "\n", " ", "\t", "\r\n"]), max_size=25).map("".join)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60)
@given(text=TEXT | st.text(max_size=30))
def test_any_text_is_read_or_refused(name: str, text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config"
        config.mkdir()
        for good, content in GOOD.items():
            (config / good).write_text(content)
        (config / name).write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = load(Instance(Path(folder)))
        except ConfigurationError as error:
            assert all(fault.file and fault.line >= 0 and fault.reason for fault in error.faults)  # noqa: PT017 - as promised
        else:
            assert all(channel.hosts for channel in found.imta.channels.values())
