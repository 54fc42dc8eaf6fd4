"""option-dat.md 2.3 and 2.4."""

import pytest

from posthouse.relay.routing.clause_template import (
    ClauseError,
    ClauseInputs,
    OwnerValues,
    Whole,
    parse_clause_template,
    render_clause,
)

SEED = "@$X.LMTP:$M%$\\$2I$_+$2S@lmtpcs-daemon"
STORE = "$M%$\\$2I$_+$2S@ims-ms-daemon"


def inputs(
    *,
    sub: str = "",
    uid: str = "jdoe",
    hosted: str = "",
    host: str = "store1.example.com",
    route: str = "",
    program: str = "",
    file: str = "",
    spare: dict[int, str] | None = None,
) -> ClauseInputs:
    local = f"john.doe+{sub}" if sub else "john.doe"
    return ClauseInputs(
        address=f"{local}@example.com",
        local=local,
        mailbox="john.doe",
        subaddress=sub,
        domain="example.com",
        route=route,
        owner=OwnerValues(uid, hosted, host, program, file, "(objectClass=x)", spare or {}),
    )


@pytest.mark.parametrize(
    ("template", "given", "made"),
    [
        (STORE, inputs(), "jdoe@ims-ms-daemon"),
        (STORE, inputs(sub="Work"), "jdoe+Work@ims-ms-daemon"),
        (STORE, inputs(uid="SMiller", hosted="Hosted.Example.ORG"), "SMiller%hosted.example.org@ims-ms-daemon"),
        (SEED, inputs(), "@store1.example.com.LMTP:jdoe@lmtpcs-daemon"),
        ("$M%$P@pipe-daemon", inputs(program="procmail"), "jdoe%procmail@pipe-daemon"),
        ("@hold-daemon:$A", inputs(), "@hold-daemon:john.doe@example.com"),
        ("$M+$D@bitbucket", inputs(), "jdoe+example.com@bitbucket"),
    ],
)
def test_worked_table(template: str, given: ClauseInputs, made: str) -> None:
    assert render_clause(parse_clause_template(template), given) == made


@pytest.mark.parametrize(
    ("template", "given", "made"),
    [
        ("x%$Iy", inputs(), None),
        ("x%$0Iy", inputs(), None),
        ("x%$1Iy", inputs(), "x%y"),
        ("x%$2Iy", inputs(), "xy"),
        ("x%$3Iyz", inputs(), "x%z"),
        ("x%$4Iyz", inputs(), "xz"),
        ("x%$3I$Mz", inputs(), "x%z"),
        ("x%$2I", inputs(hosted="h.test"), "x%h.test"),
        ("$U+$S@$D", inputs(), None),
        ("@$4O:$U+$1S@$D", inputs(sub="Junk"), "john.doe+Junk@example.com"),
        ("@$4O:$U+$1S@$D", inputs(sub="Junk", route="r"), "@r:john.doe+Junk@example.com"),
        ("$0A$1A$99A@d", inputs(), "jo@d"),
        ("$0M$1U$9M@d", inputs(), "jo@d"),
        ("$0X.$1X.$7X@d", inputs(), "store1.example.@d"),
        ("a@$X", inputs(host=""), None),
        ("$H$1H@d", inputs(), "examplecom@d"),
        ("$J.$1J@d", inputs(hosted="h.test"), "h.test@d"),
        ("$^$M$_$M@$\\$D", inputs(uid="aB"), "ABaB@example.com"),
        ("$$$M@d", inputs(), "$jdoe@d"),
        ("$P@d", inputs(), None),
        ("+$F@native-daemon", inputs(file="/var/x"), "+/var/x@native-daemon"),
        ("$E.$2E@d", inputs(spare={1: "one", 2: "two"}), "one.two@d"),
        ("$G@d", inputs(spare={2: "two"}), "two@d"),
        ("$3G@d", inputs(spare={2: "two"}), None),
        ("$K", inputs(), "(objectClass=x)"),
        ("$m@$d", inputs(), "jdoe@example.com"),
    ],
)
def test_codes(template: str, given: ClauseInputs, made: str | None) -> None:
    assert render_clause(parse_clause_template(template), given) == made


@pytest.mark.parametrize(
    ("sub", "made"),
    [
        ("My Folder", '@store1.example.com.LMTP:"jdoe+My Folder"@lmtpcs-daemon'),
        ("x@evil.test", '@store1.example.com.LMTP:"jdoe+x@evil.test"@lmtpcs-daemon'),
        ('a"b\\c', '@store1.example.com.LMTP:"jdoe+a\\"b\\\\c"@lmtpcs-daemon'),
        ("x:@evil.test", '@store1.example.com.LMTP:"jdoe+x:@evil.test"@lmtpcs-daemon'),
    ],
)
def test_what_a_sender_writes_cannot_become_a_host(sub: str, made: str) -> None:
    assert render_clause(parse_clause_template(SEED), inputs(sub=sub)) == made


def test_whole_templates() -> None:
    assert parse_clause_template("*").whole is Whole.EXPAND
    assert parse_clause_template("**").whole is Whole.FORWARD


@pytest.mark.parametrize("text", ["", "$", "a$", "$Q@d", "$1D", "$5S@d", "$1P", "$9", "a$1$"])
def test_refused(text: str) -> None:
    with pytest.raises(ClauseError):
        parse_clause_template(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(SEED, True), ("@store9.LMTPN:$M@x", True), (STORE, False), ("@hold-daemon:$A", False), ("a.lmtp:b", False)],
)
def test_lmtp_routes_are_recognised(text: str, expected: bool) -> None:
    assert parse_clause_template(text).through_lmtp is expected
