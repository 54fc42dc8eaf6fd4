from pathlib import Path

import pytest

from posthouse.config.configuration import Configuration, load
from posthouse.config.fault import ConfigurationError, Fault, Severity
from posthouse.config.instance import Instance
from posthouse.config.job_controller_cnf import Times
from posthouse.config.value import BadValueError, boolean, duration, integer, number, span

BASE = {
    "imta.cnf": "\nx smtp\nx-daemon\n\ntcp_local smtp pool SMTP_POOL\ntcp-daemon\n",
    "dispatcher.cnf": "[SERVICE=SMTP]\nPORT=25\nIMAGE=IMTA_BIN:tcp_smtp_server\n",
}


def read(tmp_path: Path, **files: str) -> Configuration:
    config = tmp_path / "config"
    config.mkdir(exist_ok=True)
    for name, content in {**BASE, **files}.items():
        (config / name).write_text(content)
    return load(Instance(tmp_path))


def test_option_dat(tmp_path: Path) -> None:
    text = """
# comment
; comment
block_limit = 8%17
LDAP_TIMEOUT=1.5
LDAP_PORT=16%FF
BLOCK_LIMIT=20
DELIVERY_OPTIONS=\\
   *mailbox=$M@x,\\
! a comment between
   &members=*
RETURN_ADDRESS=one\\

ERROR_TEST_OVER_QUOTA=full
SITE_OWN=1
"""
    configuration = read(tmp_path, **{"option.dat": text})
    options = configuration.options
    assert options.integer("BLOCK_LIMIT") == 20
    assert options.integer("LDAP_PORT") == 255
    assert options.number("LDAP_TIMEOUT", 180) == 1.5
    assert options.number("DOMAIN_MATCH_CACHE_TIMEOUT", 600) == 600
    assert options.text("DELIVERY_OPTIONS") == "*mailbox=$M@x,&members=*"
    assert options.text("RETURN_ADDRESS") == "one"
    assert options.text("ERROR_TEXT_OVER_QUOTA") == "full"
    assert options.get("delivery_options") == options.values["DELIVERY_OPTIONS"]
    assert options.integer("ABSENT", 7) == 7
    assert [str(fault) for fault in configuration.warnings] == ["config/option.dat:15: unknown option SITE_OWN"]


@pytest.mark.parametrize(("units", "seconds"), [(0, 86400), (1, 3600), (3, 1), (2, 86400)])
def test_the_unit_of_notices(tmp_path: Path, units: int, seconds: float) -> None:
    assert read(tmp_path, **{"option.dat": f"RETURN_UNITS={units}\n"}).notice_unit == seconds


def test_the_clause_trap_is_warned_about(tmp_path: Path) -> None:
    text = "DELIVERY_OPTIONS=\\\n    *mailbox=$M@x,\\\n#&members=*,\\\n# only a remark\\\n    *native=$M@y\n"
    configuration = read(tmp_path, **{"option.dat": text})
    assert configuration.options.text("DELIVERY_OPTIONS") == "*mailbox=$M@x,*native=$M@y"
    assert [fault.line for fault in configuration.warnings] == [3]


def test_job_controller(tmp_path: Path) -> None:
    text = """!Global defaults
tcp_port=27442
secret=never mind
slave_command=NULL
max_life_age=3600
synch_time=02:30/01:00
[POOL=DEFAULT]
job_limit=5
[POOL=smtp_pool]
[CHANNEL=l]
master_command=IMTA_BIN:l_master
[CHANNEL=tcp_*]
master_command=C:\\iPlanet\\bin\\msg\\imta\\bin\\tcp_smtp_client.exe -x
[CHANNEL=tcp_lmtp*]
master_command=IMTA_BIN:tcp_lmtp_client
max_life_conns=9
[PERIODIC_JOB=return]
time=/00:30
command=IMTA_BIN:return
"""
    jobs = read(tmp_path, **{"job_controller.cnf": text}).job_controller
    assert jobs is not None
    assert [(pool.name, pool.job_limit) for pool in jobs.pools.values()] == [("DEFAULT", 5), ("smtp_pool", 10)]
    assert jobs.first_pool.name == "DEFAULT"
    assert jobs.pool(None) is jobs.first_pool
    assert jobs.pool("SMTP_Pool") is jobs.pools["SMTP_POOL"]
    section = jobs.for_channel("tcp_lmtpcs")
    assert (section.program, section.max_life_age, section.max_life_conns) == ("tcp_lmtp_client", 3600, 9)
    assert jobs.for_channel("tcp_local").program == "tcp_smtp_client"
    assert jobs.for_channel("L").program == "l_master"
    assert jobs.for_channel("process").program == ""
    assert jobs.synch_time == Times(9000, 3600)
    assert jobs.periodic_jobs[0].times == Times(None, 1800)


