"""imta-cnf.md 2: the worked table, and every pattern, substitution and control sequence."""

from pathlib import Path

import pytest

from posthouse.config.fault import ConfigurationError
from posthouse.relay.routing.inquiry import Inquiry
from posthouse.relay.routing.result import Accepted, RouteRequest
from posthouse.relay.routing.rewrite import Job, Rewritten
from posthouse.relay.routing.route import route_recipient
from posthouse.relay.routing.rule_table import Purpose
from support.people import EXAMPLE, MemoryDirectory
from support.relay_files import CHANNELS, relay_rules

FORWARD = Purpose(header=False, backward=False, source="", destination="")
BACKWARD = Purpose(header=False, backward=True, source="", destination="")
HEADER = Purpose(header=True, backward=False, source="", destination="")
HEADER_FROM = Purpose(header=True, backward=True, source="", destination="")
MORE = """
tcp_hub smtp
hub
host1
proper.test alias.test

tcp_route smtp routelocal
routed
"""
TABLES = """
INTERNAL_IP

  $(10.0.0.0/8)   $Y
  *               $N

CHANGE

  *|*   $Y$1-$0
  bad   text
"""


def rewritten(
    folder: Path,
    rules: str,
    address: str,
    purpose: Purpose = FORWARD,
    *,
    unique: str = "",
    general: str = "",
    keep_route: bool = False,
) -> str:
    """`address channel` or the reply."""
    more = {"general": general} if general else {}
    options = "LDAP_DEFAULT_DOMAIN=example.com\nUSE_TEXT_DATABASES=1\n"
    compiled = relay_rules(folder, rules=rules, channels=CHANNELS + MORE, options=options, mappings=TABLES, **more)
    job = Job(Inquiry(), purpose, unique, keep_route)
    result = MemoryDirectory(EXAMPLE).run(compiled.rewriter.rewrite(address, job))
    return f"{result.address} {result.channel.name}" if isinstance(result, Rewritten) else str(result.status)


@pytest.mark.parametrize(
    ("rules", "address", "purpose", "result"),
    [
        (".example.com $U%$H.example.com@tcp_intranet-daemon", "u@a.example.com", FORWARD, "u@a.example.com tcp_intranet"),
        ("host.example.com $U%$1D@TCP-DAEMON", "j@host.example.com", FORWARD, "j@example.com tcp_local"),
        ("*.example.com $U%$&0.example.com@hub", "j@eng.example.com", FORWARD, "j@eng.example.com tcp_hub"),
        ("com1 $U@host1@hub", "j@com1", FORWARD, "@hub:j@host1 tcp_hub"),
        ("c $U%c.example.com\n.example.com $U%$H$D@hub", "j@c", FORWARD, "j@c.example.com tcp_hub"),
        (
            ".lmtp $E$F$U%$H.lmtp@lmtpcs-daemon",
            "@s.ex.com.LMTP:j@lmtpcs-daemon",
            FORWARD,
            "@s.ex.com.lmtp:j@lmtpcs-daemon tcp_lmtpcs",
        ),
        (".lmtp $B$F$U%$H@$H@lmtpcs-daemon", "x@s.ex.com.lmtp", HEADER, "@s.ex.com:x@s.ex.com tcp_lmtpcs"),
        (
            "[] $E$R${INTERNAL_IP,$L}$U%[$L]@tcp_intranet-daemon",
            "u@[10.1.2.3]",
            BACKWARD,
            "u@[10.1.2.3] tcp_intranet",
        ),
        (
            "[] $E$R${INTERNAL_IP,$L}$U%[$L]@tcp_intranet-daemon",
            "u@[192.0.2.1]",
            BACKWARD,
            "550 5.1.2 unknown host or domain: u@[192.0.2.1]",
        ),
    ],
)
def test_worked_table(tmp_path: Path, rules: str, address: str, purpose: Purpose, result: str) -> None:
    assert rewritten(tmp_path, rules + "\n", address, purpose) == result


