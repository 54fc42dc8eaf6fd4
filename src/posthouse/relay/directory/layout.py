"""Where things are in the directory: the options of option-dat.md 3 that steer searches, read once into one value.

Templates of ALIAS_URL0, ALIAS_URL1, ALIAS_URL2 and DOMAIN_MATCH_URL are LDAP URLs (RFC 4516) of the form
`ldap:///base?attributes?scope?filter` without a host; base and filter take these codes, everything else stands for itself:

    $V $1V  user base of the domain (none: the URL is not used)      $B  LDAP_USER_ROOT      $C  LDAP_DOMAIN_ROOT
    $D  the domain    $A  the address    $R  the address filter      $K  the object class filter
    $$  a dollar sign

ALIAS_URL1 (vanity domains) is asked only when it or DOMAIN_MATCH_URL is set: otherwise every unknown recipient would cost
a search of the whole tree. LDAP_SCHEMALEVEL is 2 unless set to 1; bit values of DOMAIN_UPLEVEL are 1 and 2.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote

from posthouse.config.fault import ConfigurationError, Fault
from posthouse.config.option_file import OptionFile
from posthouse.relay.directory import attributes
from posthouse.relay.directory.filter import FilterError, parse
from posthouse.relay.directory.question import Kind

URL0 = "ldap:///$V?*?sub?$R"
URL1 = "ldap:///$B?*?sub?(&(msgVanityDomain=$D)$R)"
URL2 = "ldap:///$1V?*?sub?(mailAlternateAddress=@$D)"
DOMAIN_FILTER_1 = "(|(objectclass=inetDomain)(objectclass=inetdomainalias))"
DOMAIN_FILTER_2 = "(&(objectclass=sunManagedOrganization)(|({0}=$D)({1}=$D)))"
USER_CLASSES = "inetLocalMailRecipient+inetMailUser"
GROUP_CLASSES = "inetLocalMailRecipient+inetMailGroup"
_CODE = re.compile(r"\$(1?[A-Za-z]|\$)")
_KNOWN_CODES = frozenset({"V", "1V", "B", "C", "D", "A", "R", "K", "$"})

ClassSets: TypeAlias = tuple[frozenset[str], ...]
Renames: TypeAlias = Mapping[str, tuple[str, ...]]
"""name in the directory -> the default names it stands for, all in lower case"""


class Template:
    """A text with codes: `fill` replaces them.

    Args:
        text: literal text and `$` codes.
    """

    __slots__ = ("_parts", "codes", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = tuple(_CODE.split(text))
        self.codes = frozenset(code.upper() for code in self._parts[1::2])

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with every code replaced.

        Raises:
            KeyError: a code has no value.
        """
        parts = self._parts
        if len(parts) == 1:
            return parts[0]
        return "".join([values[part.upper()] if place % 2 else part for place, part in enumerate(parts)])


@dataclass(frozen=True, slots=True)
class UrlTemplate:
    """One of the configured URLs, taken apart."""

    base: Template
    scope: str
    filter: Template

    @property
    def codes(self) -> frozenset[str]:
        """Every code in it."""
        return self.base.codes | self.filter.codes


@dataclass(frozen=True, slots=True)
class Layout:
    """All that searches need to know."""

    schema: int
    user_root: str
    domain_root: str
    uplevel_retry: bool
    uplevel_address: bool
    domain_filter: str
    domain_match: UrlTemplate | None
    alias_urls: tuple[UrlTemplate, ...]
    """asked in order until one finds something"""
    catchall_url: UrlTemplate
    mail_attributes: tuple[str, ...]
    user_classes: ClassSets
    group_classes: ClassSets
    user_attributes: tuple[str, ...]
    """names in the directory, what a search asks for"""
    domain_attributes: tuple[str, ...]
    user_renames: Renames
    user_plain: frozenset[str]
    """those that have their default names, lower case"""
    domain_renames: Renames
    class_filter: str
    """finds entries of any object class set ($K)"""
    prepared: dict[tuple[int, str], tuple[object, object]] = field(default_factory=dict, compare=False, repr=False)
    """domains and searches filled but for the local part: kept by search.py"""
    kinds: dict[tuple[str, ...], Kind] = field(default_factory=dict, compare=False, repr=False)
    """by object classes: kept by search.py"""


