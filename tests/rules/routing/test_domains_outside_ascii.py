"""A domain outside ASCII is one domain in both of its forms, whichever the directory has (RFC 5890)."""

import pytest

from support.people import Attributes, with_entries
from support.routing_relay import MakeRelay


def domain(name: str) -> dict[str, Attributes]:
    user: Attributes = {
        "kind": ("user",), "uid": ("eva",), "mail": (f"eva@{name}",), "mailhost": ("store1.example.com",),
    }  # fmt: skip
    return {f"o={name},o=usergroup": {"sunpreferreddomain": (name,)}, f"uid=eva,ou=People,o={name},o=usergroup": user}


@pytest.mark.parametrize("kept", ["bücher.test", "xn--bcher-kva.test"])
@pytest.mark.parametrize("asked", ["bücher.test", "BÜCHER.test", "xn--bcher-kva.test", "XN--BCHER-KVA.test"])
def test_either_form(make_relay: MakeRelay, kept: str, asked: str) -> None:
    relay = make_relay(with_entries(domain(kept)))
    store = f"@store1.example.com.lmtp:eva%{kept}@lmtpcs-daemon"
    assert relay.addresses(f"eva@{asked}") == [("tcp_lmtpcs", store)]
    assert relay.refusal(f"nobody@{asked}").startswith("550 5.1.1")


def test_another_domain_is_not_ours(make_relay: MakeRelay) -> None:
    relay = make_relay(with_entries(domain("bücher.test")))
    assert relay.refusal("eva@xn--bcher-kvb.test").startswith("550 5.7.1")
    relay.directory.silent = True
    assert relay.refusal("eva@xn--bcher-kva.test").startswith("450")