@pytest.mark.parametrize(
    ("rule", "address", "result"),
    [
        # substitutions
        ("h.test $0U%x@hub", "j+s@h.test", "j@x tcp_hub"),
        ("h.test $U.$1U%x@hub", "j+s@h.test", "j+s.s@x tcp_hub"),
        ("h.test a$1Ub%x@hub", "j@h.test", "ab@x tcp_hub"),
        (".h.test $U%$1D@hub", "j@A.B.h.test", "j@.test tcp_hub"),
        (".h.test $U%x$2D@hub", "j@a.h.test", "j@x tcp_hub"),
        (".h.test $U%$1H@hub", "j@A.B.h.test", "j@B tcp_hub"),
        ("[1.2.] $U%x$L@hub", "j@[1.2.3.4]", "j@x3.4 tcp_hub"),
        ("h.test a$$b%$U@hub", "j@h.test", "a$b@j tcp_hub"),
        ("h.test $\\$U%AbC$^d$_E@hub", "J@h.test", "j@abcDE tcp_hub"),
        ("h.test $U%$W@hub", "j@h.test", "j@u7 tcp_hub"),
        (".h.test $U%$&0-$&1-$!0@hub", "j@a.b.h.test", "j@a-b-b tcp_hub"),
        (".h.test $U%$*0-$*1-$#0@hub", "j@a.h.test", "j@h-test-test tcp_hub"),
        # labels that are not there: the rule fails
        (".h.test $U%$&3@hub\n.h.test $U%x@hub", "j@a.h.test", "j@x tcp_hub"),
        (".h.test $U%$*3@hub\n.h.test $U%x@hub", "j@a.h.test", "j@x tcp_hub"),
        # order of probes
        ("h.test $U%x@hub\n$* $U%y@hub", "j@h.test", "j@y tcp_hub"),
        (".test $U%x@hub\n*.test $U%y@hub", "j@h.test", "j@y tcp_hub"),
        (". $U%x@hub\n*.* $U%y@hub", "j@h.test", "j@y tcp_hub"),
        (". $U%x@hub\n.test $P$U%y@hub", "j@h.test", "j@x tcp_hub"),
        ("* $U%x@hub", "j@h", "j@x tcp_hub"),
        # templates
        ("h.test $U@x@hub", "j@h.test", "@hub:j@x tcp_hub"),
        ("h.test $U@hub", "j@h.test", "j@hub tcp_hub"),
        ("h.test $U@x@y@hub", "j@h.test", "@y:j@x tcp_hub"),
        ("h.test $U%x@y@hub", "j@h.test", "@y:j@x tcp_hub"),
        ("h.test $U%h.test", "j@h.test", "550 5.4.6 rewrite loop: j@h.test"),
        # place of the host
        ("$* $A$U%at@hub\n$* $P$U%per@hub\n$* $S$U%rt@hub\n$* $X$U%bang@hub", "j@h", "j@at tcp_hub"),
        ("$* $A$U%at@hub\n$* $P$U%per@hub\n$* $S$U%rt@hub\n$* $X$U%bang@hub", "j%h", "j@per tcp_hub"),
        ("$* $A$U%at@hub\n$* $P$U%per@hub\n$* $S$U%rt@hub\n$* $X$U%bang@hub", "@h:j@d", "@rt:j@d tcp_hub"),
        ("$* $A$U%at@hub\n$* $P$U%per@hub\n$* $S$U%rt@hub\n$* $X$U%bang@hub", "h!j", "j@bang tcp_hub"),
        # domains
        ("$* $V$H$E$U%x@hub", "j@Example.COM", "j@x tcp_hub"),
        ("$* $V$H$E$U%x@hub\n. $U%y@hub", "j@other.test", "j@y tcp_hub"),
        ("$* $Z$H$E$U%x@hub", "j@other.test", "j@x tcp_hub"),
        ("$* $Z$H$E$U%x@hub\n. $U%y@hub", "j@example.com", "j@y tcp_hub"),
        ("$* $U%x@hub$V$H", "j@example.com", "j@x tcp_hub"),
        ("$* $A$E$F$U%$H$V$H@hub", "j@example.com", "j@example.com tcp_hub"),
        # look-ups
        (".ex $($H)", "j@eng.ex", "j@eng.example.com tcp_hub"),
        (".ex $(no)\n.ex $U%x@hub", "j@eng.ex", "j@x tcp_hub"),
        (".ex $(again)\n.ex $U%x@hub", "j@eng.ex", "j@x tcp_hub"),
        (".ex $U%$(host).y@hub", "j@eng.ex", "j@found.y tcp_hub"),
        ("h.test $U%${CHANGE,a|b}@hub", "j@h.test", "j@b-a tcp_hub"),
        ("h.test ${CHANGE,$U|b}%x@hub", "j@h.test", "b-j@x tcp_hub"),
        ("h.test $U%${NONE,a}@hub\n. $U%x@hub", "j@h.test", "j@x tcp_hub"),
        ("h.test $U%${CHANGE,none}@hub\n. $U%x@hub", "j@h.test", "j@x tcp_hub"),
        ("h.test $U%$]ldap:///o=x?a?sub?(b=$U)[@hub\n. $U%x@hub", "j@h.test", "j@x tcp_hub"),
        ("h.test $U%$[lib.so,routine,a]@hub\n. $U%x@hub", "j@h.test", "j@x tcp_hub"),
        # tags
        ("h.test $Tt1$E$U%k.test\nt1|k.test $U%x@hub\nk.test $U%y@hub", "j@h.test", "j@x tcp_hub"),
        (". $U%x@tcp-daemon", "j@HUB", "j@HUB tcp_hub"),
        (". $U%x@tcp-daemon", "j@alias.test", "j@alias.test tcp_hub"),
        (". $U%x@tcp-daemon", "@hold-daemon:john.doe@example.com", "@hold-daemon:john.doe@example.com hold"),
        ("h.test $U%x@HOST1", "j@h.test", "j@x tcp_hub"),
        # errors
        ("h.test $U%x@nowhere", "j@h.test", "550 5.1.2 unknown host or domain: j@h.test"),
        ("h.test $?Gone$ away", "j@h.test", None),
        ("h.test $?Gone away", "j@h.test", "550 5.1.2 Gone away: j@h.test"),
        ("h.test $4002001?Not now", "j@h.test", "450 4.2.1 Not now: j@h.test"),
        ("h.test $U%x@nowhere$?Gone", "j@h.test", "550 5.1.2 Gone: j@h.test"),
        ("h.test $?Gone$E$U%k.test", "j@h.test", "550 5.1.2 Gone: j@k.test"),
        # ourselves
        ("here.test $U%$D@relay1.example.com", "j%k.test@here.test", "550 5.1.2 unknown host or domain: j@k.test"),
        ("here.test $U%$D@relay1.example.com\nk.test $U%x@hub", "@here.test:j@k.test", "j@x tcp_hub"),
        ("here.test $U%$D@relay1.example.com\nk.test $U%x@hub", "@here.test,@here.test:j@k.test", "j@x tcp_hub"),
        ("here.test $U%$D@relay1.example.com\nk.test $U%x@hub", "k.test!j@here.test", "j@x tcp_hub"),
        ("here.test $U%$D@relay1.example.com\nk.test $U%x@hub", '"k.test!j"@here.test', '"k.test!j"@here.test l'),
        ("here.test $U%$D@routed\nk.test $U%x@hub", "j%k.test@here.test", "j@x tcp_hub"),
        ("here.test $U%$D@hub\nk.test $U%x@hub", "j%k.test@here.test", "j%k.test@here.test tcp_hub"),
        ("example.com $U%$D@hub", "jdoe", "jdoe@example.com tcp_hub"),
    ],
)
def test_rules(tmp_path: Path, rule: str, address: str, result: str | None) -> None:
    general = "eng   $U%eng.example.com@hub\nagain  $(eng)\nhost   found\n"
    if result is None:
        with pytest.raises(ConfigurationError):
            rewritten(tmp_path, rule + "\n", address, general=general)
        return
    assert rewritten(tmp_path, rule + "\n", address, unique="u7", general=general) == result


