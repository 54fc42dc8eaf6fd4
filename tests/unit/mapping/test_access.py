import pytest

from posthouse.mail.status import Status
from posthouse.mapping.access import canonical_address, decide, decide_port, from_probe, mail_probe, port_probe, send_probe
from posthouse.mapping.table import Result, Tables


def result(template: str) -> Result | None:
    return Tables.compile([("T", [("*", template)])]).probe("T", "x")


@pytest.mark.parametrize(
    "template", ["$N$D30|Relaying$ not$ allowed", "$N30|Relaying$ not$ allowed$D", "30|$N$DRelaying$ not$ allowed"]
)
def test_arguments_have_a_fixed_order_whatever_the_place_of_the_flags(template: str) -> None:
    access = decide(result(template))
    assert not access.allowed
    assert access.status == Status(550, "5.7.1", "Relaying not allowed")
    assert access.delay == 0.3


def test_all_flags_in_their_order() -> None:
    access = decide(result("$N$X$S$G$A$T$D$>$<$I$K$Jj@x|k@x|user|id|log$ ok|log$ no|50|tag|Header:$ v|conv|9|5.1.8|why|ever"))
    assert access.sender == "j@x"
    assert access.header_sender == "k@x"
    assert access.arguments["I"] == "user|id"
    assert access.log == "log no"
    assert access.delay == 0.5
    assert access.arguments["T"] == "tag"
    assert access.header == "Header: v"
    assert access.arguments["S"] == "9"
    assert access.status == Status(550, "5.1.8", "why|ever")


def test_no_match_and_yes_allow() -> None:
    assert decide(None).allowed
    assert decide(result("$Y")).allowed
    assert decide(result("just$ text")).allowed
    assert decide(result("$B")).bitbucket
    assert decide(result("$H")).hold
    assert decide(result("$Y$<seen")).log == "seen"


def test_codes_in_the_text_are_used() -> None:
    assert decide(result("$N450$ 4.7.1$ Later")).status == Status(450, "4.7.1", "Later")
    assert decide(result("$F")).status == Status(550, "5.7.1", "")
    assert decide(result("$N$X4.2.1|wait")).status == Status(450, "4.2.1", "wait")
    assert decide(result("$N550$ no$ enhanced")).status == Status(550, "5.7.1", "550 no enhanced")


def test_port_access() -> None:
    assert decide_port(None).allowed
    assert decide_port(result("$YEXTERNAL")).allowed
    refused = decide_port(result("$N500$ Do$ not$ connect$ to$ this$ machine"))
    assert (refused.allowed, refused.text) == (False, "500 Do not connect to this machine")
    logged = decide_port(result("$N$T$>stranger|500$ a|b"))
    assert (logged.text, logged.log, logged.record) == ("500 a|b", "stranger", True)
    assert decide_port(result("$Y$<friend")).log == "friend"


def test_probes() -> None:
    port = port_probe(("::ffff:10.0.0.7", 225), ("2001:DB8:0::1", 4))
    assert port == "TCP|10.0.0.7|225|2001:db8::1|4"
    assert canonical_address("fe80::1%eth0") == "fe80::1"
    assert canonical_address("no address") == "no address"
    send = send_probe("tcp_local", "", "l", "a@b")
    assert send == "tcp_local||l|a@b"
    assert send_probe("a", "b", "c", "d", "e") == "a|b|c|d|e"
    assert mail_probe(port, "SMTP/x", send) == f"{port}|SMTP/x|MAIL|tcp_local||l|a@b"
    assert from_probe(port, "SMTP/x", "tcp_local", "a@b") == f"{port}|SMTP/x|MAIL|tcp_local|a@b|"
