"""Attribute names: the option that renames each one, and its default (option-dat.md 3).

Answers always carry the default names in lower case, so that nobody behind this package needs to know the options.
"""

from collections.abc import Callable
from typing import Final

USER_OPTIONS: Final = {
    "LDAP_PRIMARY_ADDRESS": "mail",
    "LDAP_ALIAS_ADDRESSES": "mailAlternateAddress",
    "LDAP_EQUIVALENCE_ADDRESSES": "mailEquivalentAddress",
    "LDAP_UID": "uid",
    "LDAP_MAILHOST": "mailHost",
    "LDAP_ROUTING_ADDRESS": "mailRoutingAddress",
    "LDAP_DELIVERY_OPTION": "mailDeliveryOption",
    "LDAP_FORWARDING_ADDRESS": "mailForwardingAddress",
    "LDAP_PROGRAM_INFO": "mailProgramDeliveryInfo",
    "LDAP_DELIVERY_FILE": "mailDeliveryFileURL",
    "LDAP_DISK_QUOTA": "mailQuota",
    "LDAP_MESSAGE_QUOTA": "mailMsgQuota",
    "LDAP_USER_STATUS": "inetUserStatus",
    "LDAP_USER_MAIL_STATUS": "mailUserStatus",
    "LDAP_GROUP_MAIL_STATUS": "inetMailGroupStatus",
    "LDAP_FILTER": "mailSieveRuleSource",
    "LDAP_START_DATE": "vacationStartDate",
    "LDAP_END_DATE": "vacationEndDate",
    "LDAP_AUTOREPLY_MODE": "mailAutoReplyMode",
    "LDAP_AUTOREPLY_SUBJECT": "mailAutoReplySubject",
    "LDAP_AUTOREPLY_TEXT": "mailAutoReplyText",
    "LDAP_AUTOREPLY_TEXT_INT": "mailAutoReplyTextInternal",
    "LDAP_AUTOREPLY_TIMEOUT": "mailAutoReplyTimeOut",
    "LDAP_ATTR_MAXIMUM_MESSAGE_SIZE": "mailMsgMaxBlocks",
    "LDAP_PREFERRED_LANGUAGE": "preferredLanguage",
    "LDAP_REJECT_ACTION": "mgrpMsgRejectAction",
    "LDAP_REJECT_TEXT": "mailRejectText",
    "LDAP_AUTH_POLICY": "mgrpBroadcasterPolicy",
    "LDAP_AUTH_PASSWORD": "mgrpAuthPassword",
    "LDAP_AUTH_DOMAIN": "mgrpAllowedDomain",
    "LDAP_CANT_DOMAIN": "mgrpDisallowedDomain",
    "LDAP_AUTH_URL": "mgrpAllowedBroadcaster",
    "LDAP_CANT_URL": "mgrpDisallowedBroadcaster",
    "LDAP_MODERATOR_URL": "mgrpModerator",
    "LDAP_GROUP_URL1": "mgrpDeliverTo",
    "LDAP_GROUP_URL2": "memberURL",
    "LDAP_GROUP_DN": "uniqueMember",
    "LDAP_GROUP_RFC822": "mgrpRFC822MailMember",
    "LDAP_ERRORS_TO": "mgrpErrorsTo",
    "LDAP_ADD_HEADER": "mgrpAddHeader",
    "LDAP_REMOVE_HEADER": "mgrpRemoveHeader",
    "LDAP_PREFIX_TEXT": "mgrpMsgPrefixText",
    "LDAP_SUFFIX_TEXT": "mgrpMsgSuffixText",
}
DOMAIN_OPTIONS: Final = {
    "LDAP_DOMAIN_ATTR_STATUS": "inetDomainStatus",
    "LDAP_DOMAIN_ATTR_MAIL_STATUS": "mailDomainStatus",
    "LDAP_DOMAIN_ATTR_BASEDN": "inetDomainBaseDN",
    "LDAP_DOMAIN_ATTR_CANONICAL": "inetCanonicalDomainName",
    "LDAP_DOMAIN_ATTR_ALIAS": "aliasedObjectName",
    "LDAP_DOMAIN_ATTR_ROUTING_HOSTS": "mailRoutingHosts",
    "LDAP_DOMAIN_ATTR_SMARTHOST": "mailRoutingSmartHost",
    "LDAP_DOMAIN_ATTR_CATCHALL_ADDRESS": "mailDomainCatchallAddress",
    "LDAP_DOMAIN_ATTR_UID_SEPARATOR": "domainUidSeparator",
    "LDAP_DOMAIN_ATTR_DISK_QUOTA": "mailQuota",
    "LDAP_DOMAIN_ATTR_MESSAGE_QUOTA": "mailMsgQuota",
    "LDAP_DOMAIN_ATTR_BLOCKLIMIT": "mailDomainMsgMaxBlocks",
    "LDAP_DOMAIN_ATTR_AUTOREPLY_TIMEOUT": "mailAutoReplyTimeOut",
    "LDAP_DOMAIN_ATTR_REPORT_ADDRESS": "mailDomainReportAddress",
    "LDAP_ATTR_DOMAIN1_SCHEMA2": "sunPreferredDomain",
    "LDAP_ATTR_DOMAIN2_SCHEMA2": "associatedDomain",
}
NAMED_BY_OPTION_ONLY: Final = {
    "LDAP_SPARE_1": "spare1",
    "LDAP_SPARE_2": "spare2",
    "LDAP_SPARE_3": "spare3",
    "LDAP_SPARE_4": "spare4",
    "LDAP_SPARE_5": "spare5",
    "LDAP_AUTOREPLY_ADDRESSES": "autoreplyaddresses",
    "LDAP_GROUP_STATUS": "groupstatus",
}
USER_EXTRAS: Final = (
    "objectClass",
    "cn",
    "rfc822MailMember",
    "mgrpMsgRejectText",
    "mgrpMsgMaxSize",
    "mgrpNoDuplicateChecks",
    "msgVanityDomain",
)
DOMAIN_EXTRAS: Final = ("objectClass", "mailMsgMaxBlocks", "inetDomainSearchFilter")


def names(options: dict[str, str], configured: Callable[[str], str], extras: tuple[str, ...]) -> dict[str, str]:
    """Where to look for each attribute: default name in lower case -> name in the directory as configured.

    Args:
        options: a table above; an attribute of NAMED_BY_OPTION_ONLY that has no option is left out.
        configured: the text of an option, "" when it is not set.
        extras: attributes without an option.
    """
    found = {name.lower(): name for name in extras}
    for option, default in options.items():
        name = configured(option) or ("" if option in NAMED_BY_OPTION_ONLY else default)
        if name:
            found[default.lower()] = name
    return found
