"""A source channel as its clients meet it: what its keywords offer and demand (imta-cnf 3.2).

    maytlsserver musttlsserver notlsserver      STARTTLS, where the service has a certificate; the forms without `server` count
    maysaslserver mustsaslserver nosaslserver   after them; AUTH under TLS, with AUTH_IN_CLEAR=1 in the option file without it too
    tlsswitchchannel, saslswitchchannel         the channel that mail is accounted to after STARTTLS, after a login
    submit                                      header fields a submission lacks are added (submission.py)
    recipientlimit recipientcutoff holdlimit    recipients of a transaction: the next is deferred, all is refused, all is held
    disconnect...limit                          after so many refused recipients, recipients, messages, bad commands, bad logins
                                                the connection ends with 421

Decided when the configuration is read: a connection only looks up its channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from posthouse.config.channel import Channel
from posthouse.dialogue.policy import Policy
from posthouse.mail.status import Status

MECHANISMS = frozenset({"PLAIN", "LOGIN"})
LEAST_BAD_LOGINS = 3
NO_LIMIT = 1 << 62
_TLS_FIRST = Status(530, "5.7.0", "Must issue a STARTTLS command first")
_LOGIN_FIRST = Status(530, "5.7.0", "Authentication required")


@dataclass(frozen=True, slots=True)
class SourceChannel:
    """One channel that mail comes in on. Limits that are not set are `NO_LIMIT`."""

    name: str
    policy: Policy
    """in clear"""
    secured: Policy
    """under TLS"""
    after_tls: str
    after_login: str
    submits: bool
    recipients: int = NO_LIMIT
    cutoff: int = NO_LIMIT
    hold_beyond: int = NO_LIMIT
    rejections: int = NO_LIMIT
    offered: int = NO_LIMIT
    transactions: int = NO_LIMIT
    bad_commands: int = NO_LIMIT
    bad_logins: int = LEAST_BAD_LOGINS

    @property
    def takes_logins(self) -> bool:
        """Whether a directory is asked about passwords."""
        return bool(self.policy.known_mechanisms)

    @classmethod
    def read(cls, channel: Channel, policy: Policy, *, certificate: bool, in_clear: bool) -> "SourceChannel":
        """What the channel's keywords say.

        Args:
            channel: the channel.
            policy: of its dialogue, without TLS and AUTH.
            certificate: whether the service has one.
            in_clear: whether passwords are taken without TLS.
        """
        tls = _server_keyword(channel, "tls") if certificate else ""
        sasl = _server_keyword(channel, "sasl")
        policies = _policies(policy, tls, sasl, in_clear=in_clear)
        return cls(
            name=channel.name,
            policy=policies[0],
            secured=policies[1],
            after_tls=(channel.value("tlsswitchchannel") or "").lower(),
            after_login=(channel.value("saslswitchchannel") or "").lower(),
            submits=channel.has("submit"),
            recipients=channel.number("recipientlimit", NO_LIMIT),
            cutoff=channel.number("recipientcutoff", NO_LIMIT),
            hold_beyond=channel.number("holdlimit", NO_LIMIT),
            rejections=channel.number("disconnectrejectlimit", NO_LIMIT),
            offered=channel.number("disconnectrecipientlimit", NO_LIMIT),
            transactions=channel.number("disconnecttransactionlimit", NO_LIMIT),
            bad_commands=channel.number("disconnectbadcommandlimit", NO_LIMIT),
            bad_logins=channel.number("disconnectbadauthlimit", LEAST_BAD_LOGINS),
        )


def _server_keyword(channel: Channel, subject: str) -> str:
    """`may`, `must` or nothing."""
    for end in ("server", ""):
        for word in ("must", "may", "no"):
            if channel.has(f"{word}{subject}{end}"):
                return "" if word == "no" else word
    return ""


def _policies(policy: Policy, tls: str, sasl: str, *, in_clear: bool) -> tuple[Policy, Policy]:
    """In clear, and under TLS."""
    login_first = _LOGIN_FIRST if sasl == "must" else None
    auth = (f"AUTH {' '.join(sorted(MECHANISMS, reverse=True))}",) if sasl else ()
    if sasl:
        policy = replace(
            policy, known_mechanisms=MECHANISMS, known_mail_params=policy.known_mail_params | {"AUTH"}, barred=login_first
        )
    secured = replace(policy, mechanisms=policy.known_mechanisms, extensions=policy.extensions + auth)
    clear = secured if in_clear else policy
    if not tls:
        return clear, secured
    barred = _TLS_FIRST if tls == "must" or (login_first is not None and not in_clear) else login_first
    return replace(clear, starttls=True, extensions=(*clear.extensions, "STARTTLS"), barred=barred), secured


def sources_of(
    channels: Mapping[str, Channel], policies: Mapping[str, Policy], *, certificate: bool, in_clear: bool
) -> dict[str, SourceChannel]:
    """Every channel mail may come in on, by name.

    Args:
        channels: of imta.cnf.
        policies: by channel, those that a client can meet.
        certificate: whether the service has one.
        in_clear: whether passwords are taken without TLS.
    """
    return {
        name: SourceChannel.read(channels[name], policy, certificate=certificate, in_clear=in_clear)
        for name, policy in policies.items()
    }
