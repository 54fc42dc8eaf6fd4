"""DNS_SERVERS, in option.dat and in a channel's option file."""

import pytest

from posthouse.config.dns_servers import dns_servers
from posthouse.config.value import BadValueError


def test_servers() -> None:
    assert dns_servers("127.0.0.1:5353, 192.0.2.1 [::1]:53 ::2 [::3]") == (
        ("127.0.0.1", 5353), ("192.0.2.1", 53), ("::1", 53), ("::2", 53), ("::3", 53),
    )  # fmt: skip
    assert dns_servers("") == ()


@pytest.mark.parametrize("text", ["dns.example.com", "127.0.0.1:0", "127.0.0.1:x", "[::1]:99999", "[127.0.0.1", "127.0.0.1:-1"])
def test_bad_servers(text: str) -> None:
    with pytest.raises(BadValueError):
        dns_servers(text)