@pytest.mark.parametrize(
    ("purpose", "host"),
    [(FORWARD, "ef"), (BACKWARD, "er"), (HEADER, "bf"), (HEADER_FROM, "br")],
)
def test_location_and_direction(tmp_path: Path, purpose: Purpose, host: str) -> None:
    rules = "h $E$F$U%ef@hub\nh $E$R$U%er@hub\nh $B$F$U%bf@hub\nh $B$R$U%br@hub\n"
    assert rewritten(tmp_path, rules, "j@h", purpose) == f"j@{host} tcp_hub"


@pytest.mark.parametrize(
    ("source", "destination", "host"),
    [
        ("tcp_a", "", "m"),
        ("tcp_b", "", "m"),
        ("tcp_c", "", "n"),
        ("", "", "m"),
        ("tcp_c", "tcp_q", "q"),
    ],
)
def test_channels_of_the_rewrite(tmp_path: Path, source: str, destination: str, host: str) -> None:
    rules = "h $U%q@hub$Qtcp_q$Mtcp_c\nh $U%m@hub$Mtcp_a$Mtcp_b$Ctcp_q\nh $U%n@hub$Ntcp_a$Ntcp_b\n"
    if not destination:
        rules = rules.partition("\n")[2]
    purpose = Purpose(header=not destination, backward=False, source=source, destination=destination)
    assert rewritten(tmp_path, rules, "j@h", purpose) == f"j@{host} tcp_hub"


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("j@eng.h.test", "ldap:///dc=eng,o=x?mailHost?sub?(uid=j)"),
        ("j*)(uid=k@eng.h.test", None),
        ('"*)(uid=k"@eng.h.test', "ldap:///dc=eng,o=x?mailHost?sub?(uid=%22%5C2a%5C29%5C28uid%3Dk%22)"),
        ("j@a,b.h.test", None),
        ("j?x@eng+1.h.test", "ldap:///dc=eng%5C2b1,o=x?mailHost?sub?(uid=j%3Fx)"),
    ],
)
def test_values_in_ldap_urls_are_escaped(tmp_path: Path, address: str, asked: str | None) -> None:
    compiled = relay_rules(tmp_path, rules=".h.test $U%$]ldap:///dc=$H,o=x?mailHost?sub?(uid=$U)[@bitbucket\n")
    directory = MemoryDirectory(EXAMPLE)
    if asked:
        directory.urls[asked] = "found.test"
    result = directory.run(compiled.rewriter.rewrite(address, Job(Inquiry())))
    if asked is None:
        assert directory.asked == []
        assert not isinstance(result, Rewritten)
    else:
        assert isinstance(result, Rewritten), directory.asked
        assert result.host == "found.test"


