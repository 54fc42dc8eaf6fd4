from pathlib import Path

import pytest

from posthouse.config.channel import Channel
from posthouse.config.configuration import Configuration, load
from posthouse.config.instance import Instance
from posthouse.mail.envelope import Priority

SMTP = "[SERVICE=SMTP]\nPORT=25\nIMAGE=IMTA_BIN:tcp_smtp_server\n"


def read(tmp_path: Path, text: str, **files: str) -> Configuration:
    config = tmp_path / "config"
    config.mkdir(exist_ok=True)
    for name, content in {"imta.cnf": text, "dispatcher.cnf": SMTP, **files}.items():
        (config / name).write_text(content)
    return load(Instance(tmp_path))


def channel(tmp_path: Path, line: str) -> Channel:
    return read(tmp_path, f"\n{line}\nx-daemon\n").imta.channels["x"]


RELAY = """! relay
$*      $A$E$F$U%$H$V$H@relay1.example.com
.bad    $?no such host, sorry
<IMTA_TABLE:internet.rules
<more/other.rules

defaults logging notices 1 2 4 7 defaulthost example.com example.com

l defragment
relay1.example.com
relay1.example.net
relay.example.com mail.example.com

! a comment is no blank line
nodefaults

tcp_local smtp mx single_sys saslswitchchannel tcp_auth maytlsserver
tcp-daemon

tcp_auth smtp mustsaslserver
tcp_auth-daemon
"""


def test_rules_channels_defaults_and_includes(tmp_path: Path) -> None:
    (tmp_path / "config" / "more").mkdir(parents=True)
    (tmp_path / "config" / "more" / "other.rules").write_text("<deep.rules\n.other  $U%$H.other@tcp-daemon\n")
    (tmp_path / "config" / "more" / "deep.rules").write_text(".deep $U%$H.deep@tcp-daemon\n")
    configuration = read(tmp_path, RELAY, **{"internet.rules": ".com    $U%$H$D@tcp-daemon\n"})
    rules = [(rule.pattern, rule.template, rule.file, rule.line) for rule in configuration.imta.rewrite_rules]
    assert rules == [
        ("$*", "$A$E$F$U%$H$V$H@relay1.example.com", "config/imta.cnf", 2),
        (".bad", "$?no such host, sorry", "config/imta.cnf", 3),
        (".com", "$U%$H$D@tcp-daemon", "config/internet.rules", 1),
        (".deep", "$U%$H.deep@tcp-daemon", "config/more/deep.rules", 1),
        (".other", "$U%$H.other@tcp-daemon", "config/more/other.rules", 2),
    ]
    local = configuration.imta.local
    assert local is not None
    assert local.logging
    assert local.keywords["defaulthost"] == ("example.com", "example.com")
    assert local.proper_name("MAIL.example.com") == "relay.example.com"
    assert local.proper_name("relay.example.com") is None
    assert local.hosts == ("relay1.example.com", "relay1.example.net", "relay.example.com", "mail.example.com")
    assert configuration.imta.by_tag("Mail.Example.Com") is local
    outside = configuration.imta.channels["tcp_local"]
    assert not outside.logging
    assert outside.notices(Priority.NORMAL) == (1, 2, 4, 7)  # those of channel l
    assert configuration.warnings == ()


def test_stock_blocks_have_no_unknown_keyword(tmp_path: Path) -> None:
    blocks = r"""
defaults notices 1 2 4 7 copywarnpost copysendpost postheadonly noswitchchannel immnonurgent \
 maxjobs 7 defaulthost example.com example.com logging

l subaddressrelaxed viaaliasrequired
host.example.com

ims-ms defragment subdirs 20 notices 1 7 14 21 28 backoff "pt5m" "pt10m" "pt30m" "pt1h" "pt2h" "pt4h" maxjobs 2 pool IMS_POOL \
  fileinto $U+$S@$D filter ssrd:$A
ims-ms-daemon

tcp_local smtp mx single_sys remotehost inner switchchannel identnonenumeric subdirs 20 maxjobs 7 pool SMTP_POOL \
 maytlsserver maysaslserver saslswitchchannel tcp_auth missingrecipientpolicy 0
tcp-daemon

tcp_intranet smtp mx single_sys subdirs 20 noreverse maxjobs 7 pool SMTP_POOL maytlsserver allowswitchchannel \
 saslswitchchannel tcp_auth
tcp_intranet-daemon

tcp_auth smtp mx single_sys mustsaslserver noswitchchannel
tcp_auth-daemon
"""
    configuration = read(tmp_path, blocks)
    assert [fault.reason for fault in configuration.warnings] == [
        "service SMTP: nobody can log in: neither TLS_CERTIFICATE nor AUTH_IN_CLEAR=1"
    ]
    store = configuration.imta.channels["ims-ms"]
    assert store.backoff(Priority.URGENT) == (300, 600, 1800, 3600, 7200, 14400)
    assert store.notices(Priority.URGENT) == (1, 7, 14, 21, 28)


