"""The texts of Dovecot's files: made of the templates, of where users are looked up and of where their mailboxes are."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from posthouse.config.instance import Instance
from posthouse.relay.directory.filter import escape

ELSEWHERE = "dovecot-mailboxes"
_IMAPS = 993
"""TLS from the start on this port, STARTTLS on others"""
_INACTIVE = "".join(
    f"(!({attribute}={value}))"
    for attribute in ("inetUserStatus", "mailUserStatus")
    for value in ("inactive", "deleted", "removed", "disabled")
)
"""who has no mail service; a user who is held or over quota may still log in"""


@dataclass(frozen=True, slots=True)
class Directory:
    """Where users are looked up."""

    uris: str
    bases: tuple[tuple[str, str], ...]
    """(domain, base); the first one is the default domain's"""
    bind_dn: str
    password: str


def filled(name: str, words: dict[str, str]) -> str:
    """A template with `{{word}}` replaced."""
    text = (resources.files("posthouse.cli") / "templates" / "dovecot" / name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    return text


def password_file_lookup(path: Path) -> str:
    """Blocks for users in a passwd-file."""
    return f"""# One line for each user, `owner:{{SCHEME}}hash`; `doveadm pw` makes the second part. Readable by the user dovecot.
passdb {{
  driver = passwd-file
  args = username_format=%u {path}
}}
userdb {{
  driver = static
  args = allow_all_users=yes
}}"""


def mailbox_lines(place: Instance, elsewhere: dict[str, str]) -> str:
    """The file of mailboxes outside the default partition, by owner and partition."""
    folders = ((owner, place.store / partition) for owner, partition in sorted(elsewhere.items()))
    lines = [f"{owner}:::::::userdb_mail=maildir:{folder}/%Lu\n" for owner, folder in folders]
    head = f"# Mailboxes of {place.root} outside its default partition. Make it again when one is made or moved there.\n"
    return head + "".join(lines)


def elsewhere_first(auth: str, path: str) -> str:
    """Where a mailbox is, for those not in the default partition; who is a user is still the others' business."""
    block = f"""userdb {{
  driver = passwd-file
  args = username_format=%Lu {path}
  result_success = continue
  result_failure = continue
}}
"""
    first = auth.index("userdb {")
    return auth[:first] + block + auth[first:]


def _ldap_name(number: int, domain: str) -> str:
    return f"dovecot-ldap{'-' + domain if number else ''}.conf.ext"


def directory_lookups(directory: Directory, folder: str, *, proxy: bool) -> str:
    """Blocks for users in the directory, whose files are in `folder`."""
    blocks = []
    for kind in ("passdb",) if proxy else ("passdb", "userdb"):
        for number, (domain, _) in enumerate(directory.bases):
            blocks.append(f"{kind} {{\n  driver = ldap\n  args = {folder}/{_ldap_name(number, domain)}\n}}")
    return "\n".join(blocks)


def ldap_files(directory: Directory, host: str, *, proxy: bool, port: int, tls: bool) -> dict[str, str]:
    """A file for each domain, by name.

    Args:
        directory: where users are looked up.
        host: the mailHost of the users who are served here.
        proxy: a front end, which serves them all.
        port: the stores' IMAP port, for the front end.
        tls: the front end speaks TLS to them.
    """
    bind = f"dn = {directory.bind_dn}\ndnpass = {directory.password}\n" if directory.bind_dn else ""
    files = {}
    for number, (domain, base) in enumerate(directory.bases):
        at = f"@{domain}" if number else ""
        fields = [f"=user=%{{ldap:uid}}{at}"]
        if proxy:
            fields += ["=proxy=y", "=host=%{ldap:mailHost}", f"=port={port}"]
        if proxy and tls:
            fields.append("=ssl=yes" if port == _IMAPS else "=starttls=yes")
        own = "(mailHost=*)" if proxy else f"(mailHost={escape(host)})"
        chosen = f"(objectClass=inetMailUser){own}{_INACTIVE}"
        # a name of another domain finds nobody here: every database is asked in turn, and `-` is no uid
        uid = f"%{{if;%Ld;eq;{domain if number else ''};%Ln;-}}"
        mail = f"{uid}@{domain}" if domain else uid
        names = f"(|(uid={uid})(mail={mail})(mailAlternateAddress={mail}))"
        name = _ldap_name(number, domain)
        userdb = "" if proxy else (
            f"user_filter = (&{chosen}{names})\nuser_attrs = {fields[0]}\n"
            f"iterate_filter = (&{chosen})\niterate_attrs = {fields[0]}"
        )  # fmt: skip
        files[name] = filled("ldap.conf.ext", {
            "file": name, "domain": domain or "the default domain", "uri": directory.uris, "bind": bind, "base": base,
            "filter": chosen, "names": names, "pass_attrs": ", ".join(fields), "userdb": userdb,
        })  # fmt: skip
    return files