def test_dispatcher_services(tmp_path: Path) -> None:
    text = """VERSION=1.1
max_procs = 16%F
<more.cnf
[SERVICE=DISPATCHER]
DEBUG=-1
[service=A]
PORT=25,2525
TLS_PORT=465
IMAGE=/opt/bin/TCP_SMTP_SERVER
INTERFACE_ADDRESS=127.0.0.1
PARAMETER=CHANNEL=tcp_local
DNS_VERIFY_DOMAIN=one.example
DNS_VERIFY_DOMAIN=two.example
STACKSIZE=100
ASTLM=1
[SERVICE=B]
PORT=25
INTERFACE_ADDRESS=[::1]
IMAGE=tcp_smtp_server
[SERVICE=OFF]
PORT=0
IMAGE=PMDF_EXE:TCP_SMTP_SERVER.EXE
"""
    configuration = read(tmp_path, **{"dispatcher.cnf": text, "more.cnf": "MAX_CONNS=\\\n  7\n"})
    first, second, off = configuration.dispatcher.services
    assert configuration.warnings == ()
    assert configuration.dispatcher.options == {"DEBUG": "-1"}
    assert (first.ports, first.tls_ports, first.image, first.channel) == ((25, 2525), (465,), "tcp_smtp_server", "tcp_local")
    assert (first.max_procs, first.max_conns, first.backlog, first.stacksize) == (15, 7, 105, 0)
    assert first.dns_verify_domains == ("one.example", "two.example")
    assert (second.interface_address, off.enabled, off.image) == ("::1", False, "tcp_smtp_server")


def test_a_service_whose_first_line_is_a_comment_is_told_of(tmp_path: Path) -> None:
    """The product's guide prints the LMTP service so: its options would be those of the service before."""
    text = "[SERVICE=SMTP]\nPORT=25\nIMAGE=tcp_smtp_server\n![SERVICE=LMTPSS]\nPORT=225\nIMAGE=tcp_lmtp_server\n"
    warnings = [str(fault) for fault in read(tmp_path, **{"dispatcher.cnf": text}).warnings]
    assert warnings[1] == (
        "config/dispatcher.cnf:6: a second IMAGE in service SMTP, which counts: is a line [SERVICE=...] above it commented out?"
    )


def test_store_conf(tmp_path: Path) -> None:
    text = """! the store
store.quotaenforcement = off
defaultmailboxquota = 50M
store.quotagraceperiod = 2
store.quotaexceededmsginterval = 90s
service.defaultdomain = Example.COM
store.header_check = Lenient
local.store.overquotastatus = no
store.mine = 1
local.store.quotaoverdraft = on
quotanotification = yes
store.quotaexceededmsg = Subject: full$$[ID]$
"""
    configuration = read(tmp_path, **{"store.conf": text})
    store = configuration.store
    assert (store.quotaenforcement, store.defaultmailboxquota, store.defaultmessagequota) == (False, 50 * 1024 * 1024, -1)
    assert (store.quotagraceperiod, store.quotaexceededmsginterval) == (7200, 90)
    assert (store.defaultdomain, store.header_check, store.autocreate) == ("example.com", "lenient", True)
    assert (store.quotaoverdraft, store.quotanotification, store.quotaexceededmsg) == (True, True, "Subject: full$$[ID]$")
    assert store.raw["store.mine"] == "1"
    assert [str(fault) for fault in configuration.warnings] == ["config/store.conf:9: unknown setting store.mine"]


