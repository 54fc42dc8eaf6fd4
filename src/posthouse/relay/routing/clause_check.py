"""Whether what the clauses of DELIVERY_OPTIONS make can get anywhere: rules, channels and keywords they need (option-dat 2).

A clause by LMTP needs a rewrite rule for `.lmtp` (`.lmtpn`) and a channel with the keyword lmtp: without them its addresses would
leave by the rule for the rest of the world. The product ships both commented out, and the channel without the keywords that
lead to the user's own store (LMTP chapter 16.4). The host at its end must be a channel's, which is dropped on the wire. A folder
stands behind a hosted user's domain, as stores read it: the older order names his namesake in the default domain. Of other
clauses a host of one label must be a channel's or have a rule. Clauses of the built-in option are not looked at.
"""

import re
from collections.abc import Iterable, Iterator

from posthouse.config.channel import Channel
from posthouse.config.fault import Fault, Severity
from posthouse.config.imta_cnf import ImtaCnf
from posthouse.relay.routing.clause_template import Whole
from posthouse.relay.routing.delivery_options import BUILT, Clause

_ROUTE = re.compile(r"@([^:$]+):")
_LABEL = re.compile(r"[\w-]+")
_FOLDER_FIRST = re.compile(r"\$2S.*%.*\$2I", re.IGNORECASE)


def check_clauses(imta: ImtaCnf, clauses: Iterable[Clause]) -> list[Fault]:
    """An error where every user's mail would go astray, else warnings."""
    return [fault for clause in clauses if clause.file for fault in _faults(imta, clause)]


def _faults(imta: ImtaCnf, clause: Clause) -> Iterator[Fault]:
    yield from _put_off(imta, clause)
    yield from _by_lmtp(imta, clause) if clause.template.through_lmtp else _by_name(imta, clause)
    if clause.name == "mailbox" and _FOLDER_FIRST.search(clause.text):
        text = "delivery option mailbox has the folder before the domain: mail for a hosted user's folder would be his namesake's"
        yield Fault(clause.file, clause.line, f"{text} in the default domain: write $M%$\\$2I$_+$2S")
    if clause.name == "autoreply" and not clause.autoreply:
        text = "delivery option autoreply without ! is for a program there is not, its copies are returned at last"
        yield Fault(clause.file, clause.line, f"{text}: write #*^!autoreply=$M+$D@bitbucket", Severity.WARNING)


def _put_off(imta: ImtaCnf, clause: Clause) -> Iterator[Fault]:
    expands = clause.offline or clause.template.whole is not Whole.TEXT
    if expands and "reprocess" not in imta.channels:
        text = f"delivery option {clause.name}: there is no channel reprocess; what is put off to it is refused"
        yield Fault(clause.file, clause.line, text, Severity.WARNING)


def _by_name(imta: ImtaCnf, clause: Clause) -> Iterator[Fault]:
    made = clause.text.partition("=")[2].strip()
    route = _ROUTE.match(made)
    host = route[1] if route else made.rpartition("@")[2]
    if clause.name not in BUILT or clause.template.whole is not Whole.TEXT or not _LABEL.fullmatch(host):
        return
    if imta.by_tag(host) is None and all(rule.pattern.lower() not in {host.lower(), "*"} for rule in imta.rewrite_rules):
        text = f"delivery option {clause.name}: neither a channel nor a rewrite rule has the host {host}"
        yield Fault(clause.file, clause.line, f"{text}: its mail leaves this machine", _severity(clause))


def _severity(clause: Clause) -> Severity:
    return Severity.ERROR if clause.name == "mailbox" else Severity.WARNING


def _by_lmtp(imta: ImtaCnf, clause: Clause) -> Iterator[Fault]:
    suffix = ".lmtpn" if ".lmtpn:" in clause.text.lower() else ".lmtp"
    lacking = []
    if not any(rule.pattern.lower().endswith(suffix) for rule in imta.rewrite_rules):
        lacking.append(f"rewrite rule for {suffix}")
    if not any(channel.is_lmtp for channel in imta.channels.values()):
        lacking.append("channel with the keyword lmtp")
    if lacking:
        need = " and no ".join(lacking)
        text = f"delivery option {clause.name} is by LMTP, and imta.cnf has no {need}: its mail would be returned"
        yield Fault(clause.file, clause.line, text, _severity(clause))
    tag = clause.text.rpartition("@")[2].strip()
    if "$" not in tag and ":" not in tag and imta.by_tag(tag) is None:
        text = f"delivery option {clause.name}: no channel has the host {tag}, stores would take it for the users' domain"
        yield Fault(clause.file, clause.line, f"{text}: write the LMTP channel's", _severity(clause))


def check_lmtp_channels(imta: ImtaCnf) -> list[Fault]:
    """A warning for each LMTP channel that rewrite rules lead to and that reaches no store."""
    templates = " ".join(rule.template.lower() for rule in imta.rewrite_rules)
    clients = (each for each in imta.channels.values() if each.is_lmtp and f"@{each.official_host.lower()}" in templates)
    return [
        Fault(channel.file, channel.line, f"channel {channel.name}: {reason}", Severity.WARNING)
        for channel in clients
        for reason in _reaches_nobody(channel)
    ]


def _reaches_nobody(channel: Channel) -> Iterator[str]:
    if channel.has("daemon"):
        return
    if not (channel.has("multigate") and channel.has("connectcanonical")) and "." not in channel.official_host:
        yield (
            f"without multigate and connectcanonical it connects to {channel.official_host}, not to the user's store: mail waits"
        )
    if not channel.has("port"):
        yield "without port it connects to 25, where stores speak SMTP: mail waits"
