"""Clauses of DELIVERY_OPTIONS whose rules or channels are not there."""

from pathlib import Path
from typing import Any

import pytest

from posthouse.relay.routing import rules
from posthouse.store.mailbox.owner import parse_target
from support.relay_files import CHANNELS, OPTIONS, RULES, relay_configuration

ASTRAY = "neither a channel nor a rewrite rule has the host {}: its mail leaves this machine"
NO_RULE = "".join(line for line in RULES.splitlines(keepends=True) if not line.startswith(".lmtp"))
NO_CHANNEL = CHANNELS.replace("defragment lmtp multigate", "defragment smtp multigate")
NATIVE = OPTIONS.replace("    #&members=*,", "    #*unix=@$X.LMTPN:$M@native-daemon,\\\n    #&members=*,")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, []),
        ({"options": "LDAP_DEFAULT_DOMAIN=example.com\n", "rules": NO_RULE, "channels": NO_CHANNEL}, []),
        ({"rules": NO_RULE}, ["5 error mailbox no rewrite rule for .lmtp"]),
        ({"channels": NO_CHANNEL}, ["5 error mailbox no channel with the keyword lmtp"]),
        (
            {"rules": NO_RULE, "channels": NO_CHANNEL},
            ["5 error mailbox no rewrite rule for .lmtp and no channel with the keyword lmtp"],
        ),
        ({"options": NATIVE}, ["5 warning unix no rewrite rule for .lmtpn"]),
        ({"options": NATIVE, "rules": f".lmtpn  $E$F$U%$H.lmtpn@lmtpcs-daemon\n{RULES}"}, []),
    ],
)
def test_what_lmtp_needs(tmp_path: Path, files: dict[str, Any], said: list[str]) -> None:
    found = [fault for fault in rules.check(relay_configuration(tmp_path, **files)) if "by LMTP" in fault.reason]
    assert [
        f"{fault.line} {fault.severity} {fault.reason.split()[2]} {fault.reason.partition('imta.cnf has ')[2].partition(':')[0]}"
        for fault in found
    ] == said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("$2S@lmtpcs-daemon", "$2S@ims_daemon", ["error mailbox: no channel has the host ims_daemon"]),
        ("$2S@lmtpcs-daemon", "$2S@IMS-MS-daemon", []),
        ("$2S@lmtpcs-daemon", "$2S@$D", []),
        ("$2S@lmtpcs-daemon", "$2S", []),
        ("@hold-daemon:$A", "$L%$D@hold", [f"warning hold: {ASTRAY.format('hold')}"]),
        ("@hold-daemon:$A", "@held:$A", [f"warning hold: {ASTRAY.format('held')}"]),
        ("@hold-daemon:$A", "$A@hold.example.com", []),
        ("$M+$D@bitbucket", "$M+$D@BitBucket", []),
    ],
)
def test_the_host_at_the_end_is_a_channels(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    found = rules.check(relay_configuration(tmp_path, options=OPTIONS.replace(old, new)))
    assert [f"{fault.severity} {fault.reason.removeprefix('delivery option ').partition(',')[0]}" for fault in found] == said


def test_vacation_answers_by_the_older_program_are_told_of(tmp_path: Path) -> None:
    older = OPTIONS.replace("#*^!autoreply=$M+$D@bitbucket", "#*^autoreply=$M+$D@bitbucket")
    assert older != OPTIONS
    (found,) = rules.check(relay_configuration(tmp_path, options=older))
    assert found.severity == "warning"
    assert found.reason.endswith("its copies are returned at last: write #*^!autoreply=$M+$D@bitbucket")


def test_without_a_channel_reprocess_nothing_can_be_put_off(tmp_path: Path) -> None:
    channels = CHANNELS.replace("reprocess\nreprocess-daemon\n\n", "")
    reasons = [fault.reason for fault in rules.check(relay_configuration(tmp_path, channels=channels))]
    assert [reason.partition(":")[0] for reason in reasons] == [
        "delivery option members",
        "delivery option members_offline",
        "delivery option forward",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("multigate connectcanonical", "multigate connectcanonical", []),
        ("multigate ", "", ["without multigate and connectcanonical it connects to lmtpcs-daemon"]),
        ("connectcanonical ", "", ["without multigate and connectcanonical it connects to lmtpcs-daemon"]),
        ("multigate connectcanonical", "daemon store1.example.com", []),
        ("port 225 ", "", ["without port it connects to 25"]),
        (
            "lmtp multigate connectcanonical fileinto @$4O:$U+$S@$D \\\n    port 225",
            "lmtp",
            ["without multigate and connectcanonical it connects to lmtpcs-daemon", "without port it connects to 25"],
        ),
    ],
)
def test_what_an_lmtp_channel_needs_to_reach_stores(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    assert old in CHANNELS
    server = "\ntcp_lmtpss lmtp flagtransfer\ntcp_lmtpss-daemon\n"
    found = rules.check(relay_configuration(tmp_path, channels=CHANNELS.replace(old, new) + server))
    assert [fault.reason.partition(": ")[2].partition(",")[0] for fault in found] == said
    assert {fault.severity for fault in found} <= {"warning"}


def test_a_folder_before_the_domain_is_refused(tmp_path: Path) -> None:
    older = OPTIONS.replace("$M%$\\$2I$_+$2S@", "$M$_+$2S%$\\$2I@")
    assert older != OPTIONS
    (fault,) = rules.check(relay_configuration(tmp_path, options=older))
    assert fault.severity == "error"
    assert fault.reason.endswith("his namesake's in the default domain: write $M%$\\$2I$_+$2S")
    assert parse_target(b"<bob+folder%hosted.example>", "example.com").owner == "bob", "why it is refused"