def test_hosts_general_aliases_and_channel_options(tmp_path: Path) -> None:
    configuration = read(
        tmp_path,
        **{
            "option.dat": "USE_TEXT_DATABASES=3\nLDAP_LDIF_FILE=people.ldif\nHOSTS_FILE=IMTA_TABLE:names\n",
            "people.ldif": "",
            "names": "127.0.0.1 Store1.example.com s1 # first\n::1 store1.example.com.\n",
            "general.txt": '! stores\nlmtp|Store1.example.com     yes \n"two words"  a b \nempty\n<more.txt\n',
            "more.txt": "EMPTY full\n",
            "aliases": '! aliases\nPostmaster: root@example.com, \n  "a,b"@x.test\n# more\nboss: @a,@b:c@d, e@f\n<more.aliases\n',
            "more.aliases": "list: <one@x>, two\n",
            "tcp_local_option": "MAX_CLIENT_THREADS=3\nSTATUS_RECEIVE_TIME=0.5\n",
        },
    )
    assert configuration.ldif_file == tmp_path / "config" / "people.ldif"
    assert configuration.hosts == {"store1.example.com": ("127.0.0.1", "::1"), "s1": ("127.0.0.1",)}
    assert configuration.general == {"lmtp|store1.example.com": "yes", "two words": "a b", "empty": "full"}
    assert configuration.aliases["postmaster"].addresses == ("root@example.com", '"a,b"@x.test')
    assert configuration.aliases["boss"].addresses == ("@a,@b:c@d", "e@f")
    assert configuration.aliases["list"].addresses == ("one@x", "two")
    assert configuration.channel_option("TCP_local").integer("MAX_CLIENT_THREADS", 10) == 3
    assert configuration.channel_option("x").integer("MAX_CLIENT_THREADS", 10) == 10
    assert [str(fault) for fault in configuration.warnings] == [
        "config/option.dat:1: USE_TEXT_DATABASES=3: reverse.txt and forward.txt are not read, general.txt is",
        "config/more.txt:1: key empty given twice: the last one counts",
    ]


def test_options_of_the_product_that_change_nothing_a_site_would_miss_are_silent(tmp_path: Path) -> None:
    text = """MAX_HEADER_BLOCK_USE=0.5
max_header_line_use = .25
LOG_DELAY_BINS=60,600,6000
COMMENT_CHARS=40 59
USE_PERMANENT_ERROR=15
ENABLE_SIEVE_BODY=1
STRING_POOL_SIZE_3=100000
REVERSE_URL=ldap:///$V?$N?sub?$R
SPAMFILTER1_CONFIG_FILE=/opt/SUNWmsgsr/lib/bmiconfig.xml
SPAMFILTER1_STRING_ACTION=data:,require ["fileinto"]; fileinto "$U";
LDAP_OPTIN1=mailAntiUBEService
LDAP_CAPTURE=
LDAP_SCHEMATAG=ims50
LOG_MESSAGES_SYSLOG=0
"""
    own = "INITIAL_COMMAND=\nBANNER_PURGE_DELAY=0\nCUSTOM_VERSION_STRING=x\nLOG_BANNER=1\n"
    assert read(tmp_path, **{"option.dat": text, "tcp_local_option": own}).warnings == ()


def test_options_of_a_channel_a_site_would_miss_are_told(tmp_path: Path) -> None:
    own = "PROXY_PASSWORD=secret\nBANNER_PURGE_DELAY=100\n"
    assert [str(fault).partition(": ")[2] for fault in read(tmp_path, tcp_local_option=own).warnings] == [
        "PROXY_PASSWORD is set: the product's SMTP proxy is not known, its clients have its address",
        "BANNER_PURGE_DELAY=100: clients that talk before the greeting are not held back",
    ]