def test_routes_of_the_mailhost_step_are_not_shortened_by_routelocal(tmp_path: Path) -> None:
    rules = "store.test $U%$D@routed\nexample.com $U%$D@hub\n"
    assert rewritten(tmp_path, rules, "@store.test:j@example.com") == "j@example.com tcp_hub"
    assert rewritten(tmp_path, rules, "@store.test:j@example.com", keep_route=True) == "@store.test:j@example.com tcp_route"


@pytest.mark.parametrize(
    "template",
    [
        *("$U", "$U%", "%x@y", "$U%x%y", "$U%a@b@c@d", "$U%$5U@hub", "$U%$", "$U%$Q"),
        *("${X}%y@z", "$U%${X,y@z", "$U%$(x@hub", "$12?a", "$%x"),
    ],
)
def test_templates_that_cannot_be_understood_are_faults_with_their_line(tmp_path: Path, template: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        rewritten(tmp_path, f"a $U%x@hub\nh {template}\nk $U%$J@hub\n", "j@h")
    assert [(fault.file, fault.line) for fault in refused.value.faults] == [("config/imta.cnf", 2), ("config/imta.cnf", 3)]


def test_norules_switches_the_test_of_the_source_channel_off(tmp_path: Path) -> None:
    rules = ".remote.test $U%m@bitbucket$Mtcp_other\n. $U%n@bitbucket\n"
    for keyword, host in (("", "n"), ("norules ", "m")):
        channels = CHANNELS.replace("tcp_local smtp", f"tcp_local {keyword}smtp")
        compiled = relay_rules(tmp_path, rules=rules, channels=channels, mappings="ORIG_SEND_ACCESS\n\n  *  $Y\n")
        routed = MemoryDirectory(EXAMPLE).run(route_recipient(compiled, RouteRequest("", "x@a.remote.test", "tcp_local")))
        assert isinstance(routed, Accepted)
        assert routed.recipients[0].address == f"x@{host}"