def read_layout(options: OptionFile) -> Layout:
    """The layout the options describe.

    Raises:
        ConfigurationError: a URL is none, a filter cannot be parsed, a level is not 1 or 2.
    """
    faults: list[Fault] = []
    schema = options.integer("LDAP_SCHEMALEVEL", 2)
    if schema not in {1, 2}:
        faults.append(_fault(options, "LDAP_SCHEMALEVEL", "is 1 or 2"))
    user_root = options.text("LDAP_USER_ROOT")
    user_options = {**attributes.USER_OPTIONS, **attributes.NAMED_BY_OPTION_ONLY}
    user_names = attributes.names(user_options, options.text, attributes.USER_EXTRAS)
    domain_names = attributes.names(attributes.DOMAIN_OPTIONS, options.text, attributes.DOMAIN_EXTRAS)
    renames = _renames(user_names)
    urls = {name: _template(options, name, default, faults) for name, default in _URLS.items()}
    vanity = urls["DOMAIN_MATCH_URL"] is not None or bool(options.text("ALIAS_URL1"))
    alias_urls = (urls["ALIAS_URL0"], urls["ALIAS_URL1"] if vanity else None)
    catchall = urls["ALIAS_URL2"]
    uplevel = options.integer("DOMAIN_UPLEVEL", 0)
    user_classes = _class_sets(options.text("LDAP_USER_OBJECT_CLASSES") or USER_CLASSES)
    group_classes = _class_sets(options.text("LDAP_GROUP_OBJECT_CLASSES") or GROUP_CLASSES)
    layout = Layout(
        schema=schema,
        user_root=user_root,
        domain_root=options.text("LDAP_DOMAIN_ROOT") or ("o=internet" if schema == 1 else user_root),
        uplevel_retry=bool(uplevel & 1),
        uplevel_address=bool(uplevel & 2),
        domain_filter=_domain_filter(options, schema, domain_names, faults),
        domain_match=urls["DOMAIN_MATCH_URL"],
        alias_urls=tuple(url for url in alias_urls if url),
        catchall_url=catchall or UrlTemplate(Template(""), "sub", Template("")),
        mail_attributes=_mail_attributes(options, user_names),
        user_classes=user_classes,
        group_classes=group_classes,
        user_attributes=tuple(dict.fromkeys(user_names.values())),
        domain_attributes=tuple(dict.fromkeys(domain_names.values())),
        user_renames=renames,
        user_plain=frozenset(name for name, defaults in renames.items() if defaults == (name,)),
        domain_renames=_renames(domain_names),
        class_filter=_class_filter((*user_classes, *group_classes)),
    )
    if faults:
        raise ConfigurationError(faults)
    return layout


_URLS = {"ALIAS_URL0": URL0, "ALIAS_URL1": URL1, "ALIAS_URL2": URL2, "DOMAIN_MATCH_URL": ""}


def split_url(url: str) -> tuple[str, tuple[str, ...], str, str]:
    """Base, attributes, scope (base, one, sub) and filter of an LDAP URL (RFC 4516), percent signs decoded.

    Raises:
        ValueError: it is no LDAP URL; the message says why.
    """
    kind, colon, rest = url.partition("://")
    if not colon or kind.lower() not in {"ldap", "ldaps", "ldapi"}:
        raise ValueError(f"{url[:60]!r} is no LDAP URL")
    _, slash, rest = rest.partition("/")
    parts = [unquote(part) for part in rest.split("?")]
    if not slash or len(parts) > 5:
        raise ValueError(f"{url[:60]!r} is no LDAP URL of the form ldap:///base?attributes?scope?filter")
    base, names, scope, wanted = (parts + [""] * 4)[:4]
    scope = scope.lower() or "base"
    if scope not in {"base", "one", "sub"}:
        raise ValueError(f"scope {scope!r} is not base, one or sub")
    listed = tuple(name.strip() for name in names.split(",") if name.strip() not in {"", "*"})
    return base, listed, scope, wanted or "(objectClass=*)"


def _template(options: OptionFile, name: str, default: str, faults: list[Fault]) -> UrlTemplate | None:
    text = options.text(name) or default
    if not text:
        return None
    try:
        base, _, scope, wanted = split_url(text)
        template = UrlTemplate(Template(base), scope, Template(wanted))
        unknown = template.codes - _KNOWN_CODES
        if unknown:
            raise ValueError(f"unknown code ${min(unknown)}")
        codes = dict.fromkeys(_KNOWN_CODES, "x") | {"R": "(x=y)", "K": "(x=y)"}
        parse(template.filter.fill(codes))
    except ValueError as problem:
        faults.append(_fault(options, name, str(problem)))
        return None
    return template


def _domain_filter(options: OptionFile, schema: int, names: Mapping[str, str], faults: list[Fault]) -> str:
    option = f"LDAP_DOMAIN_FILTER_SCHEMA{schema}"
    default = DOMAIN_FILTER_2.format(names["sunpreferreddomain"], names["associateddomain"]) if schema == 2 else DOMAIN_FILTER_1
    text = options.text(option) or default
    try:
        parse(text.replace("$D", "x"))
    except FilterError as problem:
        faults.append(_fault(options, option, str(problem)))
    return text


def _mail_attributes(options: OptionFile, names: Mapping[str, str]) -> tuple[str, ...]:
    listed = tuple(name.strip() for name in options.text("LDAP_MAIL_ALIASES").split(",") if name.strip())
    return listed or (names["mail"], names["mailalternateaddress"], names["mailequivalentaddress"])


def _class_sets(text: str) -> ClassSets:
    sets = (frozenset(name.strip().lower() for name in one.split("+") if name.strip()) for one in text.split(","))
    return tuple(one for one in sets if one)


def _class_filter(sets: ClassSets) -> str:
    return "(|" + "".join("(&" + "".join(f"(objectClass={name})" for name in sorted(one)) + ")" for one in sets) + ")"


def _renames(names: Mapping[str, str]) -> Renames:
    found: dict[str, tuple[str, ...]] = {}
    for default, name in names.items():
        found[name.lower()] = (*found.get(name.lower(), ()), default)
    return found


def _fault(options: OptionFile, name: str, reason: str) -> Fault:
    value = options.get(name)
    return Fault(value.file if value else "config/option.dat", value.line if value else 0, f"{name}: {reason}")