SCAN = "mail is not scanned: put the scanner before or behind this machine, by SMTP"
CLASSES = "users and groups of other tags than ims50 are not found: name their classes, LDAP_USER_OBJECT_CLASSES"
OTHER_URL = "senders are looked for by ALIAS_URL0 and ALIAS_URL1, not by this URL"
DATABASE = "binary databases are not read: write their entries into general.txt or aliases"


def test_options_a_site_would_miss_are_told_with_what_is_not_done(tmp_path: Path) -> None:
    text = "SPAMFILTER2_LIBRARY=IMTA_LIB:libspamass.so\nLDAP_CAPTURE=mailCapture\nUSE_DOMAIN_DATABASE=1\nLOG_MESSAGES_SYSLOG=20\n"
    text += "LDAP_SCHEMATAG=ims50,nms41\nREVERSE_URL=ldap:///$V?cn?sub?(cn=$A)\n"
    assert [str(fault) for fault in read(tmp_path, **{"option.dat": text}).warnings] == [
        f"config/option.dat:1: SPAMFILTER2_LIBRARY=IMTA_LIB:libspamass.so: {SCAN}",
        "config/option.dat:2: LDAP_CAPTURE=mailCapture: no copies are captured",
        f"config/option.dat:3: USE_DOMAIN_DATABASE=1: {DATABASE}",
        "config/option.dat:4: LOG_MESSAGES_SYSLOG=20: nothing goes to syslog; mail.log_current has it",
        f"config/option.dat:5: LDAP_SCHEMATAG=ims50,nms41: {CLASSES}",
        f"config/option.dat:6: REVERSE_URL=ldap:///$V?cn?sub?(cn=$A): {OTHER_URL}",
    ]


ALIASES = r"""! of the old product
cont: one@x.test, \
two@x.test, \
! a comment between
   three@x.test
many@x.test: <a@x.test> <b@x.test> "c, d"@x.test, e@x.test f
native: mailsrv@native-daemon
held: @hold-daemon:x@y.test
file@x.test: <IMTA_TABLE:list1.dis, [ENVELOPE_FROM] owner@x.test
parameter: a@x.test, [AUTH_LIST] <who.dis
staff: "ldap:///o=x?mail?sub?(ou=staff)"
full: John Doe <jd@x.test>
"""


def test_aliases_of_the_product(tmp_path: Path) -> None:
    configuration = read(tmp_path, aliases=ALIASES)
    found = {name: alias.addresses for name, alias in configuration.aliases.items()}
    assert found["cont"] == ("one@x.test", "two@x.test", "three@x.test")
    assert found["many@x.test"] == ("a@x.test", "b@x.test", '"c, d"@x.test', "e@x.test f")
    assert (found["native"], found["held"]) == (("mailsrv@native-daemon",), ("@hold-daemon:x@y.test",))
    illegal = "is no address (illegal character in address); mail for it is answered 450"
    group = "make it a group of the directory; mail for it is answered"
    unread = "is not read: write its members here, or"
    assert [str(fault) for fault in configuration.warnings] == [
        f"config/aliases:6: alias many@x.test: 'e@x.test f' {illegal}",
        f"config/aliases:9: alias file@x.test: the list <IMTA_TABLE:list1.dis {unread} {group} 450",
        f"config/aliases:10: alias parameter: the list parameter [AUTH_LIST] <who.dis is not read: {group} 450",
        f'config/aliases:11: alias staff: the URL "ldap:///o=x?mail?sub?(ou=staff)" is not asked: {group} 550',
        f"config/aliases:12: alias full: 'John Doe <jd@x.test>' {illegal}",
    ]


