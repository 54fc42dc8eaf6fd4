"""Dovecot's versions as values: how 2.3 and 2.4 say the same things, and which of them is installed here.

Texts have `{{word}}` where `dovecot_files.filled` puts something.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Version:
    """The words of one version; longer texts are in the folder `templates/dovecot/<name>`."""

    name: str
    tls: str
    believed: str
    """whose certificates a front end believes of the stores"""
    listescape: str
    lower: str
    """the user's name in lower case"""
    bare: str
    """the same without the default domain: its users, with or without it, are the bare uid"""
    member: str
    """the uid of a user of {{domain}}; `-`, which is no uid, for others"""
    users_file: str
    elsewhere: str
    """where a mailbox is, for those not in the default partition; who is a user is still the others' business"""
    elsewhere_line: str
    lookups: tuple[str, ...]
    """what the main file says of each domain in the directory: for a front end the first, for a store all"""
    bind: str
    field: str
    between_fields: str
    userdb: str
    limits: str
    """name of the script that tells a session its limits; empty: the version reads them in maildirsize"""


DOVECOT_2_3 = Version(
    name="2.3",
    tls="ssl = required\nssl_cert = <{{cert}}\nssl_key = <{{key}}\n",
    # login processes do not read `ssl_client_ca_*`
    believed="ssl_ca = <{{ca}}\nssl_require_crl = no\n",
    listescape=" listescape",
    lower="%Lu",
    bare="%{if;%Ld;eq;{{domain}};%Ln;%Lu}",
    member="%{if;%Ld;eq;{{domain}};%Ln;-}",
    users_file="""passdb {
  driver = passwd-file
  args = username_format=%u {{path}}
}
userdb {
  driver = static
  args = allow_all_users=yes
}""",
    elsewhere="""userdb {
  driver = passwd-file
  args = username_format=%Lu {{path}}
  result_success = continue
  result_failure = continue
}
""",
    elsewhere_line="{{owner}}:::::::userdb_mail=maildir:{{folder}}/%Lu\n",
    lookups=(
        "passdb {\n  driver = ldap\n  args = {{path}}\n}",
        "userdb {\n  driver = ldap\n  args = {{path}}\n}",
    ),
    bind="dn = {{dn}}\ndnpass = {{password}}\n",
    field="={{name}}={{value}}",
    between_fields=", ",
    userdb="user_filter = (&{{filter}}{{names}})\nuser_attrs = {{user}}\n"
    "iterate_filter = (&{{filter}})\niterate_attrs = {{user}}",
    limits="",
)
DOVECOT_2_4 = Version(
    name="2.4",
    tls="ssl = required\nssl_server_cert_file = {{cert}}\nssl_server_key_file = {{key}}\n",
    believed="ssl_client_ca_file = {{ca}}\n",
    listescape='mailbox_list_storage_escape_char = "\\\\"\n',
    lower="%{user | lower}",
    # the part before @, and @ and the domain of those who have another one
    bare="%{user | username | lower}"
    "%{user | domain | lower | if('eq', '{{domain}}', '', user) | domain | if('eq', '', '', '@')}"
    "%{user | domain | lower | if('eq', '{{domain}}', '', user) | domain | lower}",
    member="%{user | domain | lower | if('eq', '{{domain}}', user, '-') | username | lower}",
    users_file="""passdb passwd-file {
  driver = passwd-file
  passwd_file_path = {{path}}
}
userdb static {
  driver = static
  userdb_static_allow_all_users = yes
}""",
    elsewhere="""userdb elsewhere {
  driver = passwd-file
  passwd_file_path = {{path}}
  result_success = continue
  result_failure = continue
}
""",
    elsewhere_line="{{owner}}:::::::userdb_mail_path={{folder}}/{{owner}}\n",
    lookups=("!include {{path}}",),
    bind='  ldap_auth_dn = {{dn}}\n  ldap_auth_dn_password = "{{quoted}}"\n',
    field="    {{name}} = {{value}}",
    between_fields="\n",
    userdb="""userdb {{name}} {
  driver = ldap
  ldap_uris = {{uri}}
{{bind}}  ldap_base = {{base}}
  ldap_scope = subtree
  userdb_ldap_filter = (&{{filter}}{{names}})
  userdb_ldap_iterate_filter = (&{{filter}})
  fields {
{{user}}
  }
  userdb_ldap_iterate_fields {
{{user}}
  }
}""",
    limits="dovecot-limits",
)
VERSIONS = {version.name: version for version in (DOVECOT_2_3, DOVECOT_2_4)}


PLACES = (*os.environ.get("PATH", os.defpath).split(":"), "/usr/sbin", "/usr/local/sbin")
"""folders a Dovecot may be in"""


def installed_version() -> str:
    """The version of the Dovecot on this machine, `2.4`; empty when there is none that says one."""
    program = shutil.which("dovecot", path=":".join(PLACES))
    if program is None:
        return ""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.match(r"\d+\.\d+", said)
    return found[0] if found else ""