def test_a_later_keyword_of_a_group_counts(tmp_path: Path) -> None:
    found = channel(tmp_path, "x smtp multigate nomultigate lmtp single single_sys addrsperfile 5 port 25 port 26")
    assert list(found.keywords) == ["nomultigate", "lmtp", "addrsperfile", "port"]
    assert (found.addrsperfile, found.port, found.single_sys) == (5, 26, False)


def test_defaults_give_way_to_the_channel(tmp_path: Path) -> None:
    configuration = read(tmp_path, "\ndefaults logging maxjobs 7 pool A\n\nx nologging maxjobs 3\nx-daemon\n")
    found = configuration.imta.channels["x"]
    assert (found.logging, found.maxjobs, found.pool) == (False, 3, "A")


def test_what_holds_without_keywords(tmp_path: Path) -> None:
    found = channel(tmp_path, "x")
    assert (found.port, found.maxjobs, found.pool, found.subdirs, found.threaddepth) == (25, 100, None, 0, 10)
    assert found.addrsperfile is None
    assert found.backoff(Priority.NORMAL) == (3600, 7200, 7200, 14400, 14400, 14400, 28800)
    assert found.backoff(Priority.URGENT)[0] == 1800
    assert found.backoff(Priority.NON_URGENT)[-1] == 57600
    assert found.notices(Priority.NORMAL) == (3, 6, 9, 12)


def test_backoff_and_notices_of_one_priority(tmp_path: Path) -> None:
    found = channel(tmp_path, 'x urgentnotices 1 notices 2 4 normalnotices 3 backoff "P1D" urgentbackoff pt30s PT1H2M3S')
    assert found.backoff(Priority.NORMAL) == (86400,)
    assert found.backoff(Priority.URGENT) == (30, 3723)
    assert found.notices(Priority.URGENT) == (2, 4)
    assert found.notices(Priority.NORMAL) == (3,)


def test_arguments(tmp_path: Path) -> None:
    found = channel(tmp_path, 'x description "the maxjobs channel" nameservers 10.0.0.1 ::1 ns.example.com defaulthost a.b lmtp')
    assert found.value("description") == "the maxjobs channel"
    assert found.keywords["nameservers"] == ("10.0.0.1", "::1", "ns.example.com")
    assert found.keywords["defaulthost"] == ("a.b",)
    assert found.is_lmtp


def test_an_unknown_keyword_is_kept_and_warned_about(tmp_path: Path) -> None:
    configuration = read(tmp_path, "\nX smtp \\\n   Frobnicate single\nx-daemon\n")
    assert configuration.imta.channels["x"].unknown == ("Frobnicate",)
    assert [str(fault) for fault in configuration.warnings] == ["config/imta.cnf:3: unknown keyword Frobnicate on x"]


def test_keywords_that_change_nothing_a_site_would_miss_are_silent(tmp_path: Path) -> None:
    line = "x smtp slave_debug master_debug headerlabelalign 0 headerlinelength 80 nonurgentblocklimit 500 datefour nox_env_to"
    assert channel(tmp_path, line).unknown == ()
    assert read(tmp_path, f"\n{line}\nx-daemon\n").warnings == ()


def test_keywords_a_site_would_miss_are_told_with_what_is_not_done(tmp_path: Path) -> None:
    text = "\ndefaults sourcespamfilter1optin spam,virus\n\nx smtp authrewrite\nx-daemon\n"
    scan = "mail is not scanned: put the scanner before or behind this machine, by SMTP"
    assert [str(fault) for fault in read(tmp_path, text).warnings] == [
        f"config/imta.cnf:2: keyword sourcespamfilter1optin on defaults does nothing: {scan}",
        "config/imta.cnf:4: keyword authrewrite on x does nothing: the Sender: field is not set from the login",
    ]


def test_of_the_styles_of_addresses_the_last_one_counts(tmp_path: Path) -> None:
    assert list(channel(tmp_path, "x sourceroute uucp bangstyle 733 bangstyle").keywords) == ["bangstyle"]


@pytest.mark.parametrize("name", ["imta.tailor", "imta_tailor"])
def test_tailor_moves_the_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "rules").write_text("<IMTA_TABLE:more\n\nx smtp\nx-daemon\n")
    (tmp_path / "etc" / "more").write_text(".a $U%b@x-daemon\n")
    tailor = "IMTA_TABLE=<msg.RootPath>/etc/\n! comment\nIMTA_CONFIG_FILE = etc/rules\nIMTA_USER=mailsrv\nIMTA_LOG=/var/log/x/\n"
    configuration = read(tmp_path, "", **{name: tailor})
    assert configuration.imta.rewrite_rules[0].file == "etc/more"
    assert configuration.tailor.user == "mailsrv"
    assert configuration.tailor.path("imta_log:a.log") == Path("/var/log/x/a.log")
    assert configuration.tailor.path("plain:name") == tmp_path / "plain:name"