def test_files_of_the_product_that_nobody_reads_are_told_of(tmp_path: Path) -> None:
    left = dict.fromkeys(
        ("imta.filter", "conversions", "tcp_local_headers.opt", "msg.conf", "internet.rules", "TCP_AUTH_option"), ""
    )
    found = [str(fault).partition(": ")[0::2] for fault in read(tmp_path, **left).warnings]
    assert [place for place, _ in found] == [
        f"config/{name}" for name in ("imta.filter", "conversions", "tcp_local_headers.opt", "msg.conf", "TCP_AUTH_option")
    ]
    assert found[0][1].startswith("nobody reads this file: the script for all mail is not run: use destinationfilter")


def test_octets_that_are_not_utf_8_are_told_of_once_and_not_in_comments(tmp_path: Path) -> None:
    instance = tmp_path / "config"
    read(tmp_path)
    (instance / "option.dat").write_bytes(b"! Gr\xfc\xdfe\n# \xe9\nRETURN_PERSONAL=Gr\xfc\xdfe\nERROR_TEXT_UNKNOWN_USER=\xe9\n")
    (instance / "mappings").write_bytes("PORT_ACCESS\n\n  *  $NGrüße\n! \udcfc\n".encode("utf-8", "surrogateescape"))
    configuration = load(Instance(tmp_path))
    assert configuration.options.text("RETURN_PERSONAL") == "Gr\udcfc\udcdfe"
    assert [str(fault) for fault in configuration.warnings] == [
        "config/option.dat:3: is not UTF-8 from here on (ISO 8859-1?): such octets go out as they stand"
    ]


def test_without_the_bit_there_is_no_general_database(tmp_path: Path) -> None:
    assert read(tmp_path, **{"general.txt": "a b\n"}).general == {}


def test_checks_of_higher_layers_are_reported_with_ours(tmp_path: Path) -> None:
    for name, content in {**BASE, "store.conf": "x\n"}.items():
        (tmp_path / "config").mkdir(exist_ok=True)
        (tmp_path / "config" / name).write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load(Instance(tmp_path), lambda found: [Fault("f", len(found.imta.channels), "from above")])
    assert [str(fault) for fault in caught.value.faults] == ["config/store.conf:1: 'x' is not name = value", "f:2: from above"]
    assert all(fault.severity is Severity.ERROR for fault in caught.value.faults)


def test_values() -> None:
    assert [integer(text) for text in ("10", "-3", "8%17", "2%101", "-16%fF")] == [10, -3, 15, 5, -255]
    assert [number(text) for text in ("1.5", "-0.25", ".5", "3", "8%10")] == [1.5, -0.25, 0.5, 3, 8]
    assert [boolean(text) for text in ("1", "YES", "off", "False")] == [True, True, False, False]
    assert [span(text, "h") for text in ("1", "30m", "2 D", "-1")] == [3600, 1800, 172800, -3600]
    assert [duration(text) for text in ("pt30m", "P1DT1H", "P1Y", "p2w", "PT1S")] == [1800, 90000, 31536000, 1209600, 1]


@pytest.mark.parametrize(
    ("read_value", "text"),
    [(integer, "1x"), (integer, "8%9"), (integer, "99%1"), (integer, ""), (number, "1.2.3"), (number, "inf"), (boolean, "maybe")]
    + [(duration, text) for text in ("p", "pt", "P1DT", "1h", "PT1.5H", "")],
)
def test_bad_values(read_value: "type[int]", text: str) -> None:
    with pytest.raises(BadValueError):
        read_value(text)


def test_line_ends_of_other_systems_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    options = read(tmp_path, **{"option.dat": "\ufeffBLOCK_LIMIT=20\r\nLDAP_HOST=\\\r\n  ldap.example.com\r\n"}).options
    assert options.integer("BLOCK_LIMIT") == 20
    assert options.text("LDAP_HOST") == "ldap.example.com"


def test_octets_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "option.dat").write_bytes(b"RETURN_PERSONAL=Gr\xfc\xdfe\n")
    options = read(tmp_path).options
    assert options.text("RETURN_PERSONAL").encode("utf-8", "surrogateescape") == b"Gr\xfc\xdfe"
