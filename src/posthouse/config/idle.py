"""Options and channel keywords of the product that load here and do nothing, where a site would miss it.

Each has the words for a warning: what is not done, and where there is one, the way to have it. What changes only how something
looks, how large a table is or how much is logged is not here: it is accepted without a word.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from posthouse.config.value import BadValueError, integer

_SCAN = "mail is not scanned: put the scanner before or behind this machine, by SMTP"
_DATABASE = "binary databases are not read: write their entries into general.txt or aliases"
_LIMIT = "limits in entries of the directory are not kept: the channel's are (recipientlimit, recipientcutoff, blocklimit)"
_SYSLOG = "nothing goes to syslog; mail.log_current has it"
_TAGS = "users and groups of other tags than ims50 are not found: name their classes, LDAP_USER_OBJECT_CLASSES"
_CAPTURE = "no copies are captured"
_OPTIONS: tuple[tuple[str, str], ...] = (
    (r"(SPAMFILTER\d?|BRIGHTMAIL)_LIBRARY", _SCAN),
    (r"LDAP_(DOMAIN_ATTR_)?CAPTURE", _CAPTURE),
    (r"LDAP_DOMAIN_ATTR_FILTER", "Sieve scripts of domains are not run: use destinationfilter on the channel"),
    (r"LDAP_(RECIPIENTLIMIT|RECIPIENTCUTOFF|SOURCEBLOCKLIMIT|BLOCKLIMIT)", _LIMIT),
    (r"LDAP_DOMAIN_ATTR_(RECIPIENTLIMIT|SOURCEBLOCKLIMIT)", _LIMIT),
    (r"LDAP_SOURCE_CHANNEL", "the source channel is not changed by an attribute of the sender"),
    (r"LDAP_DETOURHOST_OPTIN", "mail takes no detour by another host"),
    (r"USE_(ALIAS|DOMAIN|FORWARD)_DATABASE|USE_PERSONAL_ALIASES", _DATABASE),
    (r"ACCESS_COUNTS", "strings asked of access tables have no counts: entries written for them do not match"),
    (r"RETURN_ENVELOPE", "notices always have an empty sender"),
    (r"LOG_(MESSAGES|CONNECTIONS)_SYSLOG|LOG_SNDOPR|HELD_SNDOPR", _SYSLOG),
    (r"(NON_URGENT|NORMAL|URGENT)_BLOCK_LIMIT", "large messages keep their priority"),
)
_REVERSE_URL = re.compile(r"0?|ldap:///\$V\?(\$N|mail|\*)?\?sub\?\$[RQ]", re.IGNORECASE)
"""those the product is shipped with: they find who has an address"""
_FAMILIES = re.compile(r"SPAMFILTER\d?_\w+|BRIGHTMAIL_\w+|LDAP_(SOURCE_|DOMAIN_ATTR_)?OPTIN\d?")
"""options of scanners: those beside the library are known and not told of, one warning is enough"""


def is_of_a_scanner(name: str) -> bool:
    """Whether an option (upper case) belongs to the product's interface to scanners."""
    return _FAMILIES.fullmatch(name) is not None


def idle_option(name: str, text: str) -> str:
    """Why this option (upper case) of option.dat, or a part of it, does nothing; empty when nothing is missed."""
    if name == "USE_TEXT_DATABASES":
        return "reverse.txt and forward.txt are not read, general.txt is" if _number(text) & 6 else ""
    if name == "REVERSE_URL":
        return "" if _REVERSE_URL.fullmatch(text) else "senders are looked for by ALIAS_URL0 and ALIAS_URL1, not by this URL"
    if name == "LDAP_SCHEMATAG":
        others = {tag.strip().lower() for tag in text.split(",")} - {"", "ims50"}
        return _TAGS if others else ""
    reason = next((reason for pattern, reason in _OPTIONS if re.fullmatch(pattern, name)), "")
    return reason if text not in {"", "0"} else ""


_CHANNEL_OPTIONS = {
    "BANNER_PURGE_DELAY": "clients that talk before the greeting are not held back",
    "INITIAL_COMMAND": "no command is sent first",
    "PROXY_PASSWORD": "the product's SMTP proxy is not known, its clients have its address",
    "TRANSACTION_LIMIT_RCPT_TO": "recipients of a session are not counted; transactionlimit counts its messages",
}


def idle_channel_option(name: str, text: str) -> str:
    """The same for an option of a channel's file."""
    return _CHANNEL_OPTIONS.get(name, "") if text not in {"", "0"} else ""


def _number(text: str) -> int:
    try:
        return integer(text)
    except BadValueError:  # a fault, reported with the others
        return 0


_TO_SCANNER = [f"{side}{what}" for side in ("source", "destination") for what in ("brightmail", "brightmailoptin")] + [
    f"{side}spamfilter{number}{end}" for side in ("source", "destination") for number in range(1, 9) for end in ("", "optin")
]
KEYWORDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(_TO_SCANNER, _SCAN),
        "alternatechannel": "mail above a limit goes where all mail goes",
        "aliasdetourhost": "mail takes no detour by another host",
        "aliasoptindetourhost": "mail takes no detour by another host",
        "authrewrite": "the Sender: field is not set from the login",
        "deferred": "Deferred-Delivery: is not looked at, mail goes at once",
        "deliveryflags": "what comes in by the channel has no delivery flags of its own",
        "headertrim": "no header fields are taken out",
        "innertrim": "no header fields are taken out",
        "headerread": "no header fields are taken out",
        "maxblocks": "large messages are not split; blocklimit refuses them",
        "maxlines": "long messages are not split; linelimit refuses them",
        "sendetrn": "no ETRN is sent",
        "sourcesrs": "senders are rewritten where SRS_DOMAIN in option.dat says so",
        "destinationsrs": "senders are rewritten where SRS_DOMAIN in option.dat says so",
        **dict.fromkeys(("spfhelo", "spfmailfrom", "spfrcptto"), "SPF is not looked at"),
        "userswitchchannel": "the source channel is not changed by an attribute of the sender",
    }
)
"""keyword to what is not done although it stands on a channel"""
