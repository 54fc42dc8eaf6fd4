"""What a template asks of the world outside: the answer is a text, or None when there is none."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LdapUrl:
    """First value found by an LDAP URL."""

    url: str


@dataclass(frozen=True, slots=True)
class DomainAttribute:
    """First value of an attribute of a domain's directory entry."""

    domain: str
    attribute: str


Question = LdapUrl | DomainAttribute
