"""The texts of Dovecot's files: made of a version's words, of where users are looked up and of where their mailboxes are."""

import shlex
from dataclasses import dataclass
from importlib import resources

from posthouse.cli.store.dovecot_versions import Version
from posthouse.config.instance import Instance
from posthouse.relay.directory.filter import escape
from posthouse.store.quota.limits import Limits

ELSEWHERE = "dovecot-mailboxes"
_IMAPS = 993
"""TLS from the start on this port, STARTTLS on others"""
_INACTIVE = "".join(
    f"(!({attribute}={value}))"
    for attribute in ("inetUserStatus", "mailUserStatus")
    for value in ("inactive", "deleted", "removed", "disabled")
)
"""who has no mail service; a user who is held or over quota may still log in"""
_USERS = "# One line for each user, `owner:{SCHEME}hash`; `doveadm pw` makes the second part. Readable by the user dovecot.\n"


@dataclass(frozen=True, slots=True)
class Directory:
    """Where users are looked up."""

    uris: str
    bases: tuple[tuple[str, str], ...]
    """(domain, base); the first one is the default domain's"""
    bind_dn: str
    password: str


@dataclass(frozen=True, slots=True)
class BackEnds:
    """The stores a front end sends users to."""

    port: int
    tls: bool

    @property
    def fields(self) -> dict[str, str]:
        """What a lookup says of them."""
        tls = {} if not self.tls else {"ssl": "yes"} if self.port == _IMAPS else {"starttls": "yes"}
        return {"proxy": "y", "host": "%{ldap:mailHost}", "port": str(self.port), **tls}


def put_in(text: str, words: dict[str, str]) -> str:
    """A text with `{{word}}` replaced."""
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


def filled(version: Version, name: str, words: dict[str, str]) -> str:
    """A template of this version with `{{word}}` replaced."""
    template = resources.files("posthouse.cli") / "templates" / "dovecot" / version.name / name
    return put_in(template.read_text(encoding="utf-8"), words)


def password_file_lookup(version: Version, path: str) -> str:
    """Blocks for users in a passwd-file."""
    return _USERS + put_in(version.users_file, {"path": path})


def mailbox_lines(version: Version, place: Instance, elsewhere: dict[str, str]) -> str:
    """The file of mailboxes outside the default partition, by owner and partition."""
    lines = [
        put_in(version.elsewhere_line, {"folder": str(place.store / partition), "owner": owner})
        for owner, partition in sorted(elsewhere.items())
    ]
    head = f"# Mailboxes of {place.root} outside its default partition. Make it again when one is made or moved there.\n"
    return head + "".join(lines)


def limits_script(version: Version, store: str, defaults: Limits) -> str:
    """What tells a session its limits: those the store keeps for the owner, else its defaults.

    Args:
        version: Dovecot's.
        store: the default partition's folder.
        defaults: the store's limits for who has none of his own.
    """
    words = {"store": shlex.quote(store), "octets": str(defaults.bytes), "messages": str(defaults.messages)}
    return filled(version, version.limits, words)


def _ldap_name(number: int, domain: str) -> str:
    return f"dovecot-ldap{'-' + domain if number else ''}.conf.ext"


def directory_lookups(version: Version, directory: Directory, folder: str, *, proxy: bool) -> str:
    """What the main file says of users in the directory, whose files are in `folder`."""
    return "\n".join(
        put_in(lookup, {"path": f"{folder}/{_ldap_name(number, domain)}"})
        for lookup in (version.lookups[:1] if proxy else version.lookups)
        for number, (domain, _) in enumerate(directory.bases)
    )


def ldap_files(version: Version, directory: Directory, host: str, back_ends: BackEnds | None) -> dict[str, str]:
    """A file for each domain, by name.

    Args:
        version: Dovecot's.
        directory: where users are looked up.
        host: the mailHost of the users who are served here.
        back_ends: of a front end, which serves them all.
    """
    own = f"(mailHost={escape(host)})" if back_ends is None else "(mailHost=*)"
    bind = _bind(version, directory) if directory.bind_dn else ""
    files = {}
    for number, (domain, base) in enumerate(directory.bases):
        user = {"user": f"%{{ldap:uid}}@{domain}" if number else "%{ldap:uid}"}
        words = {
            "file": _ldap_name(number, domain), "name": f"ldap-{domain}" if number else "ldap",
            "domain": domain or "the default domain", "uri": directory.uris, "bind": bind, "base": base,
            "filter": f"(objectClass=inetMailUser){own}{_INACTIVE}", "names": _names(version, number, domain),
            "user": _fields(version, user),
            "pass_attrs": _fields(version, user if back_ends is None else {**user, **back_ends.fields}),
        }  # fmt: skip
        words["userdb"] = put_in(version.userdb, words) if back_ends is None else ""
        files[words["file"]] = filled(version, "ldap.conf.ext", words)
    return files


def _bind(version: Version, directory: Directory) -> str:
    quoted = directory.password.replace("\\", "\\\\").replace('"', '\\"')
    return put_in(version.bind, {"dn": directory.bind_dn, "password": directory.password, "quoted": quoted})


def _fields(version: Version, fields: dict[str, str]) -> str:
    return version.between_fields.join(put_in(version.field, {"name": name, "value": value}) for name, value in fields.items())


def _names(version: Version, number: int, domain: str) -> str:
    """The filter for a login name. One of another domain finds nobody here: every database is asked in turn."""
    uid = put_in(version.member, {"domain": domain if number else ""})
    mail = f"{uid}@{domain}" if domain else uid
    return f"(|(uid={uid})(mail={mail})(mailAlternateAddress={mail}))"
