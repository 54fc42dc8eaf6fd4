"""A source channel as its clients meet it: what its keywords offer and demand (imta-cnf 3.2).

    maytlsserver musttlsserver notlsserver      STARTTLS, where the service has a certificate; the forms without `server` count
    maysaslserver mustsaslserver nosaslserver   after them; AUTH under TLS, with AUTH_IN_CLEAR=1 in the option file without it too
    tlsswitchchannel, saslswitchchannel         the channel that mail is accounted to after STARTTLS, after a login
    smtp_lf smtp_cr smtp_crorlf                 line ends that are taken beside CRLF (line_ends.py)
    mailfromdnsverify                           the domain of MAIL FROM must be in the DNS (sender_domain.py)
    submit                                      header fields a submission lacks are added (submission.py)
    disconnectbadauthlimit                      failed logins of one connection; with the last it ends with 421. 3 by default

Decided when the configuration is read: a connection only looks up its channel.
"""

import re
from dataclasses import dataclass, replace

from posthouse.config.channel import Channel
from posthouse.dialogue.policy import BareLineEnds, Policy
from posthouse.relay.smtp_server.limits import Limits
from posthouse.relay.smtp_server.line_ends import pattern_of
from posthouse.relay.smtp_server.offers import offered
from posthouse.relay.smtp_server.sender_domain import SenderDomains

LEAST_BAD_LOGINS = 3


@dataclass(frozen=True, slots=True)
class SourceChannel:
    """One channel that mail comes in on."""

    name: str
    policy: Policy
    """in clear"""
    secured: Policy
    """under TLS"""
    after_tls: str
    after_login: str
    submits: bool
    limits: Limits
    bad_logins: int = LEAST_BAD_LOGINS
    bare: re.Pattern[bytes] | None = None
    """what becomes CRLF in a body"""
    domains: SenderDomains | None = None
    """asked about every sender's domain"""

    @classmethod
    def read(
        cls,
        channel: Channel,
        policy: Policy,
        limits: Limits,
        *,
        certificate: bool,
        in_clear: bool,
        domains: SenderDomains | None = None,
    ) -> "SourceChannel":
        """What the channel's keywords say.

        Args:
            channel: the channel.
            policy: of its dialogue, without TLS and AUTH.
            limits: what one client may do.
            certificate: whether the service has one.
            in_clear: whether passwords are taken without TLS.
            domains: who judges senders, where the channel wants that.
        """
        bare = pattern_of(channel)
        if bare is not None:
            policy = replace(policy, bare_line_ends=BareLineEnds.REPORT)
        tls = _server_keyword(channel, "tls") if certificate else ""
        sasl = _server_keyword(channel, "sasl")
        policies = offered(policy, tls, sasl, in_clear=in_clear)
        return cls(
            name=channel.name,
            policy=policies[0],
            secured=policies[1],
            after_tls=(channel.value("tlsswitchchannel") or "").lower(),
            after_login=(channel.value("saslswitchchannel") or "").lower(),
            submits=channel.has("submit"),
            limits=limits,
            bad_logins=channel.number("disconnectbadauthlimit", LEAST_BAD_LOGINS),
            bare=bare,
            domains=domains,
        )


def _server_keyword(channel: Channel, subject: str) -> str:
    """`may`, `must` or nothing."""
    for end in ("server", ""):
        for word in ("must", "may", "no"):
            if channel.has(f"{word}{subject}{end}"):
                return "" if word == "no" else word
    return ""
