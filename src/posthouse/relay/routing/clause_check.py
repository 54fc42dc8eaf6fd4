"""Whether what the clauses of DELIVERY_OPTIONS make can get anywhere: rules and channels they need (option-dat 2).

A clause by LMTP needs a rewrite rule for `.lmtp` (`.lmtpn`) and a channel with the keyword lmtp: without them its addresses would
leave by the rule for the rest of the world. The product ships both commented out. Clauses of the built-in option are not
looked at.
"""

from collections.abc import Iterable, Iterator

from posthouse.config.fault import Fault, Severity
from posthouse.config.imta_cnf import ImtaCnf
from posthouse.relay.routing.clause_template import Whole
from posthouse.relay.routing.delivery_options import Clause


def check_clauses(imta: ImtaCnf, clauses: Iterable[Clause]) -> list[Fault]:
    """An error where every user's mail would go astray, else warnings."""
    return [fault for clause in clauses if clause.file for fault in (*_put_off(imta, clause), *_by_lmtp(imta, clause))]


def _put_off(imta: ImtaCnf, clause: Clause) -> Iterator[Fault]:
    expands = clause.offline or clause.template.whole is not Whole.TEXT
    if expands and "reprocess" not in imta.channels:
        text = f"delivery option {clause.name}: there is no channel reprocess; what is put off to it is refused"
        yield Fault(clause.file, clause.line, text, Severity.WARNING)


def _by_lmtp(imta: ImtaCnf, clause: Clause) -> Iterator[Fault]:
    if not clause.template.through_lmtp:
        return
    suffix = ".lmtpn" if ".lmtpn:" in clause.text.lower() else ".lmtp"
    lacking = []
    if not any(rule.pattern.lower().endswith(suffix) for rule in imta.rewrite_rules):
        lacking.append(f"rewrite rule for {suffix}")
    if not any(channel.is_lmtp for channel in imta.channels.values()):
        lacking.append("channel with the keyword lmtp")
    if lacking:
        need = " and no ".join(lacking)
        text = f"delivery option {clause.name} is by LMTP, and imta.cnf has no {need}: its mail would be returned"
        yield Fault(clause.file, clause.line, text, Severity.ERROR if clause.name == "mailbox" else Severity.WARNING)
