"""What a server of SMTP offers and demands before mail, in clear and under TLS: STARTTLS (RFC 3207) and AUTH (RFC 4954)."""

from dataclasses import replace

from posthouse.dialogue.policy import Policy
from posthouse.mail.status import Status

MECHANISMS = frozenset({"PLAIN", "LOGIN"})
_TLS_FIRST = Status(530, "5.7.0", "Must issue a STARTTLS command first")
_LOGIN_FIRST = Status(530, "5.7.0", "Authentication required")


def offered(policy: Policy, tls: str, sasl: str, *, in_clear: bool) -> tuple[Policy, Policy]:
    """The dialogue's rules in clear, and under TLS.

    Args:
        policy: those without TLS and AUTH.
        tls: `may`, `must` or nothing.
        sasl: the same of a login.
        in_clear: whether passwords are taken without TLS.
    """
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
